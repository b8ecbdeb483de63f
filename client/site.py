"""Where a client's QPU jobs belong, and what it may spend on them.

Two keys turn together: a run asks (`spend` in its run config, set by `--spend`, shared evenly by its clients) and a
node grants (QFLOCK_SPEND in its own environment). A client spends the smaller of the two and nothing without both; the
account is the node's own.
"""

import os
from typing import TYPE_CHECKING

from client.memory import path
from recipes.schema import Recipe
from recipes.section import InputError
from strategies.messages import Assignment

if TYPE_CHECKING:
    from quantum.ibm import Site


def site(recipe: Recipe, client: int, assignment: Assignment) -> "Site | None":
    """For the executors of IBM; the others write nothing down and cost nothing."""
    if not recipe.executor.startswith("ibm"):
        return None
    from quantum.ibm import Site

    return Site(
        folder=path(assignment.run, client, assignment.round).parent / "qpu",
        visit=f"{assignment.run}/client-{client}/{assignment.kind}-{assignment.round}",
        spend_seconds=assignment.spend_seconds,
        hardware=recipe.hardware,
    )


def allowance(asked_seconds: float, clients: int) -> float:
    """min(asked / clients, granted)"""
    said = os.environ.get("QFLOCK_SPEND", "0")
    try:
        granted = float(said)
    except ValueError:
        raise InputError(f"QFLOCK_SPEND is {said!r}; it must be a number of QPU seconds") from None
    return max(0.0, min(asked_seconds / clients, granted))
