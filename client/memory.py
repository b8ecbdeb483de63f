"""What a client remembers between rounds: one file per (run, client, round), written whole or not at all.

An assignment names the round whose memory to start from, so a round can be repeated with the same bits. Flower's own
client state is lost with its process.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from data.assets import cache_folder

SCHEMA = 2


@dataclass(frozen=True, kw_only=True)
class Memory:
    """After a round: the budget that all arms share, and each arm's loss."""

    maxiter: int
    student_loss: dict[str, float]


def home(run: str, client: int) -> Path:
    """A client's folder: under $QFLOCK_MEMORY, or the cache."""
    root = Path(os.environ.get("QFLOCK_MEMORY") or cache_folder() / "memory")
    return root / run / f"client-{client:03d}"


def path(run: str, client: int, round_number: int) -> Path:
    """Where a memory lies."""
    return home(run, client) / f"round-{round_number:04d}.json"


def recall(run: str, client: int, round_number: int) -> Memory | None:
    """The memory of a round, or None when there is no such file (another disk, or a cleared cache)."""
    file = path(run, client, round_number)
    if not file.is_file():
        return None
    facts = json.loads(file.read_text(encoding="utf-8"))
    if facts.pop("schema") != SCHEMA:
        raise ValueError(f"{file} was written by another version of qflock; start a new run")
    return Memory(**facts)


def remember(memory: Memory, run: str, client: int, round_number: int) -> None:
    """Write a round's memory."""
    with whole(path(run, client, round_number)) as temporary:
        temporary.write_text(json.dumps({"schema": SCHEMA} | asdict(memory)), encoding="utf-8")


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A temporary name, which becomes the file's own once all is written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    yield temporary
    temporary.replace(file)
