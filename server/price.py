"""What a recipe will spend on a QPU, and whether it may: asked before anything is started."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.corpus import load
from data.images import PUBLISHED
from data.split import deal
from quantum.executor import CheckedExecutor
from quantum.journal import Journal
from quantum.price import STOP_AT, executions, seconds, spend_for
from recipes.schema import Recipe
from recipes.section import InputError
from server.ready import at_hand, models, ready

ROWS = (300, 100)  # train and test, of a client whose rows are not known yet


@dataclass(frozen=True)
class Price:
    """Of the dearest client in the whole run, at most."""

    jobs: int
    executions: int
    clients: int

    @property
    def seconds(self) -> float:
        """QPU seconds of one client."""
        return seconds(self.jobs, self.executions)

    @property
    def spend(self) -> int:
        """The smallest --spend that does: it is shared evenly, and a tenth of it is kept back."""
        return self.clients * spend_for(self.seconds)

    def __str__(self) -> str:
        each = f"{self.jobs:,} jobs, {self.executions:,} executions, {self.seconds:,.0f} QPU seconds a client"
        return f"at most {each}, {self.seconds * self.clients:,.0f} s in all; needs --spend {self.spend}"


class Counting:
    """An executor's `run` that runs nothing: it counts jobs, and executions of a job."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.jobs, self.executions = recipe, 0, 0

    def __call__(self, circuit: Any, rows_BP: NDArray[Any]) -> NDArray[np.float64]:
        """Even probabilities."""
        r = self.recipe
        twirled = r.hardware.twirling != "none"
        self.jobs += 1
        self.executions += executions(len(rows_BP), r.shots, twirled=twirled, calibrated=r.mitigate)
        return np.full((len(rows_BP), 2**circuit.num_qubits), 0.5**circuit.num_qubits)


def price(recipe: Recipe) -> Price:
    """Every round the most evaluations that its regulator allows, counted on its own student and optimiser."""
    n_classes = ready(recipe, fetch=False)
    train, test = rows_of(recipe)
    model = models(recipe, n_classes)["student"]
    arrays, draws = model.initial(recipe.seed), np.random.default_rng(0)
    fit, scores = Counting(recipe), Counting(recipe)
    x = draws.random((train, model.features))
    most = most_evaluations(recipe)
    fitted = model.fit(arrays, x, np.arange(train) % n_classes, recipe.optimiser, most, executor=counted(fit, recipe))
    if recipe.scored_by == "executor":
        model.predict(arrays, x[:1].repeat(test, 0), executor=counted(scores, recipe))
    whole = most / max(1, fitted.evaluations)  # a search on a flat loss may end early

    def total(name: str) -> int:
        return int(np.ceil(recipe.rounds * getattr(fit, name) * whole + getattr(scores, name)))

    return Price(total("jobs"), total("executions"), recipe.clients)


def afford(recipe: Recipe, spend: int, spent: float, *, here: bool = True) -> None:
    """Raises InputError when a run may not start: it costs more than it may, or than the service still gives.

    When it does not run `here`, the accounts are its nodes' own, and they ask for themselves. A run that goes on has
    `spent` some of its price already; `spend` is for the whole run.
    """
    if not recipe.paid():
        if spend:
            raise InputError(f"--spend {spend}: executor {recipe.executor} costs nothing; leave --spend out")
        return
    due = price(recipe)
    if spend < due.spend:
        what = f"--spend {spend} is too little" if spend else "it runs on a QPU, and no --spend allows that"
        raise InputError(f"{recipe.name}: {what}: {due} (no job starts beyond {STOP_AT:.0%} of it)")
    if not here:
        return
    from quantum.account import cloud
    from quantum.paid import HardwareError

    try:
        remaining = cloud(batch=False).remaining()
    except HardwareError as error:
        raise InputError(f"executor {recipe.executor}: {error}") from None
    if due.seconds * due.clients - spent > remaining:
        raise InputError(
            f"{recipe.name}: {due}; {spent:.0f} s are spent, and IBM says that {remaining:.0f} s remain in this "
            f"instance"
        )


def spent_in(folder: Path) -> float:
    """QPU seconds that the clients of a run's folder have used so far."""
    return sum(Journal(jobs).spent() for jobs in folder.glob("memory/*/client-*/qpu"))


def most_evaluations(recipe: Recipe) -> int:
    """Objective evaluations in a round, at most."""
    optimiser, regulate = recipe.optimiser, recipe.regulate
    return optimiser.budget if regulate.law == "none" else max(regulate.cap, optimiser.budget)


def rows_of(recipe: Recipe) -> tuple[int, int]:
    """(train, test) rows, each of the client that has most."""
    if not at_hand(recipe):
        published = PUBLISHED.get(recipe.data.corpus)
        return (published.training // recipe.clients, ROWS[1]) if published else ROWS
    shares = deal(load(recipe.data, recipe.seed), recipe.data, recipe.clients, recipe.seed).shares
    return (
        max(len(share.train) for share in shares),
        max(len(share.test) for share in shares),
    )


def counted(run: Counting, recipe: Recipe) -> CheckedExecutor:
    return CheckedExecutor("counting", recipe.shots, run)
