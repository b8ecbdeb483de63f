"""What each part of LLM-QFL does, over five seeds: `python -m bench.ablation`, or `make ablation`.

The sweep of `qflock ablate`: what is done is not done again. No number depends on the machine's speed. The make target
asks it for a corpus on which students fall behind their teachers, and for DNA, on which they hardly do.
"""

from collections.abc import Sequence
from pathlib import Path

from bench.study import Results, asked, cited, origin, write
from recipes.load import load
from server.ablation import ablation
from server.effects import LEGEND, effects, sentences, show
from server.jobs import finish
from server.outcome import Outcome
from server.sweep import Sweep

RESULTS = Path(__file__).parent / "results"
RECIPE, SEEDS = "llm-qfl-reviews", 5


def main() -> None:
    """Run what is missing, write the results file."""
    said = asked("bench.ablation", __doc__, recipe=RECIPE, seeds=SEEDS, results=RESULTS)
    sweep = ablation(said.recipe, [], range(said.seeds), said.runs_dir)
    results = measured(said.recipe, sweep, finish(sweep, said.jobs, show))
    write(results, said.results / f"ablation-{results['recipe']}.json")


def measured(recipe: str, sweep: Sweep, outcomes: Sequence[Outcome]) -> Results:
    """What the runs came to, with all that their numbers depend on."""
    return {**origin(load(recipe), outcomes, "make ablation"), **effects(sweep, outcomes)}


def note(results: Results) -> str:
    """What the table says, what its words mean, and where it comes from."""
    said = "\n".join(f"- {sentence}" for sentence in sentences(results))
    return f"{said}\n\n{LEGEND[:1].upper()}{LEGEND[1:]}. {cited(results)}"


if __name__ == "__main__":
    main()
