"""Figures as Matplotlib draws them: panels small enough for a phone, as SVG for a page and as PNG for a slide.

The text of an SVG is text, and takes the colour of the page around it, light or dark.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"  # of lines and letters, as a mark; a page has its own
LOOKS: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a class may be called $5
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)


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


def together(*drawings: Drawing, rows: int = 1) -> "Figure":
    """Panels side by side, in so many rows of equal length."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    across, height = len(drawings) // rows, max(one.height for one in drawings)
    with rc_context(LOOKS):
        drawn = Figure(figsize=(4.3 * across, height * rows), layout="constrained")
        for axes, one in zip(drawn.subplots(rows, across, squeeze=False).flat, drawings, strict=True):
            axes.set_title(one.title)
            one.draw(axes)
    return drawn


def element(drawing: Drawing) -> str:
    """The panel as a part of a page: names of its own, no size, the page's ink."""
    drawn = drawing.svg[drawing.svg.index("<svg") :].replace(INK, "currentColor")
    own = escape(drawing.name, quote=True)
    drawn = re.sub(r'id="|url\(#|href="#', lambda found: f"{found[0]}{own}-", drawn)
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
