"""How much a message of a run may hold, and the door that nothing larger comes through.

Flower's grid fetches a reply object by object and puts it together, however large it becomes: an array may name one
piece of itself a thousand times. Here the pieces are counted while they come, and the whole before it is made. A reply
that is too large, or is no message, becomes an error of the client that sent it, and the round goes on.
"""

import json
from collections.abc import Callable
from functools import partial
from threading import Lock

from flwr.supercore.inflatable import inflatable_utils as flower
from flwr.supercore.inflatable.inflatable_object import InflatableObject
from flwr.supercore.inflatable.inflatable_object import get_object_head_values_from_object_content as head_of
from flwr.superlink.grid import http_grid

from recipes.schema import Recipe
from server.reference import Reference
from strategies.intake import refuse_large
from strategies.messages import FLOWER_BYTES
from strategies.wire import count_bytes
from teacher.models import at_hand
from teacher.size import adapter_bytes, most_ranks

NUMBER = 8  # bytes
BESIDE = 1_000_000  # the facts of a message, the headers of its arrays
SLACK = 1.25
AGAIN_SECONDS = 0.05  # a message is known before its pieces are there, and Flower asks for these a second later


def most_bytes(recipe: Recipe, reference: Reference) -> int:
    """The arrays of all arms, of a stage and the largest adapter in one message; Flower's own limit where the LLM is
    not on this machine, so that nobody knows how large its adapter is.
    """
    members, stages, n_classes = reference.members.values(), reference.stages, reference.n_classes
    held = sum(max(count_bytes(one.initial(recipe.seed)) for one in arm) for arm in members)
    if stages:
        columns, qubits = stages[0].size, recipe.student.qubits
        side = columns if recipe.features.reduction == "pca" else qubits + n_classes  # pca sends second moments
        held += NUMBER * (4 * columns + (columns + qubits) * (side + qubits) * (len(stages) > 1))
    teacher = recipe.teacher
    if teacher.federate != "none":
        if teacher.kind == "lora" and not at_hand(teacher.model):
            return FLOWER_BYTES
        rank = (teacher.merged_rank or most_ranks(teacher)) if teacher.federate == "exact" else 0
        held += adapter_bytes(teacher, n_classes, max(rank, teacher.rank, *recipe.nodes.ranks))
    return min(FLOWER_BYTES, BESIDE + int(SLACK * held))


def close(most: int) -> None:
    """From now on this process takes no larger message from a SuperLink."""
    ours = {"pull_objects": partial(pulled, most=most), "inflate_object_from_contents": opened}
    for name, function in ours.items():
        if not hasattr(http_grid, name):
            raise RuntimeError(f"this Flower's grid has no {name} as version 1.41 has, which qflock needs")
        setattr(http_grid, name, function)


def opened(object_id: str, contents: dict[str, InflatableObject]) -> InflatableObject:
    """The second of Flower's two steps, which the first has already taken here."""
    return contents[object_id]


def pulled(object_ids: list[str], pull_object_fn: Callable[[str], bytes], *, most: int) -> dict[str, InflatableObject]:
    """The message whose own object is the last of these, by that object's name."""
    taken, lock = 0, Lock()

    def counted(object_id: str) -> bytes:
        nonlocal taken
        content = pull_object_fn(object_id)
        with lock:
            taken += len(content)
            refuse_large(taken, most)
        return content

    try:
        contents = flower.pull_objects(object_ids, counted, initial_backoff=AGAIN_SECONDS)
        refuse_large(sum(unfolded(content, contents) for content in contents.values()), most)
        return {object_ids[-1]: flower.inflate_object_from_contents(object_ids[-1], contents)}
    except (AttributeError, AssertionError, LookupError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise flower.ObjectPullError(object_ids[-1], f"\nits reply is not taken: {reason}") from None  # its last line


def unfolded(content: bytes, contents: dict[str, bytes]) -> int:
    """Bytes of an array's pieces, each as often as the array names it; 0 of any other object."""
    kind, pieces, size = head_of(content)
    if kind != "Array":
        return 0
    places = json.loads(content[-size:])["arraychunk_ids"]
    return sum(len(contents[pieces[place]]) for place in places)
