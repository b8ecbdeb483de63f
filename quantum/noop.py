"""The student that learns nothing: what a round costs without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from quantum.guidance import UNGUIDED, Guidance
from quantum.student import Arrays, Fit, theta_of
from recipes.schema import OptimiserConfig, StudentConfig

if TYPE_CHECKING:
    from quantum.executor import Executor


class NoopStudent:
    """Guesses evenly. The argmax of even probabilities is class 0, so its accuracy is class 0's share, not 1/K."""

    def __init__(self, config: StudentConfig, n_classes: int) -> None:
        self.name: str = config.kind
        self.features, self.parameters, self.n_classes = config.qubits, config.size, n_classes

    def initial(self, seed: int) -> Arrays:
        """As many numbers as the recipe asks to move."""
        return {"theta": stream(seed, "noop").standard_normal(self.parameters, dtype=np.float32)}

    def predict(self, arrays: Arrays, x: NDArray[Any], *, executor: Executor | None = None) -> NDArray[np.float64]:
        """1/K for every class."""
        theta_of(self, arrays)
        return np.ones((len(x), self.n_classes)) / self.n_classes

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
        """The arrays as they came."""
        theta_of(self, arrays)
        return Fit(arrays, losses=(), evaluations=0, shots=0)

    def step(self, optimiser: OptimiserConfig) -> int:
        """None at all."""
        return 0
