"""A page in one file: no network; light or dark as the reader's screen, a phone's width or paper.

Templates are functions: the app that Flower packs holds Python and YAML only. Whatever comes from a run is escaped.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal, get_args

from server.drawing import Drawing, element

if TYPE_CHECKING:
    from rich.text import Text

STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1f;--page:#fff;--soft:#f3f1f8;--line:#d5d0e0;--mark:#6a3fd6;--warn:#9a4a00}
@media (prefers-color-scheme:dark){:root{--ink:#ececf1;--page:#141318;--soft:#211f29;--line:#45414f;--mark:#b79dff;
--warn:#ffb066}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--page);overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
a{color:var(--mark)}nav{font-size:.95rem}nav a{display:inline-block;padding:.3rem .8rem .3rem 0}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem}
figure{margin:0;padding:.5rem;max-width:38rem;border:1px solid var(--line);border-radius:.5rem;break-inside:avoid}
figure svg{width:100%;height:auto;display:block}figcaption{font-size:.85rem}
.scroll{overflow:auto;max-height:32rem;margin:.75rem 0}thead th{position:sticky;top:0;vertical-align:bottom}
tbody th{position:sticky;left:0;max-width:40vw;overflow-wrap:break-word}
details{margin:.75rem 0}summary{color:var(--mark);cursor:pointer}
table{border-collapse:collapse;overflow-wrap:normal;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.85rem;padding:.2rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{background:var(--soft)}thead th,th.t,td.t{white-space:normal}th.t,td.t{text-align:left}td.t{min-width:6rem}
.signs{padding:0;list-style:none}.signs li{border-left:.3rem solid var(--warn);background:var(--soft);
padding:.5rem .8rem;margin:.5rem 0;break-inside:avoid}.signs b{color:var(--warn)}
pre{background:var(--soft);padding:.75rem;font-size:.8rem;white-space:pre-wrap;columns:18rem}
:focus-visible{outline:.2rem solid var(--mark)}
@media print{:root{--ink:#000;--page:#fff;--soft:#f3f1f8;--line:#bbb;--warn:#9a4a00}body{max-width:none;font-size:10pt;
padding:0}nav{display:none}::details-content{content-visibility:visible;display:block}.scroll{overflow:visible;
max-height:none}table{font-size:8pt}th,td{white-space:normal;padding:.15rem .3rem}}
"""

CAPTION = 200  # letters; what is longer is only for who does not see the figure
Write = Callable[[Any], str]


Place = Literal["above", "aligned", "last", "below"]


@dataclass(frozen=True)
class Column:
    """A head, and how its values are written; None stays blank."""

    head: str
    write: Write | None = None  # None: words
    place: Place = "aligned"  # on a terminal: in a column, at the end of the line, on a line below it or above its like

    def cell(self, value: Any) -> str:
        return "" if value is None or value != value else self.write(value) if self.write else str(value)


@dataclass(frozen=True)
class Sheet:
    """A table: values as they are for a file, written out for a reader."""

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def html(self) -> str:
        """Without the columns that hold nothing."""
        cells = self.cells()
        kept = [place for place in range(len(self.columns)) if any(row[place] for row in cells)]
        columns = [self.columns[place] for place in kept]
        rows = [[row[place] for place in kept] for row in cells]
        return table(self.caption, [one.head for one in columns], rows, [one.write is None for one in columns])

    def cells(self) -> list[list[str]]:
        return [[column.cell(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def markdown(self) -> str:
        """As GitHub shows it."""
        rules = ["---" if column.write is None else "---:" for column in self.columns]
        heads = [column.head for column in self.columns]
        rows = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (heads, rules, *self.cells())
        ]
        return f"**{self.caption}**\n\n" + "\n".join(rows) + "\n"

    def terminal(self) -> "Text":
        """For a console: short columns in line, a long one at the end of its line, so that what is copied is whole."""
        from rich.text import Text

        placed: dict[Place, list[int]] = {place: [] for place in get_args(Place)}
        for number, column in enumerate(self.columns):
            placed[column.place].append(number)
        cells, heads = self.cells(), [column.head for column in self.columns]
        width = {k: max(len(row[k]) for row in (heads, *cells)) for k in placed["aligned"]}
        room = sum(width.values()) + 2 * len(width)
        told = Text(f"{self.caption}\n", style="bold")
        above: list[str] = []
        for row in (heads, *cells):
            if row is not heads and (here := [row[k] for k in placed["above"]]) != above:
                above = here
                told.append(f"\n{' '.join(here)}\n", "bold")
            sides = [row[k].ljust(w) if self.columns[k].write is None else row[k].rjust(w) for k, w in width.items()]
            told.append(f"{'  '.join([*sides, *(row[k] for k in placed['last'])]).rstrip()}\n", "not bold")
            for k in placed["below"]:
                told.append(f"{' ' * room}{row[k]}\n" if row[k] and row is not heads else "", "not bold dim")
        return told

    def csv(self) -> str:
        """Numbers in full; what is missing, or was none, is blank."""
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow([column.head for column in self.columns])
        out.writerows(["" if value is None or value != value else value for value in row] for row in self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Section:
    """A part of a page; one without content is left out."""

    anchor: str
    title: str
    content: str


def page(title: str, lead: str, sections: Iterable[Section], tail: str = "") -> str:
    """The whole file; `tail` is what a page that is served adds."""
    kept = [section for section in sections if section.content]
    links = " ".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in kept)
    parts = "".join(
        f'<section id="{one.anchor}" aria-labelledby="{one.anchor}-title">'
        f'<h2 id="{one.anchor}-title">{escape(one.title)}</h2>{one.content}</section>\n'
        for one in kept
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><header><h1>{escape(title)}</h1>{lead}"
        f'<nav aria-label="parts of this page">{links}</nav></header>\n<main>{parts}</main>{tail}</body></html>\n'
    )


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[bool]) -> str:
    """Cells as they are to be read; the first of a row names it. It scrolls by itself where it is too wide."""
    left = [' class="t"' if word else "" for word in words]
    top = "".join(f'<th scope="col"{side}>{escape(head)}</th>' for head, side in zip(heads, left, strict=True))
    body = "".join(f"<tr>{cells(row, left)}</tr>" for row in rows)
    label = escape(caption, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><caption>{label}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def cells(row: Sequence[str], left: Sequence[str]) -> str:
    """One row."""
    first, *rest = (escape(cell).replace("\n", "<br>") for cell in row)
    return f'<th scope="row"{left[0]}>{first}</th>' + "".join(
        f"<td{side}>{cell}</td>" for cell, side in zip(rest, left[1:], strict=True)
    )


def panels(drawings: Iterable[Drawing]) -> str:
    """Figures side by side, as many as there is room for."""
    drawn = "".join(figure(one) for one in drawings)
    return f'<div class="panels">{drawn}</div>' if drawn else ""


def figure(drawing: Drawing) -> str:
    """One picture, which also says in words what it shows."""
    label = escape(drawing.says, quote=True)
    named = element(drawing).replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    shown = f"<figcaption>{escape(drawing.says)}.</figcaption>" if len(drawing.says) <= CAPTION else ""
    return f'<figure id="figure-{escape(drawing.name, quote=True)}">{named}{shown}</figure>'


def paragraphs(*texts: str) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts if text)


def folded(title: str, content: str) -> str:
    """Content for whoever opens it, and on paper."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def bullets(items: Iterable[str]) -> str:
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{listed}</ul>" if listed else ""
