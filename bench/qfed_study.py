"""QFed's recipes beside their hash twins, and what controls them: `python -m bench.qfed_study`, or `make qfed`.

Run after run; what is done, in `runs/` or in the results file, is not done again. Speed moves no number but the
minutes. Seeds are few where a run takes an hour: a table says how many.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from bench.llm_qfl import apart
from bench.study import Results, asked, commits, kept, origin, unseeded, write
from quantum.targets import weights_of
from recipes.load import load, sweep_of
from server.figures import GROUPS
from server.jobs import finish
from server.outcome import Outcome
from server.record import STUDENT, TWIN
from server.statistics import mean
from server.sweep import grid, planned

FOLDER = Path(__file__).parent / "results"
Row = tuple[str, list[str], int]  # a recipe, what is changed in it, over how many seeds
IMAGES_OF = {"digits": "scikit-learn's digits", "fashion": "FashionMNIST", "cifar10": "CIFAR-10"}
MOST_LOST = 0.02  # of accuracy, by clients with different networks
ALIKE = "cnn"  # the network of all, and of three of five clients beside others that differ ever more:
OTHERS = {
    "activations": ("cnn-relu",),
    "channels": ("cnn-7", "cnn-6", "cnn-4"),
    "depths": ("cnn-deep", "cnn-shallow", "cnn-deeper"),
}
BYTES = 4  # of a number that travels
TELLING = (*GROUPS, "#1f2937", "#c9a227")  # colours of as many curves as a study has rows


def own(recipe: str, seeds: int, *also: str) -> list[Row]:
    """A recipe's own sweep, with what else is changed in each of its rows."""
    return [(recipe, [*changes, *also], seeds) for changes in grid(sweep_of(recipe))]


def controls() -> Iterator[Row]:
    """Whatever else 1,497 numbers or the whole network do with as many rounds and epochs."""
    yield "qfed-scale", ["clients=5"], 1  # the circuit and the hash
    for by in ("low-rank", "small", "full"):
        yield "qfed-scale", ["clients=5", "student.twin=false", f"student.generator.by={by}"], 1
    yield "qfed-scale", ["clients=60", "student.twin=false", "student.generator.by=full"], 1


def studies() -> dict[str, list[Row]]:
    """Study → its rows, those that take longest last."""
    return {
        "qfed-digits": [("qfed-digits", [], 3)],
        "qfed-mapping": own("qfed-mapping", 3),
        "qfed-controls": list(controls()),
        "qfed-scale": own("qfed-scale", 1),
        "qfed-fedexp": own("qfed-scale", 1, "aggregate.by=fedexp"),
        "qfed-noniid": [
            ("qfed-noniid", ["data.partition=iid"], 1),
            *own("qfed-noniid", 1),
            ("qfed-noniid", ["data.partition=shards"], 1),
            ("qfed-noniid", ["distil.proximal=0.01"], 1),
        ],
        "qfed-hetero": own("qfed-hetero", 1),
        "qfed-long": [
            ("qfed-central", [], 1),
            ("qfed-central-paper", [], 1),
            ("qfed-fashion", [], 1),
            ("qfed-fashion", ["student.generator.by=hash"], 1),
            ("qfed-fashion", ["student.generator.by=full"], 1),
            ("qfed-fashion", ["clients=60"], 1),
            ("qfed-fashion", ["clients=60", "student.generator.by=hash"], 1),
            ("qfed-resnet", [], 1),
        ],
    }


def main() -> None:
    """Run what is missing; a results file a study grows by each row, its figure with it."""
    said = asked("bench.qfed_study", __doc__, seeds=3, results=FOLDER, only=list(studies()))
    for study in said.only:
        path, found = said.results / f"{study}.json", []
        before = kept(path)
        for recipe, changes, most in studies()[study]:
            seeds = range(min(most, said.seeds))
            row = before.get((unseeded(load(recipe, changes)), tuple(seeds)))
            if row is None:
                row = measured(recipe, changes, finish(planned(recipe, [changes], seeds, said.runs_dir), said.jobs))
            found.append(row | {"changes": changes})
            write({"schema": 1, "rows": found}, path)
            draw(found, said.results / f"{study}.png")


def measured(recipe: str, changes: list[str], outcomes: Sequence[Outcome]) -> Results:
    """One setting: a number a seed, with all that they depend on."""
    runs = sorted(outcomes, key=lambda run: run.recipe.seed)
    r = runs[0].recipe
    by_round = [run.trace(STUDENT, "reference_accuracy") for run in runs]
    return {
        **origin(load(recipe, changes), runs, "make qfed"),
        "changes": changes,
        "by": r.student.generator.by,
        "work": [r.clients, r.rounds, r.optimiser.epochs],
        "weights": sorted({weights_of(name) for name in r.student.generator.named()}),
        "parameters": runs[0].parameters(STUDENT),
        "accuracy": {arm: [run.accuracy(arm) for run in runs] for arm in runs[0].arms},
        "networks": {arm: by_network(arm, runs) for arm in runs[0].arms} if r.student.generator.targets else {},
        "by_round": [mean(at) for at in zip(*by_round, strict=True)],
        "minutes": mean([run.seconds / 60 for run in runs]),
    }


def by_network(arm: str, runs: Sequence[Outcome]) -> dict[str, list[float]]:
    """Network → a number a seed: accuracy on the test rows of the clients that have it, pooled."""
    found: dict[str, list[float]] = {name: [] for name in runs[0].recipe.student.generator.named()}
    for run in runs:
        for name, values in found.items():
            owners = [client for client, own in enumerate(run.recipe.student.generator.targets) if own == name]
            scores = [run.score["clients"][str(client)] for client in owners]
            right = sum(score["examples"] * score["accuracy"][arm] for score in scores)
            values.append(right / sum(score["examples"] for score in scores))
    return found


def table(results: Results) -> Table:
    """One line a setting."""
    drawn = Table()
    drawn.add_column("recipe")
    columns = ("student", "hash twin", "student − twin, points", "numbers", "weights written", "bytes up a visit")
    several = any(map(networks, results["rows"]))
    for name in (*columns, "clients × rounds × epochs", "seeds", "minutes"):
        drawn.add_column(name, justify="right")
    if several:
        drawn.add_column("student · twin by network")
    for row in results["rows"]:
        accuracy = row["accuracy"]
        drawn.add_row(
            " ".join([row["recipe"], *row["changes"]]),
            f"{mean(accuracy[STUDENT]):.1%}",
            f"{mean(accuracy[TWIN]):.1%}" if TWIN in accuracy else "",
            apart(accuracy[STUDENT], accuracy[TWIN]) if TWIN in accuracy else "",
            f"{row['parameters']:,}",
            written(row),
            f"{BYTES * row['parameters']:,}",
            " × ".join(map(str, row["work"])),
            str(len(row["seeds"])),
            f"{row['minutes']:.0f}",
            *([networks(row)] if several else []),
        )
    return drawn


def written(row: Results) -> str:
    """How many weights a generator writes for a client; nothing where a network is trained itself."""
    counts = sorted({row["weights"][0], row["weights"][-1]})
    return "" if row["by"] in ("small", "full") else " to ".join(f"{count:,}" for count in counts)


def networks(row: Results) -> str:
    """Accuracy of every network that a row's clients have, in words; nothing where they all have the recipe's."""
    arms = row.get("networks", {})
    return ", ".join(
        f"{name} {' · '.join(f'{mean(of[name]):.1%}' for of in arms.values())}" for name in arms.get(STUDENT, ())
    )


def threshold(rows: Sequence[Results]) -> str:
    """What other networks beside the recipe's cost, by what is other in them, and where that is more than MOST_LOST."""
    of_some = [row for row in rows if networks(row)]
    found = {list(row["networks"][STUDENT])[-1]: mean(row["accuracy"][STUDENT]) for row in of_some}
    if ALIKE not in found:
        return ""
    said = []
    for axis, names in OTHERS.items():
        lost = {name: found[ALIKE] - found[name] for name in names if name in found}
        if lost:
            first = next((name for name, points in lost.items() if points > MOST_LOST), "none")
            each = ", ".join(f"{name} {100 * points:.1f}" for name, points in lost.items())
            said.append(f"other {axis} {each}, first over {100 * MOST_LOST:.0f}: {first}")
    return f" Points lost beside one network for all: {'; '.join(said)}."


def note(results: Results) -> str:
    """What the columns mean and where the numbers come from."""
    rows = results["rows"]
    corpora = dict.fromkeys(IMAGES_OF[load(row["recipe"], row["changes"]).data.corpus] for row in rows)
    return (
        f"Test images of {' and '.join(corpora)}; means over the seeds. minutes: of all visits, student and twin, on "
        f"two cores that did other things too.{threshold(rows)} `make qfed`, qflock {commits(results)}."
    )


def labels(rows: Sequence[Results]) -> list[str]:
    """What tells each setting apart, in few words."""
    mixed = len({row["recipe"] for row in rows}) > 1
    said = []
    for row in rows:
        pairs = [change.partition("=") for change in row["changes"]]
        recipe = [row["recipe"]] if mixed or not pairs else []
        said.append(" ".join([*recipe, *(f"{key.rpartition('.')[2]}={value}" for key, _, value in pairs)]))
    return said


def draw(rows: Sequence[Results], path: Path) -> None:
    """Accuracy on the server's images by round, one curve a setting."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for number, (row, label) in enumerate(zip(rows, labels(rows), strict=True)):
        rounds = range(1, len(row["by_round"]) + 1)
        hidden = row["by_round"] in [one["by_round"] for one in rows[:number]]  # by the curve that it repeats
        axes.plot(rounds, row["by_round"], "--" if hidden else "-", color=TELLING[number % len(TELLING)], label=label)
    axes.set(xlabel="round", ylabel="accuracy on the server's images")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
