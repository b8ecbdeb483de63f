"""A run's folder as far as it can be read, in whatever state it is, and what of it could not be.

`outcome` is for whoever computes with finished runs and refuses all others; this is for whoever looks.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from recipes.load import load
from recipes.schema import Recipe
from recipes.section import InputError, RecipeError
from server.ledger import SCHEMA, Line, holds
from server.shape import sound

TEXTS = ("recipe.yaml", "rounds.jsonl")  # a folder with one of them is a run's
STUDENT, TWIN = "student", "twin"


@dataclass(frozen=True)
class Record:
    """What a folder says, and in `notes` what is wrong with it."""

    folder: Path
    ledger: list[Line]
    recipe: Recipe | None = None  # None: its file is of another version, or damaged
    recipe_text: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.recipe.name if self.recipe else self.folder.name

    @property
    def rounds(self) -> list[Line]:
        return [line for line in self.ledger if line["kind"] == "round"]

    @property
    def score(self) -> Line:
        return next((line for line in self.ledger if line["kind"] == "score"), {})

    @property
    def end(self) -> Line:
        return next((line for line in reversed(self.ledger) if line["kind"] == "end"), {})

    @property
    def arms(self) -> list[str]:
        """Every arm that was ever trained or scored, the student's first, then its twin."""
        seen = [name for line in (*self.rounds, self.score) for name in line.get("arms", {})]
        return sorted(dict.fromkeys(seen), key=lambda name: (name != STUDENT, name != TWIN))

    @property
    def clients(self) -> list[int]:
        """Every client that is mentioned anywhere."""
        seen: set[int] = set()
        for line in self.ledger:
            seen |= {int(client) for client in (*line.get("clients", {}), *line.get("failed", {}))}
            for arm in line.get("arms", {}).values():
                told = (arm.get(key, ()) for key in ("clients", "invited", "admitted"))
                seen |= {int(client) for clients in told for client in clients}
        return sorted(seen)

    @property
    def holds(self) -> dict[str, Any]:
        """Client → its rows by part, class and domain, as it last counted them."""
        found: dict[str, Any] = {}
        for line in self.ledger:
            found |= line.get("holds", {})
        return dict(sorted(found.items(), key=lambda one: int(one[0])))

    def trained(self, arm: str) -> list[tuple[int, Line]]:
        """Round number and an arm's part of it, for every round that it was trained in."""
        return [(line["round"], line["arms"][arm]) for line in self.rounds if arm in line["arms"]]

    def visits(self, arm: str) -> list[tuple[int, int, Line]]:
        """Round, client and what the client reported of an arm."""
        return [
            (number, int(client), said)
            for number, part in self.trained(arm)
            for client, said in sorted(part["clients"].items(), key=lambda one: int(one[0]))
        ]


def record(folder: Path, ending: Line | None = None) -> Record:
    """Read a folder; `ending` is the last line of a ledger that it is about to be written to."""
    if not holds(folder, *TEXTS):
        raise InputError(f"{folder} is not a run folder: it has neither {' nor '.join(TEXTS)}")
    notes: list[str] = []
    ledger = readable(folder / "rounds.jsonl", notes)
    recipe, text = recipe_in(folder / "recipe.yaml", notes)
    environment = facts(folder / "environment.json", notes)
    whole = [*ledger, ending] if ending else ledger
    return Record(folder, whole, recipe, text, environment, notes)


def readable(path: Path, notes: list[str]) -> list[Line]:
    """The lines up to the first that cannot be read; an editor's traces, and a NaN in place of null, are no damage."""
    if not path.is_file():
        notes.append(f"{path.name} is not there: nothing of this run was written down.")
        return []
    try:
        *texts, torn = path.read_bytes().decode("utf-8-sig", errors="replace").split("\n")
    except OSError as error:
        notes.append(f"{path.name} cannot be read ({error.strerror}).")
        return []
    if torn.strip():
        notes.append(f"The last line of {path.name} is torn and left out: it was being written, or its writer died.")
    found: list[Line] = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            line = None
        if not sound(line):
            notes.append(
                f"Line {number} of {path.name} is damaged; it and the {len(texts) - number} after it are left out."
            )
            break
        found.append(line)
    if others := sorted({str(line.get("schema")) for line in found} - {str(SCHEMA)}):
        notes.append(
            f"{path.name} has schema {', '.join(others)}, this qflock writes {SCHEMA}: what it lacks stays blank."
        )
    return found


def recipe_in(path: Path, notes: list[str]) -> tuple[Recipe | None, str]:
    """The recipe as run and its text; one that this version does not understand is only shown."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        notes.append(f"{path.name} cannot be read ({error}).")
        return None, ""
    try:
        return load(str(path)), text
    except (RecipeError, yaml.YAMLError) as error:
        notes.append(f"{path.name} is not a recipe of this qflock ({error}): it is shown as it stands.")
        return None, text


def facts(path: Path, notes: list[str]) -> dict[str, Any]:
    """What environment.json says."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{path.name} cannot be read ({error}).")
        return {}
    return said if isinstance(said, dict) else {}


def number(said: Line, key: str) -> float:
    """A value of a line; what is missing, or was no number, is NaN."""
    value = said.get(key)
    return float(value) if isinstance(value, int | float) else float("nan")


def finite(values: Iterable[float]) -> list[float]:
    """Those that are known."""
    return [value for value in values if isfinite(value)]


def mean(said: Iterable[Line], key: str) -> float:
    """Over the clients that have such a number; one without a teacher has none of its."""
    known = finite(number(client, key) for client in said)
    return fmean(known) if known else float("nan")


def total(said: Iterable[Line], key: str) -> float:
    """Over all clients; a number that one lacks makes the sum one that nobody knows."""
    return sum(number(client, key) for client in said)
