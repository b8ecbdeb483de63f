"""The kinds of panel: curves by round, numbers or states of every client and round, rows by class, answers by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from server.drawing import INK, Drawing
from server.record import STUDENT, TWIN
from strategies.classes import Matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {STUDENT: "#8a5cf6", TWIN: "#e8710a"}  # tell apart without red and green, on white and on black
GROUPS = ("#8a5cf6", "#e8710a", "#1192e8", "#0a8a72", "#c2255c", "#8a3800", "#767676", "#5c940d")
FEW = 12  # clients or classes that have a name each
MOST_LINES = 40  # clients or rounds between whose cells there is room for a line
UNEVEN = 30.0  # the largest of positive numbers over their median, from which on their scale is a logarithm's


@dataclass(frozen=True)
class Curve:
    """One number a round, in the band of what it is the middle or the outcome of."""

    label: str
    numbers: Sequence[int]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: str = ""


def curves(
    name: str,
    title: str,
    says: str,
    drawn: Sequence[Curve],
    *,
    ylabel: str = "",
    percent: bool = False,
    span: tuple[float, float] | None = None,
) -> Drawing:
    """Curves by round; panels that are to be held against one another have one span."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

        for curve, other in zip(drawn, cycle(GROUPS), strict=False):
            colour = curve.colour or other
            axes.plot(curve.numbers, curve.values, marker="o", markersize=3, color=colour, label=curve.label)
            if len(curve.low):
                axes.fill_between(curve.numbers, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.set(xlabel="round", ylabel=ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if span:
            axes.set_ylim(*span)
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if drawn[0].label:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        every = np.concatenate([curve.values for curve in drawn])
        if (every > 0).all() and every.max() > UNEVEN * np.median(every):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(
                StrMethodFormatter("{x:g}")
            )  # the others write formulas, which stay as typed

    return Drawing(name, title, says, draw)


def below(axes: "Axes", height: float, **looks: Any) -> None:
    """The legend under the panel, clear of the curves."""
    place = (0.5, -0.18 * 3.2 / height)
    axes.legend(frameon=False, fontsize=7, labelcolor=INK, loc="upper center", bbox_to_anchor=place, **looks)


def heat(
    name: str, title: str, says: str, values_CR: NDArray[Any], clients: Sequence[int], rounds: Sequence[int]
) -> Drawing:
    """One whole number a client and round."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        placed(axes, clients, rounds)
        shown = axes.imshow(values_CR, aspect="auto", interpolation="none", cmap="viridis")
        bar = axes.figure.colorbar(shown, ax=axes, ticks=MaxNLocator(5, integer=True))
        bar.outline.set_visible(False)

    return Drawing(name, title, says, draw, tall(len(clients)))


STATES = {0: ("not asked", "#bdbdbd"), 1: ("left out", "#e8710a"), 2: ("admitted", "#8a5cf6"), 3: ("failed", "#c2255c")}


def grid(
    name: str, title: str, says: str, states_CR: NDArray[Any], clients: Sequence[int], rounds: Sequence[int]
) -> Drawing:
    """What became of every client in every round."""

    def draw(axes: "Axes") -> None:
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch

        colours = [colour for _, colour in STATES.values()]
        placed(axes, clients, rounds)
        axes.imshow(states_CR, aspect="auto", interpolation="none", cmap=ListedColormap(colours), vmin=-0.5, vmax=3.5)
        patches = [Patch(color=colour, label=state) for state, colour in STATES.values()]
        below(axes, tall(len(clients)), handles=patches, ncols=4)

    return Drawing(name, title, says, draw, tall(len(clients)))


def placed(axes: "Axes", clients: Sequence[int], rounds: Sequence[int]) -> None:
    """Clients down, rounds across; as many names as there is room for."""
    for axis, names, most in ((axes.yaxis, clients, 20), (axes.xaxis, rounds, 15)):
        step = max(1, -(-len(names) // most))
        axis.set_ticks(range(0, len(names), step), [str(name) for name in names[::step]])
        if len(names) <= MOST_LINES:  # cells apart
            axis.set_ticks(np.arange(1, len(names)) - 0.5, minor=True)
            axis.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="round", ylabel="client")


def tall(rows: int) -> float:
    return min(8.0, max(3.2, 1.2 + 0.16 * rows))


def shares(name: str, title: str, says: str, counts: dict[str, dict[str, int]]) -> Drawing:
    """Rows of every client, stacked by class or domain; what is beyond the commonest is `others`."""
    totals: dict[str, int] = {}
    for held in counts.values():
        for key, count in held.items():
            totals[key] = totals.get(key, 0) + count
    ranked = sorted(totals, key=lambda key: -totals[key])
    named = [key for key in totals if len(totals) <= FEW or key in ranked[: FEW - 1]]

    def draw(axes: "Axes") -> None:
        from matplotlib import colormaps

        colours = colormaps["viridis"](np.linspace(0.05, 0.95, len(named) + 1))
        left = np.zeros(len(counts))
        for key, colour in zip([*named, None], colours, strict=True):
            rows = np.array(
                [
                    sum(
                        count
                        for other, count in held.items()
                        if (other == key if key is not None else other not in named)
                    )
                    for held in counts.values()
                ]
            )
            if rows.any():
                axes.barh(range(len(counts)), rows, left=left, color=colour, label=key if key is not None else "others")
            left += rows
        axes.set(xlabel="rows", ylabel="client")
        step = max(1, -(-len(counts) // 20))
        axes.set_yticks(range(0, len(counts), step), list(counts)[::step])
        axes.invert_yaxis()
        below(axes, tall(len(counts)), ncols=3)

    return Drawing(name, title, says, draw, tall(len(counts)))


def confusion(name: str, title: str, says: str, matrix: Matrix, names: Sequence[str]) -> Drawing:
    """Rows of a class by what was answered, as shares of the class."""

    def draw(axes: "Axes") -> None:
        counts = np.array(matrix, dtype=float)
        of_class = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.imshow(of_class, cmap="Purples", vmin=0, vmax=1)
        if len(names) <= FEW:
            for row, column in np.ndindex(*counts.shape):
                ink = "white" if of_class[row, column] > 0.5 else "black"
                axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=8)
            short = [label if len(label) <= 14 else f"{label[:13]}…" for label in names]
            axes.set_yticks(range(len(names)), short)
            axes.set_xticks(
                range(len(names)),
                short,
                rotation=45 if len(names) > 3 else 0,
                ha="right" if len(names) > 3 else "center",
            )
        axes.set(xlabel="answered", ylabel="class")

    return Drawing(name, title, says, draw, 3.6)
