"""Minimise a function of angles within an enforced budget of evaluations.

SciPy ≥ 1.16 silently raises COBYLA's maxiter to n + 2: a budget of 10 would cost 18 for 16 angles, and evaluations are
what a QPU charges for. So the objective itself counts, and ends the search when the budget is spent.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.schema import OptimiserConfig

log = logging.getLogger(__name__)

Angles = NDArray[np.float64]
Objective = Callable[[Angles], float]


@dataclass(frozen=True)
class Optimum:
    """The best point seen. Evaluation 1 is the start, so `value` is never above the start's."""

    x: Angles
    value: float
    trace: tuple[float, ...]  # every value, in the order of the evaluations
    evaluations: int


def minimise(config: OptimiserConfig, objective: Objective, start: NDArray[Any], maxiter: int) -> Optimum:
    """Best of at most `maxiter` evaluations of the objective."""
    if maxiter < 1:
        raise ValueError(f"maxiter is {maxiter}; a search needs at least one evaluation")
    start = np.asarray(start, dtype=np.float64)
    search = _Budgeted(objective, maxiter)
    with suppress(_SpentError):
        OPTIMISERS[config.kind](config, search, start, maxiter)
    return Optimum(search.best, min(search.trace), tuple(search.trace), len(search.trace))


def cobyla(config: OptimiserConfig, objective: Objective, start: Angles, maxiter: int) -> None:
    """Powell's linear approximations (1994): n + 1 evaluations span the first model, each later one moves."""
    from scipy.optimize import minimize

    n = len(start)
    if maxiter < n + 2:
        _warn(maxiter, n)
    options = {"maxiter": max(maxiter, n + 2), "rhobeg": config.rhobeg, "tol": config.rhobeg * 1e-4}
    minimize(objective, start, method="COBYLA", options=options)


class _SpentError(Exception):
    """The budget is spent; never leaves this file."""


class _Budgeted:
    """An objective that counts, remembers its best point and ends the search when its budget is spent."""

    def __init__(self, objective: Objective, budget: int) -> None:
        self.objective, self.budget = objective, budget
        self.trace: list[float] = []
        self.best: Angles = np.empty(0)

    def __call__(self, x: Angles) -> float:
        if len(self.trace) == self.budget:
            raise _SpentError
        x = np.array(x, dtype=np.float64)  # SciPy reuses its array
        value = float(self.objective(x))
        if not isfinite(value):
            raise ValueError(f"the objective is {value} at evaluation {len(self.trace) + 1}; a loss must be finite")
        if not self.trace or value < min(self.trace):
            self.best = x
        self.trace.append(value)
        return value


@cache  # once a process for each pair, not once a round
def _warn(maxiter: int, n: int) -> None:
    log.warning("maxiter %d is below %d: COBYLA spends %d on its first model of %d angles", maxiter, n + 2, n + 1, n)


OPTIMISERS: dict[str, Callable[[OptimiserConfig, Objective, Angles, int], None]] = {"cobyla": cobyla}
