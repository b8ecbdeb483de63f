"""The classical control's network: one tanh layer with as many parameters as the quantum student has, within 5%."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from quantum.readout import Floats, softmax
from recipes.section import RecipeError

TOLERANCE = 0.05  # of the student's parameter count


@dataclass(frozen=True)
class HiddenLayer:
    """p = softmax(V·tanh(W·(2x − 1) + b) + c); b and c may be absent, and logit K−1 may be fixed at 0.

    The last unit may read the first `narrow` features alone, where no network of whole units has the count.
    """

    features: int
    hidden: int
    n_classes: int
    logits_learned: int  # K, or K − 1 with the last logit 0
    hidden_bias: bool
    output_bias: bool
    narrow: int = 0  # 0: every unit reads every feature

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """W of the whole units, then of the narrow one, b, V, c: how θ is cut."""
        biases = (self.hidden if self.hidden_bias else 0, self.logits_learned if self.output_bias else 0)
        whole = self.hidden - (self.narrow > 0)
        return [
            (self.features, whole),
            (self.narrow, 1),
            (biases[0],),
            (self.hidden, self.logits_learned),
            (biases[1],),
        ]

    @property
    def parameters(self) -> int:
        """Length of θ."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def initial(self, seed: int) -> Floats:
        """Weights ~ N(0, 1/fan-in), biases 0."""
        rng = stream(seed, "twin")
        parts = [
            rng.normal(0, max(shape[0], 1) ** -0.5, shape).ravel() if len(shape) == 2 else np.zeros(shape)
            for shape in self.shapes
        ]
        return np.concatenate(parts)

    def probabilities(self, x_BN: NDArray[Any], theta: Floats) -> Floats:
        """(B, K)"""
        return softmax(self.logits(x_BN, theta))

    def logits(self, x_BN: NDArray[Any], theta: Floats) -> Floats:
        """(B, K)"""
        *_, V, c = self._parts(theta)
        logits = self._hidden(x_BN, theta) @ V
        if self.output_bias:
            logits = logits + c
        return np.pad(logits, ((0, 0), (0, self.n_classes - self.logits_learned)))

    def pullback(self, x_BN: NDArray[Any], theta: Floats, slope_BK: Floats) -> Floats:
        """dL/dθ out of dL/dlogits: backpropagation."""
        *_, V, _ = self._parts(theta)
        h_BH, slope = self._hidden(x_BN, theta), slope_BK[:, : self.logits_learned]
        inner_BH = (slope @ V.T) * (1 - h_BH**2)
        dW = (2 * x_BN - 1).T @ inner_BH
        whole = self.hidden - (self.narrow > 0)
        parts = [dW[:, :whole].ravel(), dW[: self.narrow, whole:].ravel()]
        parts += [inner_BH.sum(axis=0)] if self.hidden_bias else []
        parts += [(h_BH.T @ slope).ravel()]
        return np.concatenate(parts + ([slope.sum(axis=0)] if self.output_bias else []))

    def _hidden(self, x_BN: NDArray[Any], theta: Floats) -> Floats:
        W, w, b, *_ = self._parts(theta)
        centred = 2 * x_BN - 1
        inner = centred @ W
        if self.narrow:
            inner = np.column_stack([inner, centred[:, : self.narrow] @ w])
        return np.asarray(np.tanh(inner + b if self.hidden_bias else inner))

    def _parts(self, theta: Floats) -> list[Floats]:
        cuts = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(theta, cuts), self.shapes, strict=True)]


def hidden_layer(features: int, n_classes: int, parameters: int) -> HiddenLayer:
    """The network with the nearest parameter count; where whole units are not within 5%, with a narrow last one.

    Among equals the one with most biases, then units.
    """
    best = nearest(features, n_classes, parameters, range(1))
    if off(best, parameters):
        best = nearest(features, n_classes, parameters, range(features))
    if off(best, parameters):
        raise RecipeError(
            f"no twin of {parameters} parameters: the nearest network from {features} features to {n_classes} classes "
            f"has {best.parameters}; change student.reps or set student.twin to false"
        )
    return best


def nearest(features: int, n_classes: int, parameters: int, narrow: range) -> HiddenLayer:
    """The best of all networks whose last unit is as narrow as that; beside a narrow unit stands a whole one.

    Of a single unit without an output bias the logits are v_k·tanh(h): of many classes it can name two.
    """
    shapes = product(range(1, parameters + 1), (n_classes, n_classes - 1), (True, False), (True, False), narrow)
    networks = (
        HiddenLayer(features, h, n_classes, logits, b, c, m)
        for h, logits, b, c, m in shapes
        if h > 1 or (not m and (c or n_classes == 2))
    )
    return min(networks, key=lambda m: (abs(m.parameters - parameters), -m.hidden_bias - m.output_bias, -m.hidden))


def off(network: HiddenLayer, parameters: int) -> bool:
    """Whether the count is further from the student's than a control's may be."""
    return abs(network.parameters - parameters) > TOLERANCE * parameters
