"""Curves of several runs: reference loss and accuracy by round, the mean over seeds in the band of their range."""

from itertools import cycle
from pathlib import Path

import numpy as np

from server.compare import Comparison
from server.report import COLOURS

GROUPS = ("#6929c4", "#fa8b1e", "#1192e8", "#005d5d", "#9f1853", "#8a3800", "#525252", "#198038")
STYLES = ("-", "--", ":")  # of the arms, when colours tell groups apart


def bands(comparison: Comparison, path: Path) -> None:
    """Draw every group and arm; a seed that stopped early keeps its last value."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for group, colour in zip(comparison.groups, cycle(GROUPS), strict=False):
        for arm, style in zip(group.arms, cycle(STYLES), strict=False):
            alone = len(comparison.groups) == 1
            looks = {"color": COLOURS.get(arm, colour) if alone else colour, "linestyle": "-" if alone else style}
            for axes, key in ((loss, "reference_loss"), (accuracy, "reference_accuracy")):
                traces = [run.trace(arm, key) for run in group.runs.values()]
                longest = max(map(len, traces))
                rows = np.array([trace + trace[-1:] * (longest - len(trace)) for trace in traces], dtype=float)
                numbers = range(1, longest + 1)
                axes.plot(numbers, rows.mean(0), label=f"{group.label}: {arm}", marker="o", markersize=3, **looks)
                axes.fill_between(numbers, rows.min(0), rows.max(0), color=looks["color"], alpha=0.12, linewidth=0)
    seeds = sorted({len(group.runs) for group in comparison.groups})
    loss.set(title="loss by round", xlabel="round", ylabel="held-out cross-entropy, nats")
    accuracy.set(title="accuracy by round", xlabel="round")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    loss.legend(frameon=False, fontsize=8)
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    figure.suptitle(f"server's reference rows, mean of {many} seeds, band from least to most", fontsize=10)
    figure.savefig(path, dpi=120)
