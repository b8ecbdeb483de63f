"""How much λ, μ and ε matter, over three seeds: `python -m bench.sensitivity`, or `make sensitivity`.

First every λ (weight of the teacher in a student's loss) with every μ (pull to the global angles), then, at the two
that have the lowest loss on the server's reference rows, every ε of the stopping rule. Test rows choose nothing.
Two sweeps: what is done is not done again. No number depends on the machine's speed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.study import Results, asked, cited, origin, write
from recipes.load import load, sweep_of
from recipes.section import InputError
from server.jobs import finish
from server.outcome import Outcome
from server.statistics import LEVEL, difference, mean
from server.sweep import grid, planned

RESULTS = Path(__file__).parent / "results" / "sensitivity.json"
RECIPE, SEEDS = "llm-qfl-sensitivity", 3  # it carries the λ and μ
EPSILONS = (1e-3, 1e-2, 5e-2)
ARM = "student"

Cell = dict[str, Any]  # one setting: its values, and a number a seed


def main() -> None:
    """Run what is missing, write the results file and the heat map beside it."""
    said = asked("bench.sensitivity", __doc__, recipe=RECIPE, seeds=SEEDS, results=RESULTS)
    seeds, sets = range(said.seeds), sweep_of(said.recipe)
    if sorted(one.partition("=")[0] for one in sets) != ["distil.proximal", "distil.weight"]:
        raise InputError(f"{said.recipe} must carry a sweep of distil.weight and distil.proximal, and of nothing else")
    guided = finish(planned(said.recipe, grid(sets), seeds, said.runs_dir, "guidance"), said.jobs)
    best = lowest(cells(guided))
    sets = [f"distil.weight={best['weight']}", f"distil.proximal={best['proximal']}"]
    sets.append(f"stop.epsilon={','.join(map(str, EPSILONS))}")
    stopped = finish(planned(said.recipe, grid(sets), seeds, said.runs_dir, "stopping"), said.jobs)
    results = measured(said.recipe, guided, stopped)
    write(results, said.results)
    heat(results, said.results.with_suffix(".png"))


def measured(recipe: str, guided: Sequence[Outcome], stopped: Sequence[Outcome]) -> Results:
    """What the runs came to, with all that their numbers depend on."""
    return {
        **origin(load(recipe), [*guided, *stopped], "make sensitivity"),
        "guidance": cells(guided),
        "stopping": cells(stopped),
    }


def cells(outcomes: Sequence[Outcome]) -> list[Cell]:
    """One line a setting, its seeds in order."""
    found: dict[tuple[float, ...], Cell] = {}
    for run in sorted(outcomes, key=lambda run: run.recipe.seed):
        r = run.recipe
        setting = {"weight": r.distil.weight, "proximal": r.distil.proximal, "epsilon": r.stop.epsilon}
        cell = found.setdefault(tuple(setting.values()), setting)
        for name, value in {
            "loss": run.trace(ARM, "reference_loss")[-1],
            "accuracy": run.accuracy(ARM),
            "evaluations": run.evaluations(ARM),
            "rounds": len(run.trained(ARM)),
        }.items():
            cell.setdefault(name, []).append(value)
    return [found[key] for key in sorted(found)]


def lowest(found: Sequence[Cell]) -> Cell:
    """The setting with the lowest mean reference loss; of equals the gentlest."""
    return min(found, key=lambda cell: mean(cell["loss"]))


def table(results: Results) -> Table:
    """λ down, μ across: loss on the reference rows and accuracy on the test rows."""
    found = {(cell["weight"], cell["proximal"]): cell for cell in results["guidance"]}
    best = lowest(results["guidance"])
    drawn = Table(title=f"{ARM}: reference loss in nats, test accuracy", title_justify="left")
    drawn.add_column("λ", justify="right")
    for proximal in (proximals := sorted({proximal for _, proximal in found})):
        drawn.add_column(f"μ = {proximal:g}", justify="right")
    for weight in sorted({weight for weight, _ in found}):
        row = [found[weight, proximal] for proximal in proximals]
        drawn.add_row(f"{weight:g}", *(f"{shown(cell)}{' (lowest)' * (cell is best)}" for cell in row))
    return drawn


def shown(cell: Cell) -> str:
    return f"{mean(cell['loss']):.3f} · {mean(cell['accuracy']):.1%}"


def stops(results: Results) -> Table:
    """One line an ε."""
    drawn = Table(title="stopping", title_justify="left")
    for name in ("ε", "rounds", "evaluations", "reference loss", "test accuracy"):
        drawn.add_column(name, justify="right")
    for cell in results["stopping"]:
        costs = [f"{mean(cell['rounds']):.1f}", f"{mean(cell['evaluations']):,.0f}"]
        drawn.add_row(f"{cell['epsilon']:g}", *costs, f"{mean(cell['loss']):.3f}", f"{mean(cell['accuracy']):.1%}")
    return drawn


def note(results: Results) -> str:
    """Which λ and μ the numbers would choose, and whether they do."""
    best = lowest(results["guidance"])
    where = f"λ = {best['weight']:g} and μ = {best['proximal']:g}"
    bare = next((cell for cell in results["guidance"] if not cell["weight"] and not cell["proximal"]), best)
    found = difference(best["loss"], bare["loss"])
    if best is bare:
        said = f"No λ or μ lowers the mean loss below that of neither, {mean(bare['loss']):.3f}."
    elif found.t_interval is None:
        said = f"The lowest mean loss is at {where}; {found.n} seeds give no interval, so nothing is shown."
    else:
        low, high = found.t_interval
        word = "lower than" if found.shown else "not shown to differ from"
        said = (
            f"The lowest mean loss is at {where}; it is {word} that of λ = μ = 0 by {abs(found.mean):.3f} nats "
            f"({LEVEL:.0%} interval, Student's, {low:+.3f} to {high:+.3f}; {found.n} seeds), and it is the best of "
            f"{len(results['guidance'])}, which flatters it."
        )
    return f"{said} {cited(results)}"


def heat(results: Results, path: Path) -> None:
    """The same table as a picture: the darker, the lower the loss."""
    import numpy as np
    from matplotlib.figure import Figure

    found = {(cell["weight"], cell["proximal"]): cell for cell in results["guidance"]}
    weights, proximals = (sorted({key[side] for key in found}) for side in (0, 1))
    losses = np.array([[mean(found[weight, proximal]["loss"]) for proximal in proximals] for weight in weights])
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(losses, cmap="Purples_r", aspect="auto")
    for row, weight in enumerate(weights):
        for column, proximal in enumerate(proximals):
            dark = losses[row, column] < (losses.min() + losses.max()) / 2
            said = shown(found[weight, proximal]).replace(" · ", "\n")
            axes.text(column, row, said, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(proximals)), [f"{value:g}" for value in proximals])
    axes.set_yticks(range(len(weights)), [f"{value:g}" for value in weights])
    axes.set(xlabel="μ, pull to the global angles", ylabel="λ, weight of the teacher")
    axes.set_title(f"{results['recipe']}, {ARM}, means of {len(results['seeds'])} seeds", fontsize=10)
    figure.colorbar(picture, label="reference loss, nats")
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
