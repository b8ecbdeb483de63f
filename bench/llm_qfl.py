"""LLM-QFL on every corpus, beside plain federated learning and the paper's settings: `python -m bench.llm_qfl`.

What is done is not done again. A second table moves one recipe from the exact engine to shots, a noisy device and IBM's
primitives, further ones change teachers, students and qubits, and one looks for a regime in which a student beats its
twin. Speed moves no number.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bench.study import Results, asked, commits, origin, over, write
from recipes.load import load
from server.jobs import finish
from server.ledger import newest, ratios
from server.outcome import Outcome, refuse_untaught
from server.statistics import LEVEL, difference, mean
from server.sweep import planned

FOLDER = Path(__file__).parent / "results"
CORPORA = ("reviews", "stega", "senti", "tweets", "topic", "genomic")
FORMS = ("plain-qfl-{}", "llm-qfl-{}", "llm-qfl-{}-paper")
Row = tuple[str, list[str]]  # a recipe, and what is changed in it
STUDIES: dict[str, list[Row]] = {
    "llm-qfl": [(form.format(corpus), []) for corpus in CORPORA for form in FORMS],
    "llm-qfl-executors": [
        ("llm-qfl-genomic", ["rounds=12", "stop.epsilon=0"]),
        ("llm-qfl-genomic-aer", ["rounds=12", "stop.epsilon=0"]),
        ("llm-qfl-genomic-noisy", ["mitigate=false"]),
        ("llm-qfl-genomic-noisy", ["mitigate=true"]),
        ("llm-qfl-genomic-ibm", ["executor=ibm-local:brisbane"]),
    ],
    "llm-qfl-cross": [
        ("llm-qfl-cross", [f"teacher.kind={teacher}", f"student.kind={student}"])
        for teacher in ("lora", "tiny")
        for student in ("vqc", "qcnn")
    ],
    "llm-qfl-federated": [
        ("llm-qfl-reviews", []),
        ("llm-qfl-reviews", ["teacher.epochs=4"]),  # as often over its rows as in two federated rounds
        *(("llm-qfl-federated", [f"teacher.federate={way}"]) for way in ("average", "ffa", "exact")),
    ],
    "llm-qfl-topic-11": [
        ("plain-qfl-topic", ["student.qubits=11", "optimiser.maxiter=50"]),
        ("llm-qfl-topic-11", []),
    ],
    "llm-qfl-regimes": [
        ("plain-qfl-topic", []),
        ("plain-qfl-topic", ["data.rows=60"]),
        ("plain-qfl-topic", ["data.partition=dirichlet", "data.alpha=0.1"]),
        ("plain-qfl-reviews", []),
    ],
}
SEEDS = {"llm-qfl-regimes": 10, "llm-qfl-topic-11": 1}  # others three


def main() -> None:
    """Run what is missing; a results file a study grows by each recipe."""
    said = asked("bench.llm_qfl", __doc__, seeds=10, results=FOLDER, only=list(STUDIES))
    for study in said.only:
        found = []
        for recipe, changes in STUDIES[study]:
            seeds = range(min(said.seeds, SEEDS.get(study, 3)))
            outcomes = finish(planned(recipe, [changes], seeds, said.runs_dir), said.jobs)
            found.append(measured(recipe, changes, outcomes))
            write({"schema": 1, "rows": found}, said.results / f"{study}.json")


def measured(recipe: str, changes: list[str], outcomes: Sequence[Outcome], command: str = "make llm-qfl") -> Results:
    """One recipe: a number a seed, with all that they depend on."""
    runs = sorted(outcomes, key=lambda run: run.recipe.seed)
    for run in runs:
        refuse_untaught(run)
    rhos = [ratios(run.rounds, "student") for run in runs]
    return {
        **origin(load(recipe, changes), runs, command),
        "changes": changes,
        "clients": runs[0].recipe.clients,
        "rounds": runs[0].recipe.rounds,
        "taught": runs[0].recipe.teacher.kind if asks(runs[0]) else "",
        "accuracy": {name: [run.accuracy(name) for run in runs] for name in (*runs[0].arms, *runs[0].alone)},
        "teacher": [teacher(run) for run in runs],
        "behind": [sum(rho > 1 for rho in of) for of in rhos],
        "compared": [len(of) for of in rhos],
        "evaluations": [run.evaluations("student") for run in runs],
        "shots": [run.shots("student") for run in runs],
    }


def asks(run: Outcome) -> bool:
    """Whether anything in a recipe depends on its teacher."""
    r = run.recipe
    return r.regulate.law != "none" or r.distil.teaches


def teacher(run: Outcome) -> float | None:
    """Mean accuracy of the clients' last teachers on their held-out rows, or None where there is none."""
    said = [client["teacher_accuracy"] for client in newest(run.rounds).values()]
    known = [accuracy for accuracy in said if accuracy is not None]
    return mean(known) if known else None


def table(results: Results) -> Table:
    """One line a recipe."""
    drawn = Table()
    columns = ["recipe", "student", "twin", "student − twin, points", "linear head", "logistic", "majority"]
    columns += ["teacher", "ρ > 1", "clients × rounds", "evaluations"]
    for name in columns:
        drawn.add_column(name, justify="left" if name == "recipe" else "right")
    for row in results["rows"]:
        accuracy = row["accuracy"]
        drawn.add_row(
            " ".join([row["recipe"], *row["changes"]]),
            *(f"{mean(accuracy[name]):.1%}" for name in ("student", "twin")),
            apart(accuracy["student"], accuracy["twin"]),
            *(f"{mean(accuracy[name]):.1%}" if name in accuracy else "" for name in ("head", "logistic", "majority")),
            f"{mean(row['teacher']):.1%}" if row["taught"] else "",
            f"{sum(row['behind']):,} of {sum(row['compared']):,}" if row["taught"] else "",
            f"{row['clients']} × {row['rounds']}",
            f"{mean(row['evaluations']):,.0f}",
        )
    return drawn


def apart(values: Sequence[float], others: Sequence[float]) -> str:
    """Mean paired difference in points and its Student's t interval, bold where both intervals leave 0 out."""
    found = difference(values, others)
    if found.t_interval is None:
        return f"{100 * found.mean:+.1f}".replace("-", "−")
    low, high = (100 * end for end in found.t_interval)
    text = f"{100 * found.mean:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−")
    return f"**{text}**" if found.shown else text


def note(results: Results) -> str:
    """What the columns mean and where the numbers come from."""
    seeds = over(len(row["seeds"]) for row in results["rows"])
    return (
        f"Means over {seeds}, test rows of all clients; differences paired by seed with Student's {LEVEL:.0%} "
        f"interval, bold when shown. logistic, majority: of each client's rows alone. teacher: its clients' held-out "
        f"rows. ρ > 1: client-rounds after the first whose student was behind its teacher. "
        f"`make llm-qfl`, qflock {commits(results)}."
    )


if __name__ == "__main__":
    main()
