"""Makes the clients of a Flower node fail as a file says; Python imports this at its start where it is on its path.

The file, named by QFLOCK_FAULTS, holds {client: {round: fault}}. Nothing of qflock's is changed: what a client was
about to say is replaced, or the process that says it is slowed down or denied its disk.
"""

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.clientapp import ClientApp

SLOW_SECONDS = 40.0
GIGABYTE, PIECE = 2**30, 2**19
answer = ClientApp.__call__


def faulty(app: ClientApp, message: Message, context: Context) -> Message:
    """What the client does, but for its fault in this round."""
    script = Path(os.environ["QFLOCK_FAULTS"])
    said = json.loads(str(message.content.config_records["facts"]["json"]))
    faults = json.loads(script.read_text(encoding="utf-8")) if script.is_file() else {}
    mine = faults.get(str(context.node_config.get("partition-id")), {})
    fault = mine.get(str(said["round"])) if said["kind"] == "train" else None
    if fault == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file grows by a byte until this process ends
    reply = answer(app, message, context)
    if fault == "slow":
        time.sleep(SLOW_SECONDS)
    if fault in LIES:
        LIES[fault](reply.content.array_records["arrays"], reply.content.config_records["facts"])
    return reply


def changed(change: Callable[[Any], Any]) -> Callable[[ArrayRecord, ConfigRecord], None]:
    """Every array, changed."""

    def lie(arrays: ArrayRecord, facts: ConfigRecord) -> None:
        for name, array in list(arrays.items()):
            arrays[name] = Array(change(array.numpy()))

    return lie


def other_recipe(arrays: ArrayRecord, facts: ConfigRecord) -> None:
    """The same report, of another recipe."""
    said = json.loads(str(facts["json"]))
    facts["json"] = json.dumps(said | {"recipe_digest": "0123456789ab"})


def gigabyte(arrays: ArrayRecord, facts: ConfigRecord) -> None:
    """One array more, of a gigabyte: one piece of it travels and is named so often that it costs its sender nothing."""
    array, piece = Array("float64", (GIGABYTE // 8,), "numpy.ndarray", b""), ArrayChunk(memoryview(bytes(PIECE)))
    array.__dict__["_chunks"] = [(piece.object_id, piece)] * (GIGABYTE // PIECE)
    arrays["student/more"] = array


LIES: dict[str, Callable[[ArrayRecord, ConfigRecord], None]] = {
    "nan": changed(lambda array: array * np.float32("nan")),
    "shape": changed(lambda array: array[:-1]),
    "huge": changed(lambda array: array + np.float32(1e30)),
    "recipe": other_recipe,
    "gigabyte": gigabyte,
}

ClientApp.__call__ = faulty  # type: ignore[method-assign, assignment]
