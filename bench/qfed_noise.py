"""What shots and gate errors cost a trained generator: `python -m bench.qfed_noise [RUN]`, or `make qfed`.

RUN is the folder of a finished run whose circuit writes one network; without it, that of qfed-scale with five clients,
which is run where it is missing. Every level is one of `qflock noise` and kept in RUN/noise.json: what is done is not
done again. A level that cannot be is named with the reason.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.machine import facts, wide_console
from bench.study import Results, origin, write
from recipes.load import load
from recipes.schema import Recipe, unlike
from recipes.section import RecipeError
from server.jobs import finish
from server.noise import Asked, noise
from server.outcome import outcome
from server.sweep import planned

RESULTS = Path(__file__).parent / "results" / "qfed-noise.json"
MANY = 10_000_000  # shots that leave hardly any noise of their own
STEPS = 300  # of fine-tuning where a circuit takes milliseconds; with gate errors each takes minutes, so all take days
LEVELS: tuple[Asked, ...] = (
    *(("shots", 10**power, STEPS) for power in (4, 5, 6, 7)),
    *((f"depolarizing:{p}", MANY, 0) for p in ("1e-4", "1e-3", "1e-2")),
    ("noisy:guadalupe", MANY, 0),  # 16 qubits, of which the ring of 13 takes 13
)


def main() -> None:
    """Measure what is missing; the results file grows by each level."""
    asked = argparse.ArgumentParser(prog="bench.qfed_noise", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("run", nargs="?", type=Path, metavar="RUN")
    asked.add_argument("--runs-dir", type=Path, default=Path("runs"))
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = said.run or finish(planned("qfed-scale", [["clients=5"]], range(1), said.runs_dir), 1)[0].folder
    console = wide_console()
    for results in measured(folder, LEVELS, console.print):
        write(results, said.results)
    console.print(table(results), note(results))


def measured(folder: Path, levels: Sequence[Asked], say: Any = lambda _: None) -> Iterator[Results]:
    """The results after each level."""
    run, here = outcome(folder), facts(())
    generator = run.recipe.student.generator
    results: Results = {
        **origin(run.recipe, [run], "make qfed"),
        "changes": list(changes_of(run.recipe)),
        "measured_at": here["commit"],
        "machine": here["machine"],
        "network": [generator.target, generator.blocks],
        "levels": [],
        "not_run": {},
    }
    for level, shots, steps in levels:
        try:
            found = noise(folder, [level], shots=shots, steps=steps, go_on=True, say=say)
        except RecipeError as error:  # no such device, or beyond memory
            results["not_run"][f"{level}, {shots:,} shots"] = str(error)
        else:
            results |= {"images": found.rows, "exact": found.exact}
            results["levels"] += [asdict(one) for one in found.levels if one.asked == (level, shots, steps)]
        yield results


def changes_of(recipe: Recipe) -> Iterator[str]:
    """What a run's recipe sets otherwise than the shipped one of its name."""

    def flat(values: dict[str, Any], before: str) -> Iterator[str]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{before}{key}.")
            else:
                yield f"{before}{key}={json.dumps(value)}"

    return flat(unlike(asdict(replace(recipe, seed=0)), asdict(load(recipe.name))), "")


def table(results: Results) -> Table:
    """One line a level, below the one without noise."""
    drawn = Table()
    drawn.add_column("executor")
    for name in ("shots", "accuracy", "lost, points", f"after {STEPS} steps there", "lost, points", "seconds"):
        drawn.add_column(name, justify="right")
    drawn.add_row("exact", "", f"{results['exact']:.2%}", "", "", "", "")

    def lost(accuracy: float | None) -> tuple[str, str]:
        if accuracy is None:
            return "", ""
        return f"{accuracy:.2%}", f"{100 * (results['exact'] - accuracy):.1f}".replace("-", "−")

    for level in results["levels"]:
        costs = (*lost(level["accuracy"]), *lost(level["tuned"]))
        drawn.add_row(level["executor"], f"{level['shots']:,}", *costs, f"{level['seconds']:.0f}")
    return drawn


def note(results: Results) -> str:
    """What was measured where, and what was not."""
    target, blocks = results["network"]
    recipe = " ".join([results["recipe"], *results["changes"]])
    missing = "".join(f" Not run: {level} ({why})." for level, why in results["not_run"].items())
    return (
        f"The trained angles of one run, {recipe}, seed {results['seeds'][0]}, which write {target} by a ring of "
        f"{blocks} blocks; each level runs the circuit once, then {results['images']:,} of the server's images."
        f"{missing} `{results['command']}`, run at qflock {results['commit']}, measured at {results['measured_at']}."
    )


if __name__ == "__main__":
    main()
