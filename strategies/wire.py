"""Our messages as Flower messages: one ArrayRecord with named arrays, one ConfigRecord with the rest as JSON.

JSON keeps the types stable and the floats exact. Bytes are what the arrays hold; Flower's own counters are not used,
because they leave out an array that was sent before. Every reply says which recipe it worked on.
"""

import json
from dataclasses import asdict, fields
from typing import Any, TypeVar

import numpy as np
from flwr import __version__
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from strategies.failure import RunFailedError
from strategies.intake import arrays_in, facts_in, refuse_large, refuse_path
from strategies.messages import FLOWER, Answer, Arrays, Assignment, Halt, Refusal, Reply, Report, Score, Tuned

Said = TypeVar("Said", Answer, Report, Tuned, Score, Refusal)
MESSAGE_TYPE = {"prepare": "query", "train": "train", "score": "evaluate"}


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
    facts = facts_in(text(message))
    refuse_path(facts["run"])  # a folder of the client's is called so
    arrays = arrays_in(message.content.array_records["arrays"], facts["most_bytes"])
    arms: dict[str, Arrays] = {}
    for name, array in group(arrays, "arm/").items():
        arm, _, rest = name.partition("/")
        arms.setdefault(arm, {})[rest] = array
    return Assignment(**facts, shared=group(arrays, "shared/"), arms=arms, teacher=group(arrays, "teacher/"))


def reply(said: Reply, to: Message, recipe_digest: str) -> Message:
    """A client's reply, no larger than the message that it answers allows, and the recipe that it worked on."""
    if isinstance(said, list):
        arrays = {f"{sender(one)}/{name}": array for one in said for name, array in one.arrays.items()}
        facts: dict[str, Any] = {"reports": [without_arrays(one) for one in said]}
    elif isinstance(said, Answer):
        arrays, facts = said.arrays, {"answer": without_arrays(said)}
    else:
        arrays, facts = {}, {type(said).__name__.lower(): asdict(said)}
    if arrays:
        refuse_large(count_bytes(arrays), facts_in(text(to))["most_bytes"])
    return Message(records(pack(arrays), facts | {"recipe_digest": recipe_digest}), reply_to=to)


def replied(message: Message, recipe_digest: str, most_bytes: int) -> Reply:
    """What a client said, on the server; whoever cannot read a recipe may refuse without one."""
    facts = facts_in(text(message))
    worked_on = facts.pop("recipe_digest")
    ((kind, said),) = facts.items()
    if worked_on != recipe_digest and kind not in ("refusal", "halt"):
        raise ValueError(f"it is of recipe {worked_on}, and this run's is {recipe_digest}")
    arrays = arrays_in(message.content.array_records["arrays"], most_bytes)
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
            raise ValueError(f"{field.name} is {repr(value)[:100]}")
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


def text(message: Message) -> str:
    """The facts of a message, as they were sent."""
    return str(message.content.config_records["facts"]["json"])


def group(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def without_arrays(said: Answer | Report | Tuned) -> dict[str, Any]:
    return {key: value for key, value in vars(said).items() if key != "arrays"}
