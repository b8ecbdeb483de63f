"""The loss of a student over the rows of a fit, in nats, and its gradient by whichever way a search asks for.

B rows, E sets of angles, P angles, K outputs, one a class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quantum.guidance import Guidance
from quantum.readout import Floats, Readout

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
    """L(θ): what a guidance says of the rows' probabilities; the first rows are those with labels."""

    outputs: Outputs
    readout: Readout
    labels: NDArray[Any]
    guidance: Guidance
    start: Floats  # θ_global

    @property
    def shifts(self) -> int:
        """Evaluations that `shifted` takes."""
        return self.outputs.shifts

    def losses(self, thetas_EP: Floats) -> Floats:
        """(E,)"""
        found = zip(self.outputs.at(thetas_EP), thetas_EP, strict=True)
        return np.array([self._of(outputs_BK, theta_P) for outputs_BK, theta_P in found])

    def exact(self, theta_P: Floats) -> tuple[float, Floats]:
        """L and dL/dθ by differentiation."""
        return self._both(theta_P, *self.outputs.exact(theta_P))

    def shifted(self, theta_P: Floats) -> tuple[float, Floats]:
        """L and dL/dθ out of evaluations."""
        return self._both(theta_P, *self.outputs.shifted(theta_P))

    def _both(self, theta_P: Floats, outputs_BK: Floats, pullback: Pullback) -> tuple[float, Floats]:
        p_BK = self.readout.classes(outputs_BK, self.outputs.shots)
        loss, slope_BK = self.guidance.of(p_BK, self.labels)
        slope_P = pullback(self.readout.slope(outputs_BK, slope_BK, self.outputs.shots))
        return loss + self._held(theta_P), slope_P + self.guidance.proximal * (theta_P - self.start)

    def _of(self, outputs_BK: Floats, theta_P: Floats) -> float:
        p_BK = self.readout.classes(outputs_BK, self.outputs.shots)
        return self.guidance.of(p_BK, self.labels)[0] + self._held(theta_P)

    def _held(self, theta_P: Floats) -> float:
        return self.guidance.proximal / 2 * float(np.square(theta_P - self.start).sum())
