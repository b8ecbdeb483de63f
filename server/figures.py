"""Figures as Matplotlib draws them: panels small enough for a phone, as SVG for a page and as PNG for a slide.

The text of an SVG is text, and takes the colour of the page around it, light or dark.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from server.record import STUDENT, TWIN, Record, number
from strategies.classes import Matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {STUDENT: "#8a5cf6", TWIN: "#e8710a"}  # tell apart without red and green, on white and on black
GROUPS = ("#8a5cf6", "#e8710a", "#1192e8", "#0a8a72", "#c2255c", "#8a3800", "#767676", "#5c940d")
STYLES = ("-", "--", ":")
INK = "#010203"  # of lines and letters, as a mark; a page has its own
LOOKS: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a class may be called $5
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
FEW = 12  # clients or classes that have a name each
FEWER = 4  # curves whose legend fits among them


@dataclass(frozen=True)
class Drawing:
    """One panel, with what it shows for whoever does not see it; drawn once, when it is first needed."""

    name: str
    title: str
    says: str
    draw: Callable[["Axes"], None]
    height: float = 3.2

    @cached_property
    def figure(self) -> "Figure":
        """As Matplotlib has it."""
        return together(self)

    @cached_property
    def svg(self) -> str:
        """As a file of its own."""
        from matplotlib import rc_context

        text = io.StringIO()
        nothing: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with rc_context({**LOOKS, "svg.fonttype": "none", "svg.hashsalt": self.name}):
            self.figure.savefig(text, format="svg", transparent=True, metadata=nothing)
        return text.getvalue()


def together(*drawings: Drawing) -> "Figure":
    """Panels side by side."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(LOOKS):
        drawn = Figure(figsize=(4.3 * len(drawings), max(one.height for one in drawings)), layout="constrained")
        for axes, one in zip(drawn.subplots(1, len(drawings), squeeze=False)[0], drawings, strict=True):
            axes.set_title(one.title)
            one.draw(axes)
    return drawn


def element(drawing: Drawing) -> str:
    """The panel as a part of a page: names of its own, no size, the page's ink."""
    drawn = drawing.svg[drawing.svg.index("<svg") :].replace(INK, "currentColor")
    drawn = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{drawing.name}-", drawn)
    box = re.search(r'viewBox="[^"]*"', drawn)
    assert box
    return re.sub(r"<svg[^>]*>", f"<svg {box[0]}>", drawn, count=1)


def save(drawing: Drawing, folder: Path) -> None:
    """The panel as files that stand alone."""
    (folder / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    with (folder / f"{drawing.name}.png").open("wb") as file:
        save_png(drawing.figure, file)


def save_png(figure: "Figure", file: Any) -> None:
    """A picture for a slide."""
    from matplotlib import rc_context

    with rc_context(LOOKS):
        figure.savefig(file, format="png", dpi=160)


@dataclass(frozen=True)
class Curve:
    """One number a round, in the band of what it is the middle or the outcome of."""

    label: str
    numbers: Sequence[int]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: str = ""
    style: str = "-"


def curves(
    name: str, title: str, says: str, drawn: Sequence[Curve], *, ylabel: str = "", percent: bool = False
) -> Drawing:
    """Curves by round."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        for curve, other in zip(drawn, cycle(GROUPS), strict=False):
            colour = curve.colour or other
            axes.plot(
                curve.numbers, curve.values, curve.style, marker="o", markersize=3, color=colour, label=curve.label
            )
            if len(curve.low):
                axes.fill_between(curve.numbers, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.set(xlabel="round", ylabel=ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if len(drawn) > FEWER:
            below(axes, height, ncols=1)
        elif drawn[0].label:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)

    height = 3.2 + (0.16 * len(drawn) if len(drawn) > FEWER else 0)
    return Drawing(name, title, says, draw, height)


def below(axes: "Axes", height: float, **looks: Any) -> None:
    """The legend under the panel, clear of the curves."""
    place = (0.5, -0.18 * 3.2 / height)
    axes.legend(frameon=False, fontsize=7, labelcolor=INK, loc="upper center", bbox_to_anchor=place, **looks)


def heat(
    name: str, title: str, says: str, values_CR: NDArray[Any], clients: Sequence[int], rounds: Sequence[int]
) -> Drawing:
    """One number a client and round."""

    def draw(axes: "Axes") -> None:
        placed(axes, clients, rounds)
        shown = axes.imshow(values_CR, aspect="auto", interpolation="none", cmap="viridis")
        bar = axes.figure.colorbar(shown, ax=axes)
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


def of_run(record: Record) -> Iterator[Drawing]:
    """Every panel that a record has the numbers for, in the order in which one asks."""
    rounds = [line["round"] for line in record.rounds]
    clients = record.clients
    if rounds and record.arms:
        yield from by_round(record)
        for key in ("maxiter", "evaluations"):
            values = np.full((len(clients), len(rounds)), np.nan)
            for round_, client, said in record.visits(STUDENT):
                values[clients.index(client), rounds.index(round_)] = number(said, key)
            if np.isfinite(values).any():
                least, most = np.nanmin(values), np.nanmax(values)
                says = f"{key} of the student by client and round, from {least:.0f} to {most:.0f}"
                yield heat(key, f"student: {key} by client and round", says, values, clients, rounds)
        for arm in record.arms:
            states = admitted(record, arm)
            entered, missed = (int((states == state).sum()) for state in (2, 3))
            says = f"{arm}: {entered} of {states.size} client-rounds admitted, {missed} failed"
            yield grid(f"admitted-{arm}", f"{arm}: who was admitted", says, states, clients, rounds)
    holds = record.holds
    for part, what in (("classes", "class"), ("domains", "domain")):
        counts = {client: held[part] for client, held in holds.items() if held.get(part)}
        if counts:
            kinds = {key for held in counts.values() for key in held}
            yield shares(
                part, f"rows by {what}", f"rows of {len(counts)} clients by {what}, {len(kinds)} in all", counts
            )
    for arm, found in record.score.get("arms", {}).items():
        if matrix := found.get("confusion"):
            hits = sum(row[k] for k, row in enumerate(matrix))
            says = f"confusion matrix of the {arm}: {hits} of {sum(map(sum, matrix))} test rows on the diagonal"
            yield confusion(
                f"confusion-{arm}", f"{arm}: answers by class", says, matrix, class_names(record, len(matrix))
            )


def by_round(record: Record) -> Iterator[Drawing]:
    """Accuracy, loss, agreement and time, round by round."""
    for name, ylabel, percent in (("accuracy", "", True), ("loss", "held-out cross-entropy, nats", False)):
        drawn, said = [], []
        for arm in record.arms:
            parts = record.trained(arm)
            if not parts:
                continue
            locals_ = [[number(client, f"student_{name}") for client in part["clients"].values()] for _, part in parts]
            values = [number(part, f"reference_{name}") for _, part in parts]
            low, high = ([pick(found, default=np.nan) for found in locals_] for pick in (min, max))
            drawn.append(Curve(f"{arm}, averaged", [n for n, _ in parts], values, low, high, COLOURS.get(arm, "")))
            said.append(f"{arm} from {values[0]:.3f} to {values[-1]:.3f}")
        if drawn:
            says = (
                f"{name} by round on the server's rows, in the band of the clients' before averaging: {'; '.join(said)}"
            )
            yield curves(
                name, f"{name} by round (band: clients, own rows)", says, drawn, ylabel=ylabel, percent=percent
            )
    agreeing = [
        Curve(arm, [n for n, _ in parts], [number(part, "cosine") for _, part in parts], colour=COLOURS.get(arm, ""))
        for arm in record.arms
        if (parts := [(n, part) for n, part in record.trained(arm) if part.get("cosine") is not None])
    ]
    if agreeing:
        says = "; ".join(f"{curve.label} from {curve.values[0]:.2f} to {curve.values[-1]:.2f}" for curve in agreeing)
        yield curves("cosine", "mean cosine between admitted updates", f"cosine by round: {says}", agreeing)
    numbers = [line["round"] for line in record.rounds]
    times = [number(line.get("seconds", {}), "round") for line in record.rounds]
    says = f"seconds by round, {np.nansum(times):.1f} in all"
    yield curves("seconds", "seconds by round", says, [Curve("", numbers, times, colour=GROUPS[2])], ylabel="s")


def admitted(record: Record, arm: str) -> NDArray[np.int64]:
    """(clients, rounds): a number of STATES."""
    clients = record.clients
    states = np.zeros((len(clients), len(record.rounds)), dtype=np.int64)
    for column, line in enumerate(record.rounds):
        part = line["arms"].get(arm, {})
        for state, asked in (
            (1, part.get("invited", part.get("clients", {}))),
            (2, part.get("admitted", [])),
            (3, line.get("failed", {})),
        ):
            for client in asked:
                states[clients.index(int(client)), column] = state
    return states


def class_names(record: Record, classes: int) -> list[str]:
    """As the clients name them, else their numbers."""
    for held in record.holds.values():
        if len(held.get("classes", {})) == classes:
            return list(held["classes"])
    return [str(k) for k in range(classes)]
