"""One visit to many clients: send, collect until all have replied or the deadline has passed, and name every failure.

Flower's own `send_and_receive` polls every three seconds in a deployment, leaves out who did not reply, and attributes
an unreachable node's error to the SuperLink. Here every message gets exactly one reply, from the node it was sent to.
"""

import re
import time
from collections.abc import Sequence
from typing import Protocol

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from strategies.failure import RunFailedError
from strategies.messages import Refusal, Reply
from strategies.wire import replied

POLL_SECONDS, SHORTEST_POLL = 0.05, 0.005  # a short visit is looked at often, a long one seldom …
PAUSE, LONGEST_PAUSE = 4.0, 0.2  # … times what a look took: a busy SuperLink has nodes to serve
FIRST_SECONDS = 3600.0  # nobody has shown how long a visit takes: data and weights may be on their way
SHORTEST_SECONDS = 60.0
PATIENCE = 10.0  # times the slowest visit so far
NO_REPLY = 1000  # our own error code, beyond Flower's
LONGEST_REASON = 500  # letters
REPEATS = 3  # of one visit, for clients that were lost in it


class Roster(Protocol):
    """Which Flower node is which client, and who has come back."""

    most_bytes: int  # of a message's arrays
    nodes: dict[int, int]  # client → node
    clients: dict[int, int]  # node → client, of nodes that have gone too

    def rejoin(self, lost: set[int]) -> None:
        """Know newcomers; wait for lost clients."""
        ...


def deadline(configured: float | None, slowest_seconds: float, *, unlike: bool = False) -> float:
    """Seconds to wait for a visit: as the recipe says, or ten times the slowest so far and at least a minute.

    A visit `unlike` those so far gets as long as the first: a teacher may be tuned in it whose tuning was kept before.
    """
    if configured is not None:
        return configured
    return max(FIRST_SECONDS if unlike or not slowest_seconds else SHORTEST_SECONDS, PATIENCE * slowest_seconds)


def visit(grid: Grid, messages: Sequence[Message], seconds: float) -> list[Message]:
    """One reply a message, in the order of the messages; a node that stays silent gets an error reply."""
    waiting: dict[str, Message] = {}
    replies: dict[int, Message] = {}
    for message in messages:
        (message_id,) = tuple(grid.push_messages([message])) or ("",)
        if message_id:
            waiting[message_id] = message
        else:  # Flower takes no message for a node that it no longer knows
            replies[message.metadata.dst_node_id] = silence(message, "its node has left the federation")
    began = time.monotonic()
    while waiting:
        asked = time.monotonic()
        found = list(grid.pull_messages(list(waiting)))
        for reply in found:
            sent = waiting.pop(reply.metadata.reply_to_message_id)
            dead_actor(reply, sent)
            replies[sent.metadata.dst_node_id] = Message(reply.error, reply_to=sent) if reply.has_error() else reply
        now = time.monotonic()
        if asked >= began + seconds:
            break
        if not found:
            often = min(POLL_SECONDS, max(SHORTEST_POLL, (now - began) / 20))
            time.sleep(max(often, min(LONGEST_PAUSE, PAUSE * (now - asked))))
    for sent in waiting.values():
        replies[sent.metadata.dst_node_id] = silence(sent, f"no reply within {seconds:.0f} s")
    return [replies[message.metadata.dst_node_id] for message in messages]


def repeated(
    grid: Grid, roster: Roster, messages: Sequence[Message], replies: Sequence[Message], seconds: float
) -> list[Message]:
    """The replies of a visit, once the clients lost in it are back and asked again: they answer the same bits."""
    whole = list(replies)
    for _ in range(REPEATS):
        missing = {roster.clients[reply.metadata.src_node_id]: at for at, reply in enumerate(whole) if lost(reply)}
        if not missing:
            break
        roster.rejoin(set(missing))
        again = [readdressed(messages[at], roster.nodes[client]) for client, at in missing.items()]
        for at, reply in zip(missing.values(), visit(grid, again, seconds), strict=True):
            whole[at] = reply
    return whole


def silence(message: Message, reason: str) -> Message:
    """The error reply that stands in for one that never came."""
    return Message(Error(NO_REPLY, reason), reply_to=message)


def lost(reply: Message) -> bool:
    """Whether nothing was heard of a client, so that asking again may help; a client that raised would raise again."""
    return reply.has_error() and reply.error.code in (NO_REPLY, ErrorCode.NODE_UNAVAILABLE)


def readdressed(message: Message, node: int) -> Message:
    """The same message for another node."""
    return Message(message.content, dst_node_id=node, message_type=message.metadata.message_type)


def hear(reply: Message, recipe_digest: str, most_bytes: int) -> Reply:
    """What a client said; a failure reads like a refusal, in one line."""
    if reply.has_error():
        return Refusal(client=-1, reason=one_line(reply.error.reason or "") or f"Flower error {reply.error.code}")
    try:
        return replied(reply, recipe_digest, most_bytes)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:LONGEST_REASON]
        return Refusal(client=-1, reason=f"its reply is not taken ({said}); does it run the same version?")


def dead_actor(reply: Message, sent: Message) -> None:
    """Ray keeps a dead actor in its pool, and every later round loses the clients that land on it: end the run now."""
    reason = (reply.error.reason or "") if reply.has_error() else ""
    if "ray.exceptions." in reason and "RayTaskError" not in reason:
        raise RunFailedError("a simulation process died (killed, or out of memory) and Ray does not replace it")


def one_line(reason: str) -> str:
    """Flower's `<class 'ValueError'>:<'what'>` as `ValueError: what`; of a traceback, its last line."""
    last = (reason.strip().splitlines() or [""])[-1].strip()[:LONGEST_REASON]
    named = re.match(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>$", last)
    return f"{named[1]}: {named[2]}" if named else last
