"""Students: small models that are pure functions of named arrays. What travels is float32; they compute in float64,
but for those that are trained on mini-batches.

B rows, N features, P parameters, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quantum.guidance import UNGUIDED, Guidance
from quantum.objective import Loss
from quantum.optimise import minimise
from recipes.schema import OptimiserConfig

if TYPE_CHECKING:
    from quantum.executor import Executor

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Fit:
    """What one visit to a student cost and gave."""

    arrays: Arrays
    losses: tuple[float, ...]  # nats, in the order in which the search saw them
    evaluations: int
    shots: int  # 0 on an exact engine


class Student(Protocol):
    """A small model of one row of features; quantum students and their classical twins alike.

    An executor runs the circuits; None is the exact engine. A twin has no circuits, and is exact with any.
    """

    name: str
    parameters: int
    features: int

    def initial(self, seed: int) -> Arrays:
        """What round 1 starts from."""
        ...

    def predict(self, arrays: Arrays, x: NDArray[Any], *, executor: Executor | None = None) -> NDArray[np.float64]:
        """(B, K) class probabilities of (B, N) features in [0, 1]."""
        ...

    def fit(
        self,
        arrays: Arrays,
        x: NDArray[Any],
        labels: NDArray[Any],
        optimiser: OptimiserConfig,
        maxiter: int,
        *,
        guidance: Guidance = UNGUIDED,
        seed: int = 0,
        executor: Executor | None = None,
    ) -> Fit:
        """The best arrays found within `maxiter` evaluations of the loss, then rounded to float32.

        `labels` are those of the first rows; the others have none, and matter to a guidance alone. The first loss is
        that of the arrays given, so the best is never worse, but for what the rounding costs. `seed` is for an
        optimiser that draws.
        """
        ...

    def step(self, optimiser: OptimiserConfig) -> int:
        """The least maxiter with which the optimiser moves this student at all."""
        ...


def search(loss: Loss, optimiser: OptimiserConfig, maxiter: int, seed: int) -> Fit:
    """The best angles, back in float32, and what they cost."""
    best = minimise(optimiser, loss, loss.start, maxiter, seed=seed)
    return Fit({"theta": best.x.astype(np.float32)}, best.trace, best.evaluations, loss.outputs.spent)


def rows_of(student: Student, x: NDArray[Any]) -> NDArray[np.float64]:
    """(B, N) features in float64."""
    if x.ndim != 2 or x.shape[1] != student.features:
        raise ValueError(f"rows have shape {x.shape}; student {student.name} takes {student.features} features a row")
    if not len(x):
        raise ValueError(f"no rows for student {student.name}; a client needs at least one")
    return np.asarray(x, dtype=np.float64)


def theta_of(student: Student, arrays: Arrays) -> NDArray[np.float64]:
    """The student's one array, in float64."""
    shapes = {key: array.shape for key, array in arrays.items()}
    if shapes != {"theta": (student.parameters,)}:
        raise ValueError(f"arrays are {shapes}; student {student.name} takes theta of shape ({student.parameters},)")
    return arrays["theta"].astype(np.float64)
