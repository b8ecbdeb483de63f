"""Curves of several runs: reference loss and accuracy by round, the mean over seeds in the band of their range."""

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from server.compare import Comparison, points
from server.figures import COLOURS, GROUPS, INK, STYLES, Curve, Drawing, curves, save_png, together

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bands(comparison: Comparison) -> list[Drawing]:
    """One panel of losses, one of accuracies; a seed that stopped early keeps its last value."""
    seeds = sorted({len(group.runs) for group in comparison.groups})
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    found = []
    for name, ylabel in (("loss", "held-out cross-entropy, nats"), ("accuracy", "")):
        drawn = traces(comparison, f"reference_{name}")
        says = (
            f"{name} by round on the server's rows, mean of {many} seeds, band from least to most; at the end "
            + "; ".join(f"{curve.label} {curve.values[-1]:.3f}" for curve in drawn)
        )
        found.append(curves(name, f"{name} by round", says, drawn, ylabel=ylabel, percent=name == "accuracy"))
    return found


def differences(comparison: Comparison) -> Drawing:
    """Every paired difference with its interval; whoever is right of 0 is better."""
    pairs = comparison.pairs[::-1]
    shown = "; ".join(f"{pair.label} {points(pair.found.mean)}" for pair in comparison.pairs)

    def draw(axes: "Axes") -> None:
        for place, pair in enumerate(pairs):
            found = pair.found
            ends = [100 * end for end in found.interval or (found.mean, found.mean)]
            axes.plot(ends, [place, place], color=GROUPS[2], linewidth=2)
            axes.plot(100 * found.mean, place, "o", color=GROUPS[2], markersize=5)
            axes.text(0, place + 0.3, pair.label, transform=axes.get_yaxis_transform(), fontsize=6)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks([])
        axes.set(xlabel="percentage points of accuracy", ylim=(-0.6, len(pairs) - 0.2))

    title = "paired differences"
    return Drawing(
        "differences", title, f"{title} with their intervals: {shown}", draw, max(2.0, 1 + 0.35 * len(pairs))
    )


def traces(comparison: Comparison, key: str) -> list[Curve]:
    """A curve a group and arm; colours tell groups apart, or the arms of a single one."""
    alone, found = len(comparison.groups) == 1, []
    for group, colour in zip(comparison.groups, cycle(GROUPS), strict=False):
        for arm, style in zip(group.arms, cycle(STYLES), strict=False):
            seeds = [run.trace(arm, key) for run in group.runs.values()]
            longest = max(map(len, seeds))
            rows = np.array([trace + trace[-1:] * (longest - len(trace)) for trace in seeds], dtype=float)
            looks = (COLOURS.get(arm, colour), "-") if alone else (colour, style)
            middle, low, high = rows.mean(0), rows.min(0), rows.max(0)
            found.append(Curve(f"{group.label}: {arm}", range(1, longest + 1), middle, low, high, *looks))
    return found


def picture(comparison: Comparison, path: Path) -> None:
    """Both panels as one file."""
    with path.open("wb") as file:
        save_png(together(*bands(comparison)), file)
