"""Curves of several runs: reference loss and accuracy by round, the mean over seeds in the band of their range."""

from itertools import cycle
from math import isfinite
from pathlib import Path
from textwrap import shorten, wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from server.compare import Comparison, Group, points
from server.drawing import INK, Drawing, save_png, together
from server.figures import COLOURS, GROUPS, Curve, curves
from server.statistics import LEVEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bands(comparison: Comparison) -> list[Drawing]:
    """A panel of losses and one of accuracies for every group; a seed that stopped early keeps its last value."""
    found = []
    for name, ylabel in (("loss", "held-out cross-entropy, nats"), ("accuracy", "")):
        groups = [traces(group, f"reference_{name}") for group in comparison.groups]
        every = [end for drawn in groups for curve in drawn for end in (*curve.low, *curve.high)]
        ends = [end for end in every if isfinite(end)] or [0.0, 1.0]
        margin = 0.05 * (max(ends) - min(ends)) or 0.01
        for place, (group, drawn) in enumerate(zip(comparison.groups, groups, strict=True)):
            last = "; ".join(f"{curve.label} {curve.values[-1]:.3f}" for curve in drawn)
            says = (
                f"{group.label}: {name} by round on the server's rows, mean of {len(group.runs)} seeds in the band "
                f"from least to most; at the end {last}"
            )
            title = "\n".join(wrap(f"{name} · {group.label}", 52))
            span = (min(ends) - margin, max(ends) + margin)
            looks: Any = {"ylabel": ylabel, "percent": name == "accuracy", "span": span}
            found.append(curves(f"{name}-{place}", title, says, drawn, **looks))
    return found


def differences(comparison: Comparison) -> Drawing:
    """Every paired difference with Student's interval; whoever is right of 0 is better."""
    pairs = comparison.pairs[::-1]
    shown = "; ".join(f"{pair.label} {points(pair.found.mean)}" for pair in comparison.pairs)

    def draw(axes: "Axes") -> None:
        for place, pair in enumerate(pairs):
            found = pair.found
            ends = [100 * end for end in found.t_interval or (found.mean, found.mean)]
            axes.plot(ends, [place, place], color=GROUPS[2], linewidth=2)
            axes.plot(100 * found.mean, place, "o", color=GROUPS[2], markersize=5)
            label = shorten(pair.label, 78, placeholder="…")
            axes.text(0, place + 0.3, label, transform=axes.get_yaxis_transform(), fontsize=7, in_layout=False)
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        axes.set_yticks([])
        axes.set(xlabel=f"percentage points of accuracy, Student's {LEVEL:.0%} interval", ylim=(-0.6, len(pairs) - 0.2))

    title = "paired differences"
    return Drawing(
        "differences", title, f"{title} with their intervals: {shown}", draw, max(2.0, 1 + 0.38 * len(pairs))
    )


def traces(group: Group, key: str) -> list[Curve]:
    """A curve an arm."""
    found = []
    for arm, colour in zip(group.arms, cycle(GROUPS), strict=False):
        seeds = [run.trace(arm, key) for run in group.runs.values()]
        longest = max(map(len, seeds))
        rows = np.array([trace + trace[-1:] * (longest - len(trace)) for trace in seeds], dtype=float)
        middle, low, high = rows.mean(0), rows.min(0), rows.max(0)
        found.append(Curve(arm, range(1, longest + 1), middle, low, high, COLOURS.get(arm, colour)))
    return found


def picture(comparison: Comparison, path: Path) -> None:
    """All panels as one file, losses above accuracies."""
    with path.open("wb") as file:
        save_png(together(*bands(comparison), rows=2), file)
