"""The ledger: what happened, one JSON line a visit, in `rounds.jsonl`.

Lines of kind prepare, round, score and end. Everything but what stands under `seconds` is the same for equal seeds.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

SCHEMA = 1

Line = dict[str, Any]


class Ledger:
    """Appends lines to a run's ledger; each is on disk before the next visit begins."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rounds.jsonl"

    def append(self, line: Line) -> None:
        """Write one line; a NaN or an infinity has no place in JSON and becomes null."""
        text = json.dumps({"schema": SCHEMA, **finite(line)}, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rewind(self, number: int) -> None:
        """Keep what led to the end of round `number` (0 keeps nothing), so that the rounds to come follow it."""
        kept = [line for line in lines(self.path.parent) if number and reached(line, number)]
        temporary = self.path.with_suffix(".rewound")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(self.path)


def lines(folder: Path) -> list[Line]:
    """The ledger's whole lines; one that is still being written is not there yet."""
    path = folder / "rounds.jsonl"
    if not path.exists():
        return []
    return [json.loads(text) for text in path.read_text(encoding="utf-8").split("\n")[:-1]]


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
