"""The ledger: what happened, one JSON line a visit, in `rounds.jsonl`.

Lines of kind prepare, round, score and end. Everything but what stands under `seconds` is the same for equal seeds.
"""

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from data.whole import write_whole
from recipes.section import InputError
from server.shape import sound

SCHEMA = 1

Line = dict[str, Any]


class Ledger:
    """Appends lines to a run's ledger; each is on disk before the next visit begins."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rounds.jsonl"
        self.followers: list[Callable[[Line], None]] = []  # are told each line once it is written

    def append(self, line: Line) -> None:
        """Write one line; a NaN or an infinity has no place in JSON and becomes null."""
        whole: Line = {"schema": SCHEMA, **finite(line)}
        text = json.dumps(whole, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        for tell in self.followers:
            tell(whole)

    def rewind(self, number: int) -> None:
        """Keep what led to the end of round `number` (0 keeps nothing), so that the rounds to come follow it."""
        kept = [line for line in lines(self.path.parent) if number and reached(line, number)]
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def lines(folder: Path) -> list[Line]:
    """The ledger's whole lines; one that is still being written is not there yet."""
    path = folder / "rounds.jsonl"
    if not path.exists():
        return []
    return [json.loads(text) for text in path.read_text(encoding="utf-8").split("\n")[:-1]]


def whole(folder: Path) -> list[Line]:
    """A run's ledger, once every line of it is one that this program reads."""
    path, again = folder / "rounds.jsonl", f"run again with: qflock run {folder / 'recipe.yaml'}"
    try:
        found = lines(folder)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give it to this user") from None
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise InputError(f"{path} is damaged ({error}): {again}") from None
    for number, line in enumerate(found, start=1):
        schema: Any = line.get("schema") if isinstance(line, dict) else None
        if schema != SCHEMA:
            raise InputError(f"{path} has schema {schema}, this qflock reads {SCHEMA}: {again}")
        if not sound(line):
            raise InputError(f"{path} is damaged (line {number}): {again}")
    return found


def holds(folder: Path, *names: str) -> bool:
    """Whether a folder has one of these files."""
    try:
        return any((folder / name).is_file() for name in names)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): give it to this user") from None


def visits(rounds: Iterable[Line], arm: str) -> list[Line]:
    """What every client of an arm reported, round by round; an arm that has stopped reports nothing."""
    parts = [line["arms"][arm]["clients"] for line in rounds if arm in line["arms"]]
    return [client for clients in parts for client in clients.values()]


def ratios(rounds: Iterable[Line], arm: str) -> list[float]:
    """ρ of every client-round that has one: after a client's first, and of a client with a teacher."""
    return [client["rho"] for client in visits(rounds, arm) if client["rho"]]


def newest(rounds: Iterable[Line]) -> dict[str, Line]:
    """What every client last reported, of any arm: its teacher is the same for all."""
    return {client: said for line in rounds for arm in line["arms"].values() for client, said in arm["clients"].items()}


def untaught(rounds: Iterable[Line]) -> list[str]:
    """Of every client that has no teacher, its last note, which says why."""
    return [said["note"] for said in newest(rounds).values() if said["teacher_loss"] is None]


def untimed(line: Line) -> Line:
    """A line without its times: what equal seeds must reproduce to the bit."""
    return {key: value for key, value in line.items() if key != "seconds"}


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def reached(line: Line, number: int) -> bool:
    """Whether a line belongs to the way to the end of a round."""
    return bool(line["kind"] == "prepare" or (line["kind"] == "round" and line["round"] <= number))
