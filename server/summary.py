"""The table that closes a run: every arm on the clients' test rows, beside what needs no federation."""

from pathlib import Path
from statistics import fmean

from rich.console import Group
from rich.table import Table
from rich.text import Text

from recipes.load import load
from recipes.schema import Recipe
from server.ledger import Line, lines, newest, ratios, untaught, visits

ALONE = ("head", "logistic", "majority")  # what needs no student
LEGEND = {
    "head": "the linear head that the reduction was trained with, no student",
    "logistic": "all features, a client's rows alone",
    "majority": "its commonest class",
    "admitted": "rounds, by arm",
}
CHANCE = "one run: a difference in `all` of less than about {:.1%} is chance"

FLOAT = 4  # bytes of a number that a generator or a network sends
TERMS = {"ce": "CE", "kl": "KL", "js": "JS"}  # nats, of what was minimised


def summary(folder: Path) -> Group:
    """Test accuracy by client and in all, then what it cost."""
    ledger = lines(folder)
    score = next(line for line in ledger if line["kind"] == "score")
    rounds = [line for line in ledger if line["kind"] == "round"]
    names, alone = list(score["arms"]), [name for name in ALONE if score.get(name) is not None]
    table = Table(title="accuracy on the clients' test rows", title_justify="left")
    for column in ("client", "rows", *names, *alone, "admitted"):
        table.add_column(column, justify="right")
    for client, found in score["clients"].items():
        values = [found["accuracy"][name] for name in names] + [found[name] for name in alone]
        table.add_row(client, str(found["examples"]), *cells(values), admitted(int(client), names, rounds))
    table.add_section()
    total = sum(found["examples"] for found in score["clients"].values())
    values = [score["arms"][name]["accuracy"] for name in names] + [score[name] for name in alone]
    table.add_row("all", str(total), *cells(values), "", style="bold")
    recipe = load(str(folder / "recipe.yaml"))
    costs = [" · ".join(filter(None, (cost(name, rounds), sent(name, rounds, recipe)))) for name in names]
    if scored := sum(found.get("shots", 0) for found in score["clients"].values()):
        costs.append(f"the scores: {scored:,} shots")
    up, down = (sum(line.get(key, 0) for line in ledger) for key in ("bytes_up", "bytes_down"))
    seconds = ledger[-1]["seconds"].get("run", 0.0)
    return Group(
        table,
        Text(legend([*alone, "admitted"], total), style="dim"),
        *(Text(line) for line in costs),
        *learned(rounds, recipe),
        Text(f"bytes: {up:,} up, {down:,} down, features and {len(rounds)} rounds together · {seconds:.0f} s"),
    )


def learned(rounds: list[Line], recipe: Recipe) -> list[Text]:
    """What a run says of its teachers, where the recipe names some."""
    if recipe.teacher.kind == "none":
        return []
    said = [(lacking(rounds), "yellow"), (teachers(rounds), ""), (regulated(rounds, recipe.regulate.law), "")]
    return [Text(line, style=style) for line, style in said if line]


def lacking(rounds: list[Line]) -> str:
    """How many clients ended without a teacher, and why the first of them did."""
    reasons = untaught(rounds)
    return f"{len(reasons)} of {len(newest(rounds))} clients have no teacher: {reasons[0]}" if reasons else ""


def legend(columns: list[str], rows: int) -> str:
    """What the columns mean, and how far two of them differ by chance on so many test rows."""
    said = [f"{name}: {LEGEND[name]}" for name in columns]
    return " · ".join([*said, CHANCE.format(1.96 * (0.5 / rows) ** 0.5)])


def admitted(client: int, names: list[str], rounds: list[Line]) -> str:
    """In how many rounds a client's update was averaged, arm by arm."""
    counts = (
        sum(client in line["arms"][name]["admitted"] for line in rounds if name in line["arms"]) for name in names
    )
    return " · ".join(map(str, counts))


def cost(name: str, rounds: list[Line]) -> str:
    """What one arm spent."""
    clients = visits(rounds, name)
    evaluations = sum(client["evaluations"] for client in clients)
    shots = sum(client["shots"] for client in clients)
    spent = f"{shots:,} shots" if shots else "exact, no shots"
    return f"{name}: {len(clients)} fits, {evaluations:,} evaluations, {spent}{minimised(name, rounds)}"


def sent(name: str, rounds: list[Line], recipe: Recipe) -> str:
    """Bytes that a generator's fit sends up, beside those of what it writes; nothing of other students."""
    sizes = [line["arms"][name].get("parameters") for line in rounds if name in line["arms"]]
    beside = itself(recipe)
    return f"{FLOAT * sizes[-1]:,} bytes up a fit{beside}" if beside and sizes and sizes[-1] else ""


def itself(recipe: Recipe) -> str:
    """The bytes that a client would send of the network that a generator writes; nothing of other students."""
    config = recipe.student.generator
    if recipe.student.kind != "generator" or config.by in ("small", "full"):
        return ""
    from quantum.targets import weights_of

    named = config.named()
    what = "the network itself" if len(named) == 1 else "the largest network itself"
    return f" ({what}: {FLOAT * max(map(weights_of, named)):,}{' an arm' * recipe.student.twin})"


def minimised(name: str, rounds: list[Line]) -> str:
    """The terms of its loss after its last round, where a teacher spoke: means over the clients."""
    last: Line = next((line["arms"][name] for line in reversed(rounds) if name in line["arms"]), {"clients": {}})
    taught = [client["terms"] for client in last["clients"].values() if TERMS.keys() <= client.get("terms", {}).keys()]
    means = {term: fmean(terms[term] for terms in taught) for term in TERMS} if taught else {}
    return "".join(f" · {TERMS[term]} {mean:.3f}" for term, mean in means.items())


def teachers(rounds: list[Line]) -> str:
    """How good the clients' last teachers are on held-out rows, and what it took to tune them."""
    last = [said for said in newest(rounds).values() if said["teacher_loss"] is not None]
    if not last:
        return ""
    loss, accuracy, f1 = (fmean(said[f"teacher_{name}"] for said in last) for name in ("loss", "accuracy", "f1"))
    good = f"teachers: held out {loss:.3f} nats, accuracy {accuracy:.1%}, F1 {f1:.3f}, mean of {len(last)} clients"
    times = [time for line in rounds for time in line["seconds"]["tuning"].values()]
    seconds = sum(time["seconds"] for time in times)
    tokens = sum(time["seconds"] * time["tokens_per_second"] for time in times)
    speed = f", {tokens / seconds:,.0f} tokens/s" if tokens else ""
    spent = f"{len(times)} tunings in {seconds:.1f} s together{speed}" if times else "none had to be tuned"
    return f"{good} · {spent}"


def regulated(rounds: list[Line], law: str) -> str:
    """In how many client-rounds the student was behind its teacher, and what the law then asked for."""
    compared = ratios(rounds, "student")
    behind = sum(rho > 1 for rho in compared)
    capped = sum(client["requested"] > client["maxiter"] for client in visits(rounds, "student"))
    if law == "none":
        return f"ρ > 1 in {behind} of {len(compared)} client-rounds; no law acts on it" if compared else ""
    if not behind:
        return f"regulation inert: ρ > 1 in none of {len(compared)} client-rounds after the first"
    held = f", the law held at its cap in {capped}" if capped else ""
    return f"regulation: ρ > 1 in {behind} of {len(compared)} client-rounds after the first{held}"


def cells(values: list[float]) -> list[str]:
    return [f"{value:.1%}" for value in values]
