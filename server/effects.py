"""What each part of a recipe does: an ablation as one table, every arm paired with plain by seed, and what it says.

*Work to plain's loss*: the evaluations of all clients, to the end of the first round whose reference loss is at most
the loss at which the plain arm of the same seed and model ended. Plain itself may have been there before its last
round. A seed that never gets there has no such number; it is counted, and no mean is taken over the others.
"""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from server.ablation import FULL, PLAIN
from server.compare import Pair, compare, reading
from server.console import plain_console
from server.ledger import ratios
from server.outcome import Outcome, refuse_untaught
from server.statistics import FEWEST, LEVEL, Difference, difference, estimate
from server.sweep import Sweep
from server.tables import WRITERS, markdown

CLAIM = 0.30  # "up to 30% less computational overhead", arXiv:2505.18656
WORK = "work to plain's loss"
MEASURES: dict[str, Callable[[float], str]] = {  # column → how its numbers are written
    "accuracy": lambda value: f"{value:.1%}",
    "loss": lambda value: f"{value:.3f}",
    "evaluations": lambda value: f"{value:,.0f}",
    WORK: lambda value: f"{value:,.0f}",
    "shots": lambda value: f"{value:,.0f}",
    "bytes": lambda value: f"{value:,.0f}",
    "rounds": lambda value: f"{value:.1f}",
}
LEGEND = (
    f"mean over seeds ({LEVEL:.0%} bootstrap interval, which is narrow for few seeds) · − plain: differences paired by "
    f"seed (Student's {LEVEL:.0%} interval; of so many, one in twenty leaves 0 out by chance) · {WORK}: evaluations of "
    "all clients to the end of the first round whose loss is at most that at which plain ended at the same seed, "
    "without tuning the LLMs, which costs far more · loss: cross-entropy on the server's rows, nats · bytes: of "
    "student and twin together · ρ > 1: client-rounds after the first whose student was behind its teacher"
)

Results = dict[str, Any]  # what a results file holds: seeds, and a line an arm and model with a number a seed


def effects(sweep: Sweep, outcomes: Sequence[Outcome]) -> Results:
    """The numbers of the seeds that every arm has finished."""
    for outcome in outcomes:
        refuse_untaught(outcome)
    of = {run.recipe.digest(): (run.label.rpartition(" ")[0], run.recipe.seed) for run in sweep.runs}
    done = {of[outcome.recipe.digest()]: outcome for outcome in outcomes}
    names = list(dict.fromkeys(name for name, _ in of.values()))
    seeds = [
        seed for seed in dict.fromkeys(seed for _, seed in of.values()) if all((name, seed) in done for name in names)
    ]
    if not seeds:
        return {"seeds": [], "arms": []}
    return {
        "seeds": seeds,
        "arms": [
            {"arm": name, "model": model} | numbers([(done[name, seed], done[PLAIN, seed]) for seed in seeds], model)
            for name in names
            for model in done[names[0], seeds[0]].arms
        ],
    }


def numbers(runs: Sequence[tuple[Outcome, Outcome]], model: str) -> Results:
    """One model of one arm, each seed beside the plain run of that seed."""
    compared = [ratios(run.rounds, model) for run, _ in runs]
    return {
        "regulated": runs[0][0].recipe.regulate.law != "none",
        "accuracy": [run.accuracy(model) for run, _ in runs],
        "loss": [run.trace(model, "reference_loss")[-1] for run, _ in runs],
        "evaluations": [run.evaluations(model) for run, _ in runs],
        WORK: [run.reaches(model, plain.trace(model, "reference_loss")[-1]) for run, plain in runs],
        "shots": [run.shots(model) for run, _ in runs],
        "bytes": [run.bytes for run, _ in runs],
        "rounds": [len(run.trained(model)) for run, _ in runs],
        "behind": [sum(rho > 1 for rho in rhos) for rhos in compared],
        "compared": [len(rhos) for rhos in compared],
    }


def table(results: Results) -> Table:
    """Two lines an arm and model: what it came to, and its differences from plain."""
    drawn = Table(title=f"what each part does, seeds {', '.join(map(str, results['seeds']))}", title_justify="left")
    for name in ("arm", "model", *MEASURES, "ρ > 1"):
        drawn.add_column(name, justify="left" if name in ("arm", "model") else "right")
    plain = {line["model"]: line for line in results["arms"] if line["arm"] == PLAIN}
    for line in results["arms"]:
        alone = line["arm"] == PLAIN
        cells = [told(line[name], write) for name, write in MEASURES.items()]
        drawn.add_row(line["arm"], line["model"], *cells, behind(line), end_section=alone)
        if not alone:
            base = plain[line["model"]]
            cells = [apart(line[name], base[name], write) for name, write in MEASURES.items()]
            drawn.add_row("− plain", line["model"], *cells, "", end_section=True)
    return drawn


def told(values: Sequence[float | None], write: Callable[[float], str]) -> str:
    """A mean and its interval; or how many seeds have a number, and these numbers."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        after = f"\nafter {' and '.join(map(write, known))}" if known else ""
        return f"reached in {len(known)} of {len(values)}{after}"
    found = estimate(known)
    return write(found.mean) + spanned(found.interval, write)


def apart(values: Sequence[float | None], others: Sequence[float | None], write: Callable[[float], str]) -> str:
    """The mean paired difference and its interval, where every seed has both numbers."""
    pairs = [(value, other) for value, other in zip(values, others, strict=True) if None not in (value, other)]
    if len(pairs) < len(values):
        return ""
    found = difference(*zip(*pairs, strict=True))
    return signed(write)(found.mean) + spanned(found.t_interval, signed(write))


def signed(write: Callable[[float], str]) -> Callable[[float], str]:
    """The same writing with its sign; what is written as zero has none."""

    def written(value: float) -> str:
        text = write(abs(value))
        return text if text == write(0) else f"{'−' if value < 0 else '+'}{text}"

    return written


def spanned(interval: tuple[float, float] | None, write: Callable[[float], str]) -> str:
    """An interval on a line of its own; nothing when there is none, or no width to it."""
    ends = [write(end) for end in interval or ()]
    return f"\n({' to '.join(ends)})" if len(set(ends)) == 2 else ""


def behind(line: Results) -> str:
    """Client-rounds of all seeds in which ρ > 1; a twin is given its student's budget, and has no ρ of its own."""
    if line["model"] != "student":
        return ""
    found, of = sum(line["behind"]), sum(line["compared"])
    return f"{'inert: ' if line['regulated'] and not found else ''}{found:,} of {of:,}"


def sentences(results: Results) -> list[str]:
    """The paper's claim for every model, what full does to loss (if shown) and accuracy, whether regulation acted."""
    found = {(line["arm"], line["model"]): line for line in results["arms"]}
    models = [model for arm, model in found if arm == PLAIN]
    said = [claim(found[FULL, model], found[PLAIN, model]) for model in models]
    for model in models:
        pair = difference(found[FULL, model]["loss"], found[PLAIN, model]["loss"])
        if pair.shown and pair.t_interval:
            word = "above" if pair.mean > 0 else "below"
            low, high = sorted(map(abs, pair.t_interval))
            said.append(
                f"Loss: full {model} ends {abs(pair.mean):.3f} nats {word} plain {model} "
                f"({LEVEL:.0%} interval {low:.3f} to {high:.3f})."
            )
    sides = [((FULL, model), (PLAIN, model)) for model in models]
    sides += [((FULL, models[0]), (FULL, other)) for other in models[1:]]
    for better, other in sides:
        pair = difference(found[better]["accuracy"], found[other]["accuracy"])
        said.append("Accuracy: " + reading(Pair(" ".join(better), " ".join(other), pair)))
    if found[FULL, models[0]]["regulated"] and not sum(found[FULL, models[0]]["behind"]):
        said.append("Regulation inert: no student was ever behind its teacher, so its arms show nothing of it.")
    return said


def claim(line: Results, plain: Results) -> str:
    """One sentence on the paper's 30% less work; a saving is 1 − work / plain's work, seed by seed."""
    model, seeds = line["model"], len(line[WORK])
    saved = [1 - work / base for work, base in zip(line[WORK], plain[WORK], strict=True) if work is not None]
    paper = f"the paper's {CLAIM:.0%}"
    if len(saved) < seeds:
        *most, last = map(fewer, saved) if saved else ("",)
        listed = " and ".join([", ".join(most), last] if most else [last])
        others = f"; where it does, it takes {listed} evaluations" if saved else ""
        return (
            f"Work: full {model} reaches the loss at which plain {model} ends in {len(saved)} of {seeds} seeds"
            f"{others}: {paper} less work is not shown."
        )
    found = difference(saved, [0.0] * seeds)
    began = f"Work: to the loss at which plain {model} ends, full {model} takes {fewer(found.mean)} evaluations"
    if found.t_interval is None:
        return f"{began} on {seeds} seed{'s' * (seeds > 1)}; fewer than {FEWEST} say nothing of {paper} less."
    if not found.spread:
        return f"{began} in each of {seeds} seeds; without a spread between them nothing more can be said."
    low, high = found.t_interval
    where = f"{LEVEL:.0%} interval of the saving, Student's, {100 * low:.0f} to {high:.0%}; {seeds} seeds"
    return f"{began} ({where}): {verdict(found, paper)}.".replace("-", "−")


def verdict(found: Difference, paper: str) -> str:
    """What an interval of savings allows to be said."""
    low, high = found.t_interval or (found.mean, found.mean)
    if low >= CLAIM:
        return f"{paper} less work is reached"
    if high < 0:
        return f"more work is shown, not {paper} less"
    saving = "a saving is shown" if low > 0 else "no saving is shown"
    return f"{saving}, and {paper} {'is not excluded' if high >= CLAIM else 'is excluded'}"


def fewer(saving: float) -> str:
    """A share of evaluations saved, in words."""
    if f"{abs(saving):.0%}" == "0%":
        return "as many"
    return f"{abs(saving):.0%} {'more' if saving < 0 else 'fewer'}"


def as_csv(results: Results) -> str:
    """One line an arm, model and measure: estimate, paired difference, and the number of every seed."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    heads = ("seeds_with_a_number", "mean", "low", "high", "less_plain", "less_low", "less_high")
    out.writerow(["arm", "model", "measure", *heads, *(f"seed_{seed}" for seed in results["seeds"])])
    plain = {line["model"]: line for line in results["arms"] if line["arm"] == PLAIN}
    for line in results["arms"]:
        for name in (*MEASURES, "behind", "compared"):
            values, others = line[name], plain[line["model"]][name]
            cells: list[Any] = [""] * 6
            if None not in values:
                own, gap = estimate(values), difference(values, others)
                cells = [own.mean, *(own.interval or ("", "")), gap.mean, *(gap.t_interval or ("", ""))]
            known = sum(value is not None for value in values)
            each = ["" if value is None else value for value in values]
            out.writerow([line["arm"], line["model"], name, known, *cells, *each])
    return text.getvalue()


def as_markdown(results: Results) -> str:
    """The table, what it says, and what its words mean."""
    said = "\n".join(f"- {sentence}" for sentence in sentences(results))
    return f"{markdown(table(results))}\n\n{said}\n\n{LEGEND}\n"


def show(sweep: Sweep, outcomes: Sequence[Outcome]) -> None:
    """Print the table, and write it beside the runs as CSV and Markdown, and the comparison of the arms as a page."""
    results = effects(sweep, outcomes)
    if not results["seeds"]:
        return  # an arm is missing at every seed; whoever ran them says why
    console = plain_console(wide=True)
    console.print(table(results), *sentences(results), LEGEND, sep="\n", highlight=False)
    for path, text in (("ablation.csv", as_csv(results)), ("ablation.md", as_markdown(results))):
        (sweep.folder / path).write_text(text, encoding="utf-8")
        console.print(f"wrote {sweep.folder / path}", highlight=False, soft_wrap=True)
    names = {run.recipe.digest(): run.label.rpartition(" ")[0] for run in sweep.runs}
    arms = compare([outcome for outcome in outcomes if outcome.recipe.seed in results["seeds"]], names)
    for kind in ("html", "png"):
        WRITERS[kind](arms, sweep.folder / f"ablation.{kind}")
        console.print(f"wrote {sweep.folder / f'ablation.{kind}'}", highlight=False, soft_wrap=True)
