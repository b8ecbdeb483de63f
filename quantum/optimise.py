"""Minimise a loss over angles within an enforced budget; `quantum/search.py` says what an evaluation is."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantum.adam import adam, shift
from quantum.cobyla import cobyla
from quantum.search import Angles, Objective, Search, SpentError
from quantum.spsa import spsa
from recipes.schema import EXACT_GRADIENT, OptimiserConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Optimum:
    """The best point seen. The first loss is the start's, so `value` is never above it."""

    x: Angles
    value: float
    trace: tuple[float, ...]  # every loss seen, in order; an evaluation for a gradient alone has none
    evaluations: int


def minimise(
    config: OptimiserConfig, objective: Objective, start: NDArray[Any], maxiter: int, *, seed: int = 0
) -> Optimum:
    """The best point that at most `maxiter` evaluations find; `seed` is for an optimiser that draws."""
    if maxiter < 1:
        raise ValueError(f"maxiter is {maxiter}; a search needs at least one evaluation")
    least = fewest(config, objective.shifts if config.kind == "shift" else 0)
    if maxiter < least:
        _warn(config.kind, maxiter, least)
    search = Search(objective, maxiter, seed)
    with suppress(SpentError):
        OPTIMISERS[config.kind](config, search, np.array(start, dtype=np.float64))
    return Optimum(search.best, min(search.trace), tuple(search.trace), search.evaluations)


def fewest(config: OptimiserConfig, shifts: int) -> int:
    """The least maxiter with which an optimiser moves at all; `shifts` is what one gradient from shifts takes."""
    gradients = {"adam": EXACT_GRADIENT + 1, "shift": shifts + 1, "minibatch": EXACT_GRADIENT}
    return {"cobyla": 2, "spsa": 4, **gradients}[config.kind]


@cache  # once a process for each budget, not once a round
def _warn(kind: str, maxiter: int, least: int) -> None:
    log.warning("maxiter %d is below %d, what one step of %s takes: the student stays as it is", maxiter, least, kind)


OPTIMISERS: dict[str, Callable[[OptimiserConfig, Search, Angles], None]] = {
    function.__name__: function for function in (cobyla, spsa, adam, shift)
}
