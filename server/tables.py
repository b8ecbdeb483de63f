"""A comparison as tables: on the terminal, in Markdown, as CSV and on a page, all from the same cells."""

import csv
import io
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from server.compare import Comparison, between, points, reading
from server.console import plain_console
from server.statistics import LEVEL, Estimate

LABEL, WIDE = 20, 140  # characters: a label's least; a console's for costs too
# bytes and seconds of all arms, since a visit carries and times them together
COSTS = ("loss", "evaluations", "bytes\nof the run", "seconds\nof the run")


def tables(comparison: Comparison, *, narrow: bool = False) -> list[Table]:
    """Every arm's accuracy and costs, then every paired difference; narrow ones leave costs out."""
    interval = f"{LEVEL:.0%} interval"
    heads = ("arm", "seeds", "parameters", "accuracy", interval, *(() if narrow else COSTS))
    arms = headed("accuracy on the clients' test rows, means over seeds", "recipe", *heads)
    for index, row in enumerate(comparison.rows):
        last = index + 1 == len(comparison.rows) or comparison.rows[index + 1].group != row.group
        costs = ["", "", "", ""]
        if row.loss is not None and row.evaluations is not None:
            loss = f"{row.loss:.3f}" if isfinite(row.loss) else ""
            costs = [loss, f"{row.evaluations:,.0f}", f"{row.bytes:,.0f}", f"{row.seconds:.0f}"]
        found = row.accuracy
        size = "" if row.parameters is None else f"{row.parameters:,}"
        cells = [row.group, row.arm, str(found.n), size, f"{found.mean:.1%}", spanned(found), *costs]
        arms.add_row(*cells[: len(arms.columns)], end_section=last)
    heads = ("seeds", "won", "lost", "mean", f"Student's {interval}", "detectable")
    differences = headed("differences, paired by seed, in percentage points", "difference", *heads)
    for pair in comparison.pairs:
        found = pair.found
        bounds = between(found.t_interval) if found.t_interval else "none"
        least = f"{100 * found.detectable:.1f}" if found.detectable is not None else "none"
        wins = (str(found.n), str(found.won), str(found.lost))
        differences.add_row(pair.label, *wins, points(found.mean), bounds, least)
    return [arms, differences] if comparison.pairs else [arms]


def headed(title: str, label: str, *names: str) -> Table:
    """An empty table; only its label may take several lines."""
    drawn = Table(title=title, title_justify="left")
    drawn.add_column(label, min_width=LABEL)
    for name in names:
        drawn.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    return drawn


def spanned(found: Estimate) -> str:
    """An accuracy's interval, or that there is none."""
    return f"{100 * found.interval[0]:.1f} to {found.interval[1]:.1%}" if found.interval else "none"


def sentences(comparison: Comparison) -> list[str]:
    """What the tables say, a comparison a sentence, and what to be careful about."""
    base = [f"{comparison.groups[0].label} is {comparison.base}."] if comparison.base else []
    return [*base, *comparison.unpaired, *map(reading, comparison.pairs), *filter(None, [comparison.caution])]


def terminal(comparison: Comparison, width: int) -> Group:
    """The whole comparison for a console."""
    return Group(*tables(comparison, narrow=width < WIDE), *map(Text, sentences(comparison)))


def markdown(table: Table) -> str:
    """Any table of strings as GitHub shows it."""
    columns = list(table.columns)
    heads = [plain(column.header) for column in columns]
    rules = ["---:" if column.justify == "right" else "---" for column in columns]
    cells = zip(*([plain(cell) for cell in column.cells] for column in columns), strict=True)
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rules, *cells))


def plain(cell: object) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def as_markdown(comparison: Comparison) -> str:
    """Tables and sentences as one Markdown text."""
    parts = [f"**{table.title}**\n\n{markdown(table)}" for table in tables(comparison)]
    return "\n\n".join([*parts, "\n".join(f"- {said}" for said in sentences(comparison))]) + "\n"


def as_csv(comparison: Comparison) -> str:
    """One line an arm and one a difference, numbers in full; accuracies and differences are shares, not percent."""
    heads = ("kind", "recipe", "arm", "seeds", "mean", "low", "high", "t_low", "t_high", "detectable")
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(
        [*heads, "reference_loss", "evaluations", "run_bytes", "run_seconds", "parameters", "won", "lost", "reading"]
    )
    for row in comparison.rows:
        found = row.accuracy
        ends = [*(found.interval or ("", "")), "", "", ""]
        costs: list[Any] = [row.loss, row.evaluations, row.bytes, row.seconds, row.parameters]
        costs = ["" if cost is None or cost != cost or row.loss is None else cost for cost in costs]
        out.writerow(["accuracy", row.group, row.arm, found.n, found.mean, *ends, *costs, "", "", ""])
    for pair in comparison.pairs:
        gap = pair.found
        ends = [*(gap.interval or ("", "")), *(gap.t_interval or ("", ""))]
        least, blank = "" if gap.detectable is None else gap.detectable, [""] * 5
        out.writerow(
            [
                *("difference", pair.better, pair.other, gap.n, gap.mean, *ends, least),
                *(*blank, gap.won, gap.lost, reading(pair)),
            ]
        )
    return text.getvalue()


def as_html(comparison: Comparison) -> str:
    """Everything on one page that needs nothing else."""
    from server.bands import bands, differences
    from server.page import Section, bullets, folded, page, panels, paragraphs

    groups, pairs = comparison.groups, comparison.pairs
    runs = [f"{group.label}: {', '.join(str(run.folder) for run in group.runs.values())}" for group in groups]
    arms, *rest = map(html, tables(comparison))
    apart = panels([differences(comparison)]) if pairs else ""
    shown, others = ([reading(pair) for pair in pairs if pair.found.shown is said] for said in (True, False))
    first = [f"{groups[0].label} is {comparison.base}."] if comparison.base else []
    read = bullets([*first, *comparison.unpaired, *shown, *filter(None, [comparison.caution])])
    sections = (
        Section(
            "reading", "What may be said", read + folded(f"{len(others)} without a difference shown", bullets(others))
        ),
        Section("accuracy", "Accuracy and costs", arms),
        Section("differences", "Differences, wins and losses", apart + "".join(rest)),
        Section("rounds", "Round by round", panels(bands(comparison))),
        Section("runs", "Runs", folded(f"{sum(len(group.runs) for group in groups)} folders", bullets(runs))),
    )
    lead = f"{len(shown)} of {len(pairs)} paired differences in accuracy are shown." if pairs else ""
    return page("qflock · comparison", paragraphs(lead), sections)


def html(table: Table) -> str:
    """Any table of strings as a page shows it."""
    from server.page import table as written

    columns = list(table.columns)
    cells = zip(*([str(cell) for cell in column.cells] for column in columns), strict=True)
    words = [column.justify != "right" for column in columns]
    return written(str(table.title), [str(column.header) for column in columns], list(cells), words)


def draw(comparison: Comparison, path: Path) -> None:
    """The curves as one picture."""
    from server.bands import picture

    picture(comparison, path)


def put(text: Callable[[Comparison], str]) -> Callable[[Comparison, Path], None]:
    """A writer of files from a writer of texts."""

    def write(comparison: Comparison, path: Path) -> None:
        path.write_text(text(comparison), encoding="utf-8")

    return write


WRITERS: dict[str, Callable[[Comparison, Path], None]] = {
    "csv": put(as_csv),
    "md": put(as_markdown),
    "png": draw,
    "html": put(as_html),
}


def show(comparison: Comparison, files: dict[str, Path]) -> None:
    """Print the comparison and write the files that were asked for, by kind."""
    console = plain_console(wide=True)
    console.print(terminal(comparison, console.width))
    for kind, path in files.items():
        WRITERS[kind](comparison, path)
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
