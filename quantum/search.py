"""The enforced budget of a search: what an optimiser may ask, what an answer costs, the best point seen.

An *evaluation* is one pass of a fit's rows through the model at one set of angles; `maxiter` is a budget of them.
- A loss costs one.
- A loss with its exact gradient costs three, as adjoint differentiation does: one state forward, two states back
  (arXiv:2009.02823); a network's backward pass is two products for each one of its forward pass.
- A loss with its gradient from shifts costs one, and two or four for every angle of a gate: all these circuits are run.
E sets of angles, P angles.
"""

from math import isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from recipes.schema import EXACT_GRADIENT

Angles = NDArray[np.float64]


class Objective(Protocol):
    """What a search minimises: a loss in nats over rows that are fixed for a fit."""

    @property
    def shifts(self) -> int:
        """Evaluations that `shifted` takes."""
        ...

    def losses(self, thetas_EP: Angles) -> Angles:
        """(E,) in one batch."""
        ...

    def exact(self, theta_P: Angles) -> tuple[float, Angles]:
        """The loss and its gradient, by differentiation."""
        ...

    def shifted(self, theta_P: Angles) -> tuple[float, Angles]:
        """The loss and its gradient out of evaluations alone, all in one batch."""
        ...


class SpentError(Exception):
    """The budget does not cover a question; it ends a search, and never leaves `minimise`."""


class Search:
    """Answers an optimiser while the budget lasts, and remembers every loss and the best point."""

    def __init__(self, objective: Objective, budget: int, seed: int) -> None:
        self.objective, self.budget = objective, budget
        self.draws = stream(seed, "search")
        self.evaluations = 0
        self.trace: list[float] = []
        self.best: Angles = np.empty(0)

    def affords(self, evaluations: int) -> bool:
        """Whether the budget covers so many more."""
        return self.evaluations + evaluations <= self.budget

    def value(self, theta_P: Angles) -> float:
        """The loss at one point."""
        return float(self.values(theta_P[None])[0])

    def values(self, thetas_EP: Angles) -> Angles:
        """(E,) losses in one batch; all of them or none."""
        self._spend(len(thetas_EP))
        losses_E = self.objective.losses(thetas_EP)
        for theta_P, loss in zip(thetas_EP, losses_E, strict=True):
            self._note(theta_P, float(loss))
        return losses_E

    def gradient(self, theta_P: Angles, *, shifted: bool) -> Angles:
        """dL/dθ; the loss that comes with it is noted."""
        self._spend(self.cost(shifted=shifted))
        loss, slope_P = self.objective.shifted(theta_P) if shifted else self.objective.exact(theta_P)
        self._note(theta_P, loss)
        if not np.isfinite(slope_P).all():
            raise ValueError(f"the gradient at evaluation {self.evaluations} is not finite; a loss must be smooth")
        return slope_P

    def cost(self, *, shifted: bool) -> int:
        """Evaluations of one gradient."""
        return self.objective.shifts if shifted else EXACT_GRADIENT

    def _spend(self, evaluations: int) -> None:
        if not self.affords(evaluations):
            raise SpentError
        self.evaluations += evaluations

    def _note(self, theta_P: Angles, loss: float) -> None:
        if not isfinite(loss):
            raise ValueError(f"the objective is {loss} at evaluation {self.evaluations}; a loss must be finite")
        if not self.trace or loss < min(self.trace):
            self.best = theta_P.copy()
        self.trace.append(loss)
