"""What runs a visit's circuits; and, on a QPU, what this client may spend.

Two keys turn together: a run asks (`spend` in its run config, set by `--spend`, shared evenly by its clients) and a
node grants (QFLOCK_SPEND in its own environment). A client spends the smaller of the two and nothing without both; the
account is the node's own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from client.memory import path
from recipes.schema import InputError, Recipe
from strategies.messages import Assignment

if TYPE_CHECKING:
    from quantum.executor import Executor


@contextmanager
def circuits(recipe: Recipe, client: int, assignment: Assignment, asked_seconds: float) -> Iterator["Executor | None"]:
    """The executor of one visit, closed after it; None where the exact engine runs the circuits."""
    if recipe.executor == "exact":
        yield None
        return
    from quantum.executor import executor, visit_seed
    from quantum.ibm import Site

    site = Site(
        folder=path(assignment.run, client, assignment.round).parent / "qpu",
        visit=f"{assignment.run}/client-{client}/{assignment.kind}-{assignment.round}",
        spend_seconds=allowance(asked_seconds, recipe.clients),
        hardware=recipe.hardware,
    )
    round_ = 0 if assignment.kind == "score" else assignment.round  # no two visits share their shots
    seed = visit_seed(recipe.seed, client, round_)
    run = executor(recipe.executor, shots=recipe.shots, seed=seed, mitigate=recipe.mitigate, site=site)
    try:
        yield run
    finally:
        run.close()


def allowance(asked_seconds: float, clients: int) -> float:
    """min(asked / clients, granted)"""
    said = os.environ.get("QFLOCK_SPEND", "0")
    try:
        granted = float(said)
    except ValueError:
        raise InputError(f"QFLOCK_SPEND is {said!r}; it must be a number of QPU seconds") from None
    return max(0.0, min(asked_seconds / clients, granted))
