"""Before round 1: the clients agree on the feature stages, from statistics that move no text."""

import time
from collections.abc import Callable, Sequence

from flwr.serverapp import Grid

from data.stages import Stage, arrays_of, named
from recipes.schema import Recipe
from server.ledger import Line
from strategies import collect
from strategies.exchange import FIRST_SECONDS, Roster, hear, repeated, visit
from strategies.failure import RunFailedError
from strategies.messages import Arrays, Assignment
from strategies.wire import assign, count_bytes, parcel


def agree(
    grid: Grid, recipe: Recipe, run: str, roster: Roster, stages: Sequence[Stage], record: Callable[[Line], None]
) -> Arrays:
    """The stages' shared arrays: send what is agreed so far, merge every client's answer, as often as a stage asks."""
    shared: Arrays = {}
    seconds, digest = recipe.deadline_seconds or FIRST_SECONDS, recipe.digest()
    for stage in stages:
        shared |= named(stage, stage.initial(recipe.seed))
        for exchange in range(1, stage.exchanges + 1):
            began = time.monotonic()
            packed = parcel(shared, {})
            assignment = Assignment(
                kind="prepare", run=run, recipe_digest=digest, most_bytes=roster.most_bytes, stage=stage.name
            )
            roster.rejoin(set())
            clients = list(roster.nodes)
            messages = [assign(assignment, node, packed) for node in roster.nodes.values()]
            replies = visit(grid, messages, seconds)
            if recipe.on_loss == "repeat":
                replies = repeated(grid, roster, messages, replies, seconds)
            heard = [hear(reply, digest, roster.most_bytes) for reply in replies]
            answers, failed = collect.answers(zip(clients, heard, strict=True))
            line: Line = {"kind": "prepare", "stage": stage.name, "exchange": exchange, "failed": failed}
            line["clients"] = [answer.client for answer in answers]
            line["bytes_down"] = count_bytes(packed) * len(clients)
            line["bytes_up"] = sum(count_bytes(answer.arrays) for answer in answers)
            times = {answer.client: answer.seconds for answer in answers}
            record(line | {"seconds": {"round": time.monotonic() - began, "clients": times}})
            if len(answers) < recipe.min_reports:
                reasons = "; ".join(f"client {client}: {reason}" for client, reason in failed.items())
                raise RunFailedError(
                    f"{stage.name}: {len(answers)} usable answers, min_reports is {recipe.min_reports}; {reasons}"
                )
            examples = [answer.examples for answer in answers]
            merged = stage.merge(arrays_of(stage, shared), [answer.arrays for answer in answers], examples)
            shared |= named(stage, merged)
    return shared
