"""Our messages as Flower messages: one ArrayRecord with named arrays, one ConfigRecord with the rest as JSON.

JSON keeps the types stable and the floats exact. Bytes are what the arrays hold; Flower's own counters are not used,
because they leave out an array that was sent before.
"""

import json
from dataclasses import asdict, fields
from typing import Any, TypeVar

import numpy as np
from flwr import __version__
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from strategies.failure import RunFailedError
from strategies.messages import Answer, Arrays, Assignment, Halt, Refusal, Reply, Report, Score, Tuned

Said = TypeVar("Said", Answer, Report, Tuned, Score, Refusal)
MESSAGE_TYPE = {"prepare": "query", "train": "train", "score": "evaluate"}
FLOWER = "1.41"  # the series that this app is for; Flower promises nothing between two of them, nor checks


def check_flower(who: str) -> None:
    """Refuse to work on another Flower than all the others do."""
    if not __version__.startswith(f"{FLOWER}."):
        raise RunFailedError(
            f"{who} runs Flower {__version__}, all others {FLOWER}: pip install 'flwr=={FLOWER}.*' there"
        )


def parcel(shared: Arrays, arms: dict[str, Arrays], teacher: Arrays | None = None) -> ArrayRecord:
    """The arrays of an assignment, packed once for every client that gets the same ones."""
    named = {f"shared/{name}": array for name, array in shared.items()}
    named |= {f"teacher/{name}": array for name, array in (teacher or {}).items()}
    return pack(named | {f"arm/{arm}/{name}": array for arm, arrays in arms.items() for name, array in arrays.items()})


def assign(assignment: Assignment, node: int, parcel: ArrayRecord) -> Message:
    """An assignment, addressed; its arrays are those in the parcel."""
    kept = ("shared", "arms", "teacher", "spend_seconds")
    facts = {key: value for key, value in vars(assignment).items() if key not in kept}
    return Message(records(parcel, facts), dst_node_id=node, message_type=MESSAGE_TYPE[assignment.kind])


def assigned(message: Message) -> Assignment:
    """The assignment in a message, on the client."""
    arrays, facts = read(message)
    arms: dict[str, Arrays] = {}
    for name, array in group(arrays, "arm/").items():
        arm, _, rest = name.partition("/")
        arms.setdefault(arm, {})[rest] = array
    return Assignment(**facts, shared=group(arrays, "shared/"), arms=arms, teacher=group(arrays, "teacher/"))


def reply(said: Reply, to: Message) -> Message:
    """A client's reply."""
    if isinstance(said, list):
        arrays = {f"{sender(one)}/{name}": array for one in said for name, array in one.arrays.items()}
        facts: dict[str, Any] = {"reports": [without_arrays(one) for one in said]}
    elif isinstance(said, Answer):
        arrays, facts = said.arrays, {"answer": without_arrays(said)}
    else:
        arrays, facts = {}, {type(said).__name__.lower(): asdict(said)}
    return Message(records(pack(arrays), facts), reply_to=to)


def replied(message: Message) -> Reply:
    """What a client said, on the server."""
    arrays, facts = read(message)
    ((kind, said),) = facts.items()
    if kind == "reports":
        return [heard(one, arrays) for one in said]
    if kind == "answer":
        return typed(Answer(**said, arrays=arrays))
    if kind == "score":
        return typed(Score(**said))
    return typed(Halt(**said) if kind == "halt" else Refusal(**said))


def heard(facts: dict[str, Any], arrays: Arrays) -> Report | Tuned:
    """One report of a reply: an arm's, or the teacher's, which names no arm."""
    if "arm" in facts:
        return typed(Report(**facts, arrays=group(arrays, f"{facts['arm']}/")))
    return typed(Tuned(**facts, arrays=group(arrays, "teacher/")))


def sender(said: Report | Tuned) -> str:
    """Whose arrays they are."""
    return said.arm if isinstance(said, Report) else "teacher"


def typed(said: Said) -> Said:
    """The reply itself, once every value in it has the type that its field says."""
    kinds: dict[Any, Any] = {int: int, float: int | float, str: str, float | None: int | float | None}  # else a dict
    for field in fields(said):
        value = getattr(said, field.name)
        if isinstance(value, bool) or not isinstance(value, kinds.get(field.type, dict)):
            raise ValueError(f"{field.name} is {value!r}")
    return said


def count_bytes(record: ArrayRecord | Arrays) -> int:
    """Bytes that the numbers themselves take on the wire."""
    if isinstance(record, ArrayRecord):
        return sum(int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize for array in record.values())
    return sum(array.nbytes for array in record.values())


def pack(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array, order="C")) for name, array in arrays.items()})


def records(arrays: ArrayRecord, facts: dict[str, Any]) -> RecordDict:
    return RecordDict({"arrays": arrays, "facts": ConfigRecord({"json": json.dumps(facts)})})


def read(message: Message) -> tuple[Arrays, dict[str, Any]]:
    facts = message.content.config_records["facts"]["json"]
    return {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}, json.loads(
        str(facts)
    )


def group(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def without_arrays(said: Answer | Report | Tuned) -> dict[str, Any]:
    return {key: value for key, value in vars(said).items() if key != "arrays"}
