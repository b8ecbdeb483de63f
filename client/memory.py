"""What a client remembers between rounds: one file per (run, client, round), written whole or not at all.

An assignment names the round whose memory to start from, so a round can be repeated with the same bits. Flower's own
client state is lost with its process.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from data.assets import cache_folder
from data.whole import write_whole

SCHEMA = 3


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
    """The memory of a round, or None when there is none: another disk, a cleared cache, a power cut."""
    file = path(run, client, round_number)
    if not file.is_file() or not file.stat().st_size:
        return None
    whose = {"run": run, "client": client, "round": round_number}
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        schema, found = facts.pop("schema"), {key: facts.pop(key, None) for key in whose}
        memory = Memory(**facts) if schema == SCHEMA else None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete it, and this client starts anew") from None
    if memory is None:
        raise ValueError(f"{file} has schema {schema}, this qflock reads {SCHEMA}: start a new run")
    if found != whose:
        raise ValueError(f"{file} holds the memory of {found}; delete it, and this client starts anew")
    return memory


def remember(memory: Memory, run: str, client: int, round_number: int) -> None:
    """Write a round's memory; not flushed: a lost one costs a note in the ledger, a flush costs every round."""
    file = path(run, client, round_number)
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {"schema": SCHEMA, "run": run, "client": client, "round": round_number} | asdict(memory)
    write_whole(file, json.dumps(facts).encode(), durable=False)
