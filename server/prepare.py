"""Before round 1: meet the clients, and agree on the feature stages from statistics that move no text."""

import time
from collections.abc import Callable, Sequence

from flwr.serverapp import Grid

from data.stages import Stage, arrays_of, named
from recipes.schema import Recipe
from server.ledger import Line
from strategies.exchange import FIRST_SECONDS, hear, visit
from strategies.failure import RunFailedError
from strategies.faults import wrong_arrays
from strategies.messages import Answer, Arrays, Assignment, Refusal
from strategies.wire import assign, count_bytes, parcel

JOIN_SECONDS = 60.0


def meet(grid: Grid, recipe: Recipe, run: str, record: Callable[[Line], None]) -> dict[int, int]:
    """Client → Flower node, once enough nodes are there and have said which client they are."""
    end = time.monotonic() + JOIN_SECONDS
    while len(found := sorted(grid.get_node_ids())) < recipe.clients and time.monotonic() < end:
        if found and grid_is_simulated(grid):
            break
        time.sleep(0.1)
    if not found:
        raise RunFailedError(f"no node joined within {JOIN_SECONDS:.0f} s; start {recipe.clients} SuperNodes")
    hello = Assignment(kind="prepare", run=run, recipe_digest=recipe.digest())
    seconds = recipe.deadline_seconds or FIRST_SECONDS
    began = time.monotonic()
    nodes: dict[int, int] = {}
    failed: dict[str, str] = {}
    for node, reply in zip(
        found, visit(grid, [assign(hello, node, parcel({}, {})) for node in found], seconds), strict=True
    ):
        said = hear(reply)
        if isinstance(said, Refusal):
            failed[str(said.client) if said.client >= 0 else f"node {node}"] = said.reason
        elif isinstance(said, Answer) and said.client not in nodes:
            nodes[said.client] = node
        else:
            failed[f"node {node}"] = (
                f"answers as client {getattr(said, 'client', '?')}, which another node does already"
            )
    record(
        {
            "kind": "prepare",
            "stage": "",
            "clients": sorted(nodes),
            "failed": failed,
            "seconds": {"round": time.monotonic() - began},
        }
    )
    if len(nodes) < recipe.min_reports:
        reasons = "; ".join(sorted(set(failed.values()))) or f"only {len(found)} nodes joined"
        raise RunFailedError(f"{len(nodes)} of {recipe.clients} clients can take part: {reasons}")
    return dict(sorted(nodes.items()))


def agree(
    grid: Grid, recipe: Recipe, run: str, nodes: dict[int, int], stages: Sequence[Stage], record: Callable[[Line], None]
) -> Arrays:
    """The stages' shared arrays, stage by stage: send what is agreed so far, merge every client's answer."""
    shared: Arrays = {}
    for stage in stages:
        shared |= named(stage, stage.initial(recipe.seed))
        for exchange in range(1, stage.exchanges + 1):
            began = time.monotonic()
            assignment = Assignment(kind="prepare", run=run, recipe_digest=recipe.digest(), stage=stage.name)
            packed = parcel(shared, {})
            messages = [assign(assignment, node, packed) for node in nodes.values()]
            replies = visit(grid, messages, recipe.deadline_seconds or FIRST_SECONDS)
            answers: dict[int, Answer] = {}
            failed: dict[int, str] = {}
            for client, reply in zip(nodes, replies, strict=True):
                said = hear(reply)
                if not isinstance(said, Answer):
                    failed[client] = (
                        said.reason if isinstance(said, Refusal) else f"sent {type(said).__name__}, not an answer"
                    )
                elif wrong := wrong_arrays(said.arrays, next(iter(answers.values()), said).arrays):
                    failed[client] = wrong
                else:
                    answers[client] = said
            line: Line = {
                "kind": "prepare",
                "stage": stage.name,
                "exchange": exchange,
                "clients": sorted(answers),
                "failed": failed,
            }
            line |= {
                "bytes_down": count_bytes(packed) * len(nodes),
                "bytes_up": sum(count_bytes(a.arrays) for a in answers.values()),
            }
            line["seconds"] = {"round": time.monotonic() - began, "clients": {c: a.seconds for c, a in answers.items()}}
            record(line)
            if len(answers) < recipe.min_reports:
                reasons = "; ".join(f"client {client}: {reason}" for client, reason in failed.items())
                raise RunFailedError(
                    f"{stage.name}: {len(answers)} usable answers, min_reports is {recipe.min_reports}; {reasons}"
                )
            inputs = [answers[client] for client in sorted(answers)]
            merged = stage.merge(arrays_of(stage, shared), [a.arrays for a in inputs], [a.examples for a in inputs])
            shared |= named(stage, merged)
    return shared


def grid_is_simulated(grid: Grid) -> bool:
    """A simulation registers all its nodes at once: waiting for more would be in vain."""
    return type(grid).__name__ == "InMemoryGrid"
