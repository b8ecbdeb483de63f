"""The trained reduction: vectors of an encoder → n numbers in [0, 1], learned with the labels by federated averaging.

t = tanh(xW + b),  z = (1 + t)/2,  p = softmax(tV + c); the head (V, c) is there for training alone.
PCA keeps what varies most, which in sentence vectors is their topic; this keeps what tells the classes apart.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.features import Pca
from data.stages import Stage
from data.streams import stream
from recipes.schema import FeaturesConfig, Recipe

Arrays = dict[str, NDArray[Any]]

L2_W, L2_V = 1e-3, 5e-2  # a small head needs a wide t, and a wide z is what turns a qubit
ITERATIONS = 10  # of L-BFGS at one visit; more would fit a client's own rows too closely to average
NAMES = ("W", "b", "V", "c")


class TrainedReduction:
    """A stage whose `exchanges` rounds of federated averaging train d·n + n + n·K + K numbers."""

    name = "reduction"

    def __init__(self, size_in: int, size: int, n_classes: int, exchanges: int) -> None:
        self.size_in, self.size, self.n_classes, self.exchanges = size_in, size, n_classes, exchanges
        self._shapes = {"W": (size_in, size), "b": (size,), "V": (size, n_classes), "c": (n_classes,)}

    def initial(self, seed: int) -> Arrays:
        """W, V ~ N(0, 1/fan-in), b = c = 0: one start for all, so that averages are of like units."""
        rng = stream(seed, "reduction")
        return {
            name: (rng.normal(0, shape[0] ** -0.5, shape) if len(shape) == 2 else np.zeros(shape)).astype(np.float32)
            for name, shape in self._shapes.items()
        }

    def local(self, arrays: Arrays, rows: NDArray[Any], labels: NDArray[Any]) -> Arrays:
        """A few L-BFGS iterations on this client's rows, from the agreed arrays."""
        from scipy.optimize import minimize

        x = self._checked(arrays, rows)
        options = {"maxiter": ITERATIONS}
        start = self._flat(arrays)
        found = minimize(self.loss, start, args=(x, labels), jac=True, method="L-BFGS-B", options=options)
        return {name: array.astype(np.float32) for name, array in self._named(found.x).items()}

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """The mean weighted by examples, added in float64 in the order of client ids."""
        if not answers:
            raise ValueError("no client answered, so the reduction has nothing to average")
        shares = np.array(examples, dtype=np.float64) / sum(examples)
        return {
            name: np.tensordot(shares, np.stack([answer[name] for answer in answers]).astype(np.float64), 1).astype(
                np.float32
            )
            for name in NAMES
        }

    def apply(self, arrays: Arrays, rows: NDArray[Any]) -> NDArray[np.float64]:
        """z, (B, n) in [0, 1]."""
        x = self._checked(arrays, rows)
        z: NDArray[np.float64] = (1 + np.tanh(x @ arrays["W"].astype(np.float64) + arrays["b"])) / 2
        return z

    def predict(self, arrays: Arrays, rows: NDArray[Any]) -> NDArray[np.float64]:
        """(B, K) probabilities of the head: what the reduction knows by itself, before any student."""
        logits = (2 * self.apply(arrays, rows) - 1) @ arrays["V"].astype(np.float64) + arrays["c"]
        likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(likelihood / likelihood.sum(axis=1, keepdims=True), dtype=np.float64)

    def loss(
        self, flat: NDArray[np.float64], x: NDArray[np.float64], labels: NDArray[Any]
    ) -> tuple[float, NDArray[np.float64]]:
        """−mean ln p(label) + λ/2·(‖W‖² + ‖V‖²), and its gradient."""
        W, b, V, c = self._named(flat).values()
        t = np.tanh(x @ W + b)
        logits = t @ V + c
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        value = -log_p[np.arange(len(x)), labels].mean() + (L2_W * (W**2).sum() + L2_V * (V**2).sum()) / 2
        d_logits = (np.exp(log_p) - np.eye(self.n_classes)[labels]) / len(x)
        d_inner = (d_logits @ V.T) * (1 - t**2)
        slopes = (x.T @ d_inner + L2_W * W, d_inner.sum(axis=0), t.T @ d_logits + L2_V * V, d_logits.sum(axis=0))
        return float(value), np.concatenate([slope.ravel() for slope in slopes])

    def _flat(self, arrays: Arrays) -> NDArray[np.float64]:
        return np.concatenate([arrays[name].ravel() for name in NAMES]).astype(np.float64)

    def _named(self, flat: NDArray[np.float64]) -> Arrays:
        cuts = np.cumsum([int(np.prod(shape)) for shape in self._shapes.values()])[:-1]
        return {name: part.reshape(self._shapes[name]) for name, part in zip(NAMES, np.split(flat, cuts), strict=True)}

    def _checked(self, arrays: Arrays, rows: NDArray[Any]) -> NDArray[np.float64]:
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != self._shapes:
            raise ValueError(f"reduction arrays are {shapes}; they must be {self._shapes}")
        if rows.ndim != 2 or rows.shape[1] != self.size_in:
            raise ValueError(f"rows have shape {rows.shape}; the reduction takes {self.size_in} columns")
        return np.asarray(rows, dtype=np.float64)


def reduction(config: FeaturesConfig, size_in: int, size: int, n_classes: int) -> Stage:
    """The reduction a recipe names, from the encoder's columns to one number a qubit."""
    if config.reduction == "pca":
        return Pca(size_in, size)
    return TrainedReduction(size_in, size, n_classes, config.steps)


def stages(recipe: Recipe, encoder: Stage, n_classes: int) -> list[Stage]:
    """From texts to what a student reads: the encoder's columns themselves, or their reduction."""
    if recipe.student.kind == "layered":
        return [encoder]
    return [encoder, reduction(recipe.features, encoder.size, recipe.student.qubits, n_classes)]
