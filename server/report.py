"""What a run shows: one page that needs nothing else, and its figures and tables as files.

A run that has not ended, or whose folder is damaged, is reported as far as it can be read.
"""

from html import escape
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from data.whole import write_whole
from recipes.section import InputError
from server.compare import points
from server.drawing import Drawing, save
from server.ledger import Line
from server.page import Column, Section, Sheet, bullets, page, panels, paragraphs
from server.record import STUDENT, TWIN, Record, number, record
from server.run_figures import of_run
from server.sheets import sheets
from server.signs import signs, unsought

FILE, FILES = "report.html", "report"
PARTS = {  # section → its heading, its figures and its tables
    "result": ("Result", (), ("arms",)),
    "rounds": ("Round by round", ("accuracy", "loss", "cosine"), ("rounds",)),
    "classes": ("Class by class", ("confusion",), ("by-class",)),
    "budgets": ("maxiter and evaluations", ("maxiter", "evaluations"), ("clients",)),
    "admitted": ("Who was admitted", ("admitted",), ("failures",)),
    "data": ("Who holds what", ("classes", "domains"), ("data",)),
    "costs": ("What it cost", ("seconds",), ("costs",)),
}


def report(folder: Path, ending: Line | None = None, *, apart: bool = False) -> Path:
    """Write the page into a run's folder, and with `apart` its figures and tables into RUN/report.

    `ending` is the line that the ledger will end with in a moment.
    """
    home = folder / FILES
    if apart and home.exists() and not home.is_dir():
        raise InputError(f"{home} is a file where the folder of figures and tables goes: move it")
    known = record(folder, ending)
    drawings, tables = list(of_run(known)), sheets(known)
    write_whole(folder / FILE, whole(known, drawings, tables).encode(errors="replace"), durable=False)
    if apart:
        home.mkdir(exist_ok=True)
        for drawing in drawings:
            save(drawing, home)
        for sheet in tables:
            (home / f"{sheet.name}.csv").write_text(sheet.csv(), encoding="utf-8")
            (home / f"{sheet.name}.md").write_text(sheet.markdown(), encoding="utf-8")
    return folder / FILE


def whole(known: Record, drawings: list[Drawing], tables: list[Sheet], tail: str = "") -> str:
    """The page."""
    sections = [Section("signs", "Warnings", warned(known))]
    for anchor, (heading, drawn, shown) in PARTS.items():
        chosen = [one for one in drawings if one.name.split("-")[0] in drawn]
        inside = "".join(sheet.html() for sheet in tables if sheet.name in shown)
        sections.append(Section(anchor, heading, panels(chosen) + inside))
    sections.append(Section("recipe", "What was run", ran(known)))
    return page(f"qflock · {known.name}", lead(known), sections, tail)


def lead(known: Record) -> str:
    """What one wants to know first."""
    score, recipe = known.score.get("arms", {}), known.recipe
    said = []
    if STUDENT in score:
        rows = sum(int(client.get("examples", 0)) for client in known.score.get("clients", {}).values())
        own, of = number(score[STUDENT], "accuracy"), f"{rows:,} test rows" if rows else "the test rows"
        beside = "no twin was trained beside it"
        if TWIN in score:
            twin = number(score[TWIN], "accuracy")
            apart = f" ({points(own - twin)} points)" if isfinite(own - twin) else ""
            beside = f"its classical twin in {share(twin)}{apart}"
        said.append(f"The student is right in {share(own)} of {of}, {beside}.")
        if rows:
            said.append(f"In one run a difference of less than about {1.96 * sqrt(0.5 / rows):.1%} is chance.")
    state = known.end.get("state", "not ended")
    facts = [known.folder.name, state, f"{len(known.rounds)} rounds", f"{len(known.clients)} clients"]
    facts += [f"seed {recipe.seed}", f"digest {recipe.digest()}", f"executor {recipe.executor}"] if recipe else []
    return paragraphs(*said, " · ".join(facts))


def share(value: float) -> str:
    """An accuracy, if it is known."""
    return f"{value:.1%}" if isfinite(value) else "an unknown share"


def warned(known: Record) -> str:
    """Signs with their remedies, which were not looked for, then what could not be read."""
    listed = "".join(
        f"<li><b>{escape(sign.name)}.</b> {escape(sign.found)} <i>{escape(sign.remedy)}</i></li>"
        for sign in signs(known)
    )
    missed = unsought(known)
    none = f"None of the {'other ' * bool(missed)}signs that we look for."
    shown = f'<ul class="signs">{listed}</ul>' if listed else paragraphs(none)
    return shown + paragraphs(missed) + bullets(known.notes)


def ran(known: Record) -> str:
    """Recipe and environment."""
    facts: list[tuple[str, Any]] = []
    for key, value in known.environment.items():
        facts += value.items() if isinstance(value, dict) else [(key, value)]
    sheet = Sheet("environment", "environment", (Column("what"), Column("found")), facts)
    return sheet.html() + f"<pre>{escape(known.recipe_text)}</pre>"
