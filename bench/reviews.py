"""The default recipe over five seeds, student beside twin: `python -m bench.reviews`, or `make reviews`.

A sweep: what is done is not done again. The numbers are accuracies on the clients' test rows, so they do not depend on
the machine's speed; the commits are those that the runs ran at.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bench.study import Results, asked, cited, origin, write
from server.compare import Pair, compare, reading
from server.jobs import finish
from server.outcome import Outcome
from server.record import STUDENT, TWIN
from server.statistics import LEVEL, difference
from server.sweep import planned

RESULTS = Path(__file__).parent / "results" / "reviews.json"
RECIPE, SEEDS = "llm-qfl-reviews", 5
NAMES = {
    "student": "student: VQC of 16 angles",
    "twin": "twin: 16 weights",
    "head": "linear head of the reduction",
    "majority": "majority class",
    "logistic": "logistic regression on 384 features, each client alone",
}


def main() -> None:
    """Run what is missing, write the results file."""
    said = asked("bench.reviews", __doc__, recipe=RECIPE, seeds=SEEDS, results=RESULTS)
    write(measured(finish(planned(said.recipe, [[]], range(said.seeds), said.runs_dir), said.jobs)), said.results)


def measured(outcomes: Sequence[Outcome]) -> Results:
    """What the runs came to, with all that their numbers depend on."""
    comparison = compare(outcomes)
    (group,), (pair,) = comparison.groups, comparison.pairs
    runs = list(group.runs.values())
    return {
        **origin(runs[0].recipe, runs, "make reviews"),
        "rows": [
            {
                "arm": row.arm,
                "mean": row.accuracy.mean,
                "interval": row.accuracy.interval,
                "reference_loss": row.loss,
                "evaluations": row.evaluations,
                "values": [run.accuracy(row.arm) for run in runs],
            }
            for row in comparison.rows
        ],
        "difference": {
            "of": pair.label,
            "mean": pair.found.mean,
            "interval": pair.found.interval,
            "t_interval": pair.found.t_interval,
            "detectable": pair.found.detectable,
            "reading": reading(pair),
        },
    }


def table(results: Results) -> Table:
    """One row an arm."""
    drawn = Table()
    for name in ("arm", "accuracy", f"{LEVEL:.0%} interval", "reference loss", "evaluations"):
        drawn.add_column(name, justify="left" if name == "arm" else "right")
    for row in results["rows"]:
        low, high = row["interval"] or (row["mean"], row["mean"])
        costs = [f"{row['reference_loss']:.3f}", f"{row['evaluations']:,.0f}"] if row["evaluations"] else ["", ""]
        drawn.add_row(NAMES[row["arm"]], f"{row['mean']:.1%}", f"{100 * low:.1f} to {high:.1%}", *costs)
    return drawn


def note(results: Results) -> str:
    """What the table says and where it comes from."""
    values = {row["arm"]: row["values"] for row in results["rows"]}
    said = reading(Pair(STUDENT, TWIN, difference(values[STUDENT], values[TWIN])))
    return f"{said[:1].upper()}{said[1:]} {cited(results)}"


if __name__ == "__main__":
    main()
