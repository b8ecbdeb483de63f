"""Runs beside each other: accuracy by arm over seeds, paired differences, and one sentence that the numbers allow.

A group is all runs of one recipe but for its seed. Differences are paired by seed: an arm against its twin within a
group, and every group against the first, if both are of one corpus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, product
from typing import Any

from recipes.schema import Recipe
from recipes.section import InputError
from server.outcome import Outcome
from server.statistics import FEWEST, LEVEL, Difference, Estimate, difference, estimate, mean


@dataclass(frozen=True)
class Group:
    """All runs of one recipe but for its seed."""

    label: str
    runs: dict[int, Outcome]  # by seed

    @property
    def arms(self) -> list[str]:
        return next(iter(self.runs.values())).arms

    @property
    def alone(self) -> list[str]:
        """What needs no student and every run has measured."""
        names = [run.alone for run in self.runs.values()]
        return [name for name in names[0] if all(name in others for others in names)]


@dataclass(frozen=True)
class Row:
    """One arm, or one baseline, of one group."""

    group: str
    arm: str
    parameters: int | None  # that travel; a baseline has none, and no loss
    accuracy: Estimate
    loss: float | None  # as what follows, means over seeds
    evaluations: float | None
    bytes: float  # as the seconds, of the whole run, which carries and times all arms at once
    seconds: float


@dataclass(frozen=True)
class Pair:
    """One comparison: `better` minus `other`, as the reading names them."""

    better: str
    other: str
    found: Difference

    @property
    def label(self) -> str:
        return f"{self.better} − {self.other}"


@dataclass(frozen=True)
class Comparison:
    """Everything that the tables, files and curves are drawn from."""

    groups: list[Group]
    base: str  # the keys in which groups differ, as in the first
    rows: list[Row]
    pairs: list[Pair]
    unpaired: list[str]

    @property
    def caution(self) -> str:
        """What many comparisons at once are worth."""
        judged = sum(pair.found.n >= FEWEST for pair in self.pairs)
        if judged < 2:
            return ""
        chance = f"{judged * (1 - LEVEL):.2g}"
        return f"{judged} comparisons at {LEVEL:.0%}: by chance alone, expect {chance} to show a difference."


def compare(outcomes: Sequence[Outcome], names: Mapping[str, str] | None = None) -> Comparison:
    """Group the runs, estimate every arm, and pair what can be paired; groups may be named, by a digest of theirs."""
    groups, base = grouped(outcomes)
    if names:
        groups = [replace(one, label=names[next(iter(one.runs.values())).recipe.digest()]) for one in groups]
    rows = [row(group, arm) for group in groups for arm in (*group.arms, *group.alone)]
    return Comparison(groups, base, rows, pairs(groups), unpaired(groups))


def grouped(outcomes: Sequence[Outcome]) -> tuple[list[Group], str]:
    """The groups in the order of their first runs, and what the first one's label stands for."""
    by_recipe: dict[Recipe, dict[int, Outcome]] = {}
    for outcome in outcomes:
        runs = by_recipe.setdefault(replace(outcome.recipe, seed=0), {})
        seed = outcome.recipe.seed
        if seed in runs:
            raise InputError(
                f"{runs[seed].folder} and {outcome.folder} are the same recipe and seed, so the same numbers: drop one"
            )
        runs[seed] = outcome
    flats = [flat(asdict(recipe)) for recipe in by_recipe]
    varying = [key for key in flats[0] if any(one[key] != flats[0][key] for one in flats)]
    labels = [
        " ".join(setting(key, one[key]) for key in varying if one[key] != flats[0][key]) or str(one["name"])
        for one in flats
    ]
    base = " ".join(setting(key, flats[0][key]) for key in varying)
    ordered = [dict(sorted(group.items())) for group in by_recipe.values()]
    return [Group(label, found) for label, found in zip(labels, ordered, strict=True)], base


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key → value, the seed left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return {key: value for key, value in found.items() if key != "seed"}


def setting(key: str, value: object) -> str:
    """A key and its value, short enough for a label."""
    return f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"


def row(group: Group, arm: str) -> Row:
    """An arm's means over the seeds of its group."""
    runs = list(group.runs.values())
    trained = arm in group.arms
    return Row(
        group.label,
        arm,
        runs[0].parameters(arm) if trained else None,
        estimate([run.accuracy(arm) for run in runs]),
        mean([run.trace(arm, "reference_loss")[-1] for run in runs]) if trained else None,
        mean([run.evaluations(arm) for run in runs]) if trained else None,
        mean([run.bytes for run in runs]),
        mean([run.seconds for run in runs]),
    )


def pairs(groups: Sequence[Group]) -> list[Pair]:
    """Arm against arm within each group, then each group against the first, arm by arm, on the seeds both have."""
    found = []
    for group in groups:
        for arm, other in pairwise(group.arms):
            sides = [[run.accuracy(name) for run in group.runs.values()] for name in (arm, other)]
            where = f"{group.label}: " if len(groups) > 1 else ""
            found.append(Pair(f"{where}{arm}", other, difference(*sides)))
    first = groups[0]
    for group in groups[1:]:
        seeds = [seed for seed, run in group.runs.items() if seed in first.runs and comparable(run, first.runs[seed])]
        for arm in [arm for arm in group.arms if arm in first.arms and seeds]:
            sides = [[side.runs[seed].accuracy(arm) for seed in seeds] for side in (group, first)]
            found.append(Pair(f"{group.label}: {arm}", first.label, difference(*sides)))
    return found


def comparable(run: Outcome, other: Outcome) -> bool:
    """Whether two runs were tested on rows of one corpus; other rows are another task, and no pair."""
    known = None not in (run.corpus, other.corpus)
    return run.recipe.data.corpus == other.recipe.data.corpus and (not known or run.corpus == other.corpus)


def unpaired(groups: Sequence[Group]) -> list[str]:
    """Groups that the first says nothing about."""
    first = groups[0]
    return [
        f"{group.label} is of another corpus than {first.label}: nothing is paired between them."
        for group in groups[1:]
        if not any(comparable(*sides) for sides in product(group.runs.values(), first.runs.values()))
    ]


def reading(pair: Pair) -> str:
    """One sentence that claims no more than the intervals allow; differences in percentage points of accuracy."""
    found, seeds = pair.found, f"{pair.found.n} seed{'s' * (pair.found.n != 1)}"
    if found.t_interval is None or found.detectable is None:
        return (
            f"{pair.better} against {pair.other}: {points(found.mean)} points on {seeds}; "
            f"fewer than {FEWEST} give no interval, so nothing is shown."
        )
    if found.spread == 0:
        same = "scored the same" if abs(found.mean) < 1e-12 else f"differed by the same {points(found.mean)} points"
        return f"{pair.better} and {pair.other} {same} on each of {seeds}; without a spread no interval means anything."
    if found.shown:
        word = "better" if found.mean > 0 else "worse"
        return (
            f"{pair.better} is {word} than {pair.other} by {abs(100 * found.mean):.1f} points "
            f"({LEVEL:.0%} interval {between(found.t_interval)}; {seeds})."
        )
    return (
        f"{pair.better} against {pair.other}: no difference shown ({LEVEL:.0%} interval {between(found.t_interval)} "
        f"points); {seeds} would show one of {100 * found.detectable:.1f} points four times in five."
    )


def points(share: float) -> str:
    """A share as signed percentage points; what rounds to zero has no minus."""
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", "−")


def between(interval: tuple[float, float]) -> str:
    """An interval in signed percentage points."""
    return f"{points(interval[0])} to {points(interval[1])}"
