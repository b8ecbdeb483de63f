"""The tables of one run: every one that a record has the numbers for."""

from typing import Any

from server.ledger import Line, newest
from server.page import Column, Sheet
from server.record import STUDENT, TWIN, Record, mean, number, total
from server.run_figures import admitted, class_names
from server.summary import ALONE, sent
from strategies.classes import by_class, macro

MOST = 50  # failures and notes on a page


def percent(value: float) -> str:
    return f"{value:.1%}"


def nats(value: float) -> str:
    return f"{value:.3f}"


def count(value: float) -> str:
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    return f"{value:,.1f}"


def sheets(known: Record) -> list[Sheet]:
    """Every table that there are numbers for."""
    makers = (arms, classes, rounds, clients, failures, data, costs)
    return [sheet for maker in makers if (sheet := maker(known)).rows]


def arms(known: Record) -> Sheet:
    """The quantum row, its twin's below it in any case, and what needs no federation."""
    scored = known.score.get("arms", {})
    names = list(dict.fromkeys([STUDENT, TWIN, *known.arms])) if STUDENT in known.arms else known.arms
    rows = [arm_row(known, name, scored.get(name, {})) for name in names]
    rows += taught(known)
    blank = [None] * 8
    rows += [[name, number(known.score, name), *blank] for name in ALONE if known.score.get(name) is not None]
    columns = (
        *(Column("row"), Column("accuracy", percent), Column("loss, nats", nats)),
        *(Column(f"macro {name}", nats) for name in ("F1", "precision", "recall")),
        *(Column("parameters", count), Column("evaluations", count), Column("shots", count), Column("note")),
    )
    return Sheet("arms", "on the clients' test rows, pooled", columns, rows)


def taught(known: Record) -> list[list[Any]]:
    """The clients' teachers, if any: what each said last of its own validation rows, which are not the test rows."""
    last = [said for said in newest(known.rounds).values() if said.get("teacher_loss") is not None]
    if not last:
        return []
    good = [mean(last, f"teacher_{key}") for key in ("accuracy", "loss", "f1", "precision", "recall")]
    note = f"mean of {len(last)} clients, on validation rows"
    return [["teachers", *good, None, None, None, note]]


def arm_row(known: Record, name: str, scored: Line) -> list[Any]:
    """One arm; a twin that was not trained has a row that says so."""
    if name not in known.arms:
        return [name, *[None] * 8, "not trained: student.twin is false"]
    visits, trained = [said for _, _, said in known.visits(name)], known.trained(name)
    means = macro(matrix) if (matrix := scored.get("confusion")) else {}
    spent = [total(visits, key) for key in ("evaluations", "shots")]
    size = number(trained[-1][1], "parameters") if trained else None
    note = "" if scored else "not scored yet"
    return [
        name,
        number(scored, "accuracy"),
        number(scored, "loss"),
        *(means.get(key) for key in ("f1", "precision", "recall")),
        size,
        *spent,
        note,
    ]


def classes(known: Record) -> Sheet:
    """Precision, recall and F1 of every arm, class by class."""
    rows = []
    for name, scored in known.score.get("arms", {}).items():
        matrix = scored.get("confusion") or []
        for label, one in zip(class_names(known, len(matrix)), by_class(matrix), strict=True):
            rows.append([name, label, one.precision, one.recall, one.f1, one.rows])
    columns = (Column("row"), Column("class"), *(Column(name, nats) for name in ("precision", "recall", "F1")))
    return Sheet("by-class", "test rows by class", (*columns, Column("rows", count)), rows)


def rounds(known: Record) -> Sheet:
    """A line a round and arm."""
    rows = []
    for line in known.rounds:
        for arm in (name for name in known.arms if name in line["arms"]):
            part = line["arms"][arm]
            said = list(part["clients"].values())
            spent = [total(said, key) for key in ("evaluations", "shots")]
            local = [mean(said, key) for key in ("student_loss", "student_accuracy", "teacher_loss")]
            admitted_ = [len(part["admitted"]) if "admitted" in part else None, len(part.get("invited", said))]
            own = [number(part, key) for key in ("reference_loss", "reference_accuracy", "cosine")]
            rows.append([line["round"], arm, *own, *local, *admitted_, *spent])
    columns = (
        *(Column("round", count), Column("arm"), Column("server loss", nats), Column("server accuracy", percent)),
        *(Column("cosine", nats), Column("clients' loss", nats), Column("clients' accuracy", percent)),
        *(Column("teachers' loss", nats), Column("admitted", count), Column("invited", count)),
        *(Column("evaluations", count), Column("shots", count)),
    )
    return Sheet("rounds", "server: the average on its own rows; clients: means before averaging", columns, rows)


def clients(known: Record) -> Sheet:
    """A line a client: its budgets, what it used, how often it was admitted, how well it ended."""
    rows = []
    grids = {arm: admitted(known, arm) for arm in known.arms}
    for place, client in enumerate(known.clients):
        own = [said for _, number_, said in known.visits(STUDENT) if number_ == client]
        scored = known.score.get("clients", {}).get(str(client), {}).get("accuracy", {})
        budgets = [number(said, "maxiter") for said in own]
        ends = [budgets[0], budgets[-1]] if budgets else [None, None]
        spent = [total(own, key) for key in ("evaluations", "shots")]
        entered = [int((grid[place] == 2).sum()) for grid in (grids[arm] for arm in known.arms)]
        rows.append([client, *ends, *spent, *entered, *(number(scored, arm) for arm in known.arms)])
    columns = (
        *(Column("client", count), Column("first maxiter", count), Column("last maxiter", count)),
        *(Column("evaluations", count), Column("shots", count)),
        *(Column(f"{arm} admitted", count) for arm in known.arms),
        *(Column(f"{arm} test accuracy", percent) for arm in known.arms),
    )
    return Sheet("clients", "budgets are the student's; a twin gets the same", columns, rows)


def failures(known: Record) -> Sheet:
    """Every client that a visit went without, then what the others noted, such as why one has no teacher."""
    failed = [
        [visit(line), int(client), "failed", why]
        for line in known.ledger
        for client, why in line.get("failed", {}).items()
    ]
    noted = dict.fromkeys(
        (visit(line), int(client), "note", said["note"])  # the same of every arm
        for line in known.rounds
        for part in line["arms"].values()
        for client, said in part["clients"].items()
        if said.get("note")
    )
    rows = [*failed, *map(list, noted)]
    more = f"; {len(rows) - MOST} more stand in rounds.jsonl" if len(rows) > MOST else ""
    columns = (Column("visit"), Column("client", count), Column("what"), Column("reason"))
    return Sheet("failures", f"clients that failed, and notes{more}", columns, rows[:MOST])


def visit(line: Line) -> str:
    """What a line of the ledger is about."""
    names = {"prepare": line.get("stage") or "hello", "round": f"round {line.get('round')}"}
    return names.get(line["kind"], "test rows")


def data(known: Record) -> Sheet:
    """A line a client: its rows by part, class and domain."""
    holds = known.holds
    heads = {part: list(dict.fromkeys(key for held in holds.values() for key in held.get(part, {}))) for part in PARTED}
    rows = [
        [int(client), *(held.get(part, {}).get(key, 0) for part, keys in heads.items() for key in keys)]
        for client, held in holds.items()
    ]
    named = [Column(f"{PARTED[part]}{key}", count) for part, keys in heads.items() for key in keys]
    return Sheet(
        "data",
        "rows; classes are counted in the labelled training rows, domains in all",
        (Column("client", count), *named),
        rows,
    )


PARTED = {"parts": "", "classes": "class ", "domains": "domain "}


def costs(known: Record) -> Sheet:
    """A line a visit, and their sum."""
    rows: list[list[Any]] = []
    for line in known.ledger:
        if line["kind"] == "end":
            continue
        arms_ = line.get("arms", {}).values()
        shots = sum(total(part.get("clients", {}).values(), "shots") for part in arms_)
        if line["kind"] == "score":
            shots = sum(said.get("shots", 0) for said in line.get("clients", {}).values())
        times = line.get("seconds", {})
        rows.append(
            [
                visit(line),
                line.get("bytes_up", 0),
                line.get("bytes_down", 0),
                shots,
                times.get("round", 0.0),
                sum(times.get("clients", {}).values()),
                sum(one.get("seconds", 0.0) for one in times.get("tuning", {}).values()),
            ]
        )
    if rows:
        rows.append(["together", *map(sum, list(zip(*rows, strict=True))[1:])])
    columns = (
        *(Column("visit"), Column("bytes up", count), Column("bytes down", count), Column("shots", count)),
        *(Column("seconds", seconds), Column("clients' seconds", seconds), Column("tuning, seconds", seconds)),
    )
    title = (
        "seconds: of the server's clock; clients' and tuning: of all clients together, tuning LLMs apart from the rest"
    )
    recipe = known.recipe
    said = [f"{arm}: {words}" for arm in known.arms if recipe and (words := sent(arm, known.rounds, recipe))]
    return Sheet("costs", "; ".join([title, *said]), columns, rows)
