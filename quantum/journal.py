"""What one client has asked a QPU for in one run: written before it is done, so that nothing is paid twice.

A line a step, on disk before the next step begins:

    intent (seconds reserved) → submitted (job) → result file → done → settled (seconds charged)
                                               ↘ failed (seconds charged)

Whatever was going on when the process ended can be read off the last line of a key. The same lines are the account:
spent = Σ charged + Σ reserved of what is not settled yet.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

State = Literal["intent", "submitted", "done", "failed"]


@dataclass
class Entry:
    """One request, as far as it has come."""

    state: State
    job: str = ""  # the service's id, once it is known
    reserved: float = 0.0  # QPU seconds, until the charge is known
    charged: float = 0.0  # by all its jobs so far


class Journal:
    """The requests of one client in one run, in a folder of their own; one process at a time holds the lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder / "jobs.jsonl"
        self.lock = FileLock(folder / "jobs.lock")

    def entries(self) -> dict[str, Entry]:
        """Key → entry, in the order in which they were asked for."""
        found: dict[str, Entry] = {}
        for line in self._lines():
            if (step := line["step"]) == "backend":
                continue
            entry = found.setdefault(line["key"], Entry("intent"))
            if step == "intent":
                entry.state, entry.job, entry.reserved = "intent", "", line["seconds"]
            elif step == "submitted":
                entry.state, entry.job = "submitted", line["job"]
            elif step == "done":
                entry.state = "done"
            else:  # settled or failed
                entry.state = "failed" if step == "failed" else entry.state
                entry.charged, entry.reserved = entry.charged + line["seconds"], 0.0
        return found

    def spent(self) -> float:
        """QPU seconds charged, and reserved for what may still be charged."""
        return sum(entry.charged + entry.reserved for entry in self.entries().values())

    def backend(self) -> str:
        """The backend that this client's first job chose, or nothing."""
        return next((line["name"] for line in self._lines() if line["step"] == "backend"), "")

    def write(self, step: str, **facts: Any) -> None:
        """Add a line; on return it is on disk."""
        self._mend()
        new = not self.file.exists()
        line = json.dumps({"step": step, **facts, "at": time.time()})
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            synced(self.folder)

    def keep(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store a result; on return it is on disk, whole."""
        temporary = self.folder / f"{key}.{os.getpid()}"
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **dict(arrays))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._result(key))
        synced(self.folder)

    def kept(self, key: str) -> dict[str, NDArray[Any]] | None:
        """A stored result, or None."""
        if not self._result(key).is_file():
            return None
        with np.load(self._result(key)) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _result(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _lines(self) -> list[dict[str, Any]]:
        """Every line; one that breaks off at the end was never acted on."""
        if not self.file.is_file():
            return []
        *whole, _torn = self.file.read_bytes().split(b"\n")
        try:
            return [json.loads(line) for line in whole]
        except ValueError as error:
            raise ValueError(f"{self.file} is damaged ({error}); what was paid for can be read in it") from None

    def _mend(self) -> None:
        """Cut off a line that a crash left unfinished."""
        if self.file.is_file() and (text := self.file.read_bytes()) and not text.endswith(b"\n"):
            os.truncate(self.file, text.rfind(b"\n") + 1)


def synced(folder: Path) -> None:
    """Have the folder's own entries on disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
