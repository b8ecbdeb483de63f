"""The classical twin: one tanh layer of as many parameters as the quantum student, with the same search and loss.

B rows, E sets of weights, P weights, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantum.circuit_student import n_angles
from quantum.control import HiddenLayer, hidden_layer
from quantum.guidance import UNGUIDED, Guidance
from quantum.objective import Loss, Pullback
from quantum.optimise import fewest
from quantum.readout import Floats, Readout
from quantum.student import Arrays, Fit, rows_of, search, theta_of
from recipes.schema import OptimiserConfig, StudentConfig

if TYPE_CHECKING:
    from quantum.executor import Executor

STEP = 1e-4  # of the central differences that stand for shifts; their error is 1e-8 of the slope


class MlpTwin:
    """p = softmax of the network's logits; it has no circuits, so it is exact and takes no shots on any executor."""

    def __init__(self, config: StudentConfig, n_classes: int) -> None:
        self.name = "twin"
        self.features = config.qubits
        self.network = hidden_layer(config.qubits, n_classes, n_angles(config, n_classes))
        self.parameters = self.network.parameters
        self._readout = Readout(np.eye(n_classes), softmax=True)

    def initial(self, seed: int) -> Arrays:
        """Weights of unit variance over fan-in, biases 0."""
        return {"theta": self.network.initial(seed).astype(np.float32)}

    def predict(self, arrays: Arrays, x: NDArray[Any], *, executor: Executor | None = None) -> Floats:
        """(B, K) class probabilities."""
        return self.network.probabilities(rows_of(self, x), theta_of(self, arrays))

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
        """As the student, on the same rows."""
        outputs = NetworkOutputs(self.network, rows_of(self, x))
        loss = Loss(outputs, self._readout, labels, guidance, theta_of(self, arrays))
        return search(loss, optimiser, maxiter, seed)

    def step(self, optimiser: OptimiserConfig) -> int:
        """The least maxiter with which the optimiser moves it."""
        return fewest(optimiser, 1 + 2 * self.parameters)


class NetworkOutputs:
    """Logits of the network over fixed rows."""

    shots, spent = None, 0

    def __init__(self, network: HiddenLayer, x_BN: Floats) -> None:
        self.network, self.x_BN, self.shifts = network, x_BN, 1 + 2 * network.parameters

    def at(self, thetas_EP: Floats) -> Floats:
        """(E, B, K)"""
        return np.stack([self.network.logits(self.x_BN, theta) for theta in thetas_EP])

    def exact(self, theta_P: Floats) -> tuple[Floats, Pullback]:
        """By backpropagation."""
        return self.network.logits(self.x_BN, theta_P), lambda slope: self.network.pullback(self.x_BN, theta_P, slope)

    def shifted(self, theta_P: Floats) -> tuple[Floats, Pullback]:
        """Central differences: two evaluations a weight, as most angles of a circuit take."""
        moves_PP = STEP * np.eye(len(theta_P))
        outputs = self.at(np.vstack([theta_P[None], theta_P + moves_PP, theta_P - moves_PP]))
        above, below = np.split(outputs[1:], 2)
        return outputs[0], lambda slope_BK: np.einsum("pbk,bk->p", above - below, slope_BK) / (2 * STEP)
