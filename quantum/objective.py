"""The loss of a student over the rows of a fit, in nats, and its gradient by whichever way a search asks for.

B rows, E sets of angles, P angles, K outputs, one a class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quantum.readout import SMALLEST, Floats, Readout

Pullback = Callable[[Floats], Floats]  # dL/do (B, K) → dL/dθ (P,)


class Outputs(Protocol):
    """What a student says of fixed rows, before a read-out makes probabilities of it."""

    @property
    def shots(self) -> int | None:
        """A row and evaluation; None when exact."""
        ...

    @property
    def spent(self) -> int:
        """Shots so far."""
        ...

    @property
    def shifts(self) -> int:
        """Evaluations that `shifted` takes."""
        ...

    def at(self, thetas_EP: Floats) -> Floats:
        """(E, B, K) in one batch."""
        ...

    def exact(self, theta_P: Floats) -> tuple[Floats, Pullback]:
        """(B, K), and how slopes of outputs become slopes of angles, by differentiation."""
        ...

    def shifted(self, theta_P: Floats) -> tuple[Floats, Pullback]:
        """The same from evaluations at shifted angles, all in one batch."""
        ...


@dataclass(frozen=True)
class Loss:
    """L(θ) = −1/B · Σ ln p(label), an objective of a search."""

    outputs: Outputs
    readout: Readout
    labels: NDArray[Any]

    @property
    def shifts(self) -> int:
        """Evaluations that `shifted` takes."""
        return self.outputs.shifts

    def losses(self, thetas_EP: Floats) -> Floats:
        """(E,)"""
        return np.array([self._of(outputs_BK) for outputs_BK in self.outputs.at(thetas_EP)])

    def exact(self, theta_P: Floats) -> tuple[float, Floats]:
        """L and dL/dθ by differentiation."""
        return self._both(*self.outputs.exact(theta_P))

    def shifted(self, theta_P: Floats) -> tuple[float, Floats]:
        """L and dL/dθ out of evaluations."""
        return self._both(*self.outputs.shifted(theta_P))

    def _both(self, outputs_BK: Floats, pullback: Pullback) -> tuple[float, Floats]:
        return self._of(outputs_BK), pullback(self.readout.slope(outputs_BK, self.labels, self.outputs.shots))

    def _of(self, outputs_BK: Floats) -> float:
        return cross_entropy(self.readout.classes(outputs_BK, self.outputs.shots), self.labels)


def cross_entropy(probs_BK: NDArray[Any], labels: NDArray[Any]) -> float:
    """−1/B · Σ ln p(label), natural logarithm, probabilities clipped at 1e-12."""
    chosen = probs_BK[np.arange(len(labels)), labels]
    return -float(np.log(np.maximum(chosen, SMALLEST)).mean())
