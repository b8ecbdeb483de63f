"""The recipe `reviews` over five seeds, student beside twin: `python -m bench.reviews`, or `make reviews`.

A sweep: what is done is not done again. The numbers are accuracies on the clients' test rows, so they do not depend on
the machine's speed; the commits are those that the runs ran at.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from server.compare import compare, reading
from server.jobs import finish
from server.outcome import Outcome
from server.statistics import LEVEL
from server.sweep import planned

RESULTS = Path(__file__).parent / "results" / "reviews.json"
RECIPE, SEEDS = "reviews", 5
NAMES = {
    "student": "student: VQC of 16 angles",
    "twin": "twin: 16 weights",
    "head": "linear head of the reduction",
    "majority": "majority class",
    "logistic": "logistic regression on 384 features, each client alone",
}

Results = dict[str, Any]


def main() -> None:
    """Run what is missing, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.reviews", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--seeds", type=int, default=SEEDS)
    asked.add_argument("--runs-dir", type=Path, default=Path("runs"))
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is ended
    outcomes = finish(planned(RECIPE, [[]], range(said.seeds), said.runs_dir))
    said.results.parent.mkdir(parents=True, exist_ok=True)
    said.results.write_text(json.dumps(measured(outcomes), indent=1) + "\n", encoding="utf-8")


def measured(outcomes: Sequence[Outcome]) -> Results:
    """What the runs came to, with all that their numbers depend on."""
    comparison = compare(outcomes)
    (group,), (pair,) = comparison.groups, comparison.pairs
    runs = list(group.runs.values())
    ran = [json.loads((run.folder / "environment.json").read_text(encoding="utf-8")) for run in runs]
    return {
        "schema": 1,
        "commit": ", ".join(sorted({facts["qflock"] for facts in ran})),
        "command": "make reviews",
        "recipe": runs[0].recipe.name,
        "recipe_digest": replace(runs[0].recipe, seed=0).digest(),
        "seeds": list(group.runs),
        "packages": ran[0]["packages"],
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
    seeds, said = results["seeds"], results["difference"]["reading"]
    return (
        f"{said[:1].upper()}{said[1:]} Recipe `{results['recipe']}` "
        f"({results['recipe_digest']}), seeds {seeds[0]} to {seeds[-1]}, qflock {results['commit']}."
    )


if __name__ == "__main__":
    main()
