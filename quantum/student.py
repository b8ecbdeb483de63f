"""Students: small models that are pure functions of named arrays. What travels is float32; they compute in float64.

B rows, N features, P parameters, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from quantum.control import hidden_layer
from quantum.objective import cross_entropy, parity
from quantum.optimise import minimise
from recipes.schema import OptimiserConfig, StudentConfig

if TYPE_CHECKING:
    from quantum.statevector import Compiled, Encoded

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Fit:
    """What one visit to a student cost and gave."""

    arrays: Arrays
    losses: tuple[float, ...]  # nats, one an evaluation, in order
    evaluations: int
    shots: int  # 0 on an exact engine


class Student(Protocol):
    """A small model of one row of features; quantum students and their classical twins alike."""

    name: str
    parameters: int
    features: int

    def initial(self, seed: int) -> Arrays:
        """What round 1 starts from."""
        ...

    def predict(self, arrays: Arrays, x: NDArray[Any]) -> NDArray[np.float64]:
        """(B, K) class probabilities of (B, N) features in [0, 1]."""
        ...

    def fit(
        self, arrays: Arrays, x: NDArray[Any], labels: NDArray[Any], optimiser: OptimiserConfig, maxiter: int
    ) -> Fit:
        """The best arrays found within `maxiter` evaluations of the loss, then rounded to float32.

        Evaluation 1 is those given, so the best is never worse, but for what the rounding costs.
        """
        ...


class VqcStudent:
    """p(class c | x) = Σ_{b: popcount(b) mod K = c} |⟨b|W(θ)F(x)|0…0⟩|², exact."""

    def __init__(self, config: StudentConfig, n_classes: int) -> None:
        self.name: str = config.kind
        self.config, self.features = config, config.qubits
        self.parameters = config.qubits * (config.reps + 1)
        self._readout_DK = parity(config.qubits, n_classes)

    @cached_property
    def _compiled(self) -> "Compiled":  # qiskit is first needed here
        from quantum.statevector import Compiled
        from quantum.vqc import vqc

        c = self.config
        return Compiled(vqc(c.qubits, c.feature_map, c.scale, c.reps, c.entanglement))

    def initial(self, seed: int) -> Arrays:
        """θ ~ N(0, 0.1²): RY near the identity."""
        theta = stream(seed, "student").normal(0, 0.1, self.parameters)
        return {"theta": theta.astype(np.float32)}

    def predict(self, arrays: Arrays, x: NDArray[Any]) -> NDArray[np.float64]:
        """(B, K) class probabilities."""
        return self._classes(self._encoded(x), theta_of(self, arrays))

    def fit(
        self, arrays: Arrays, x: NDArray[Any], labels: NDArray[Any], optimiser: OptimiserConfig, maxiter: int
    ) -> Fit:
        """Rows are encoded once; every evaluation is one matrix product."""
        encoded = self._encoded(x)
        return search(
            lambda theta: cross_entropy(self._classes(encoded, theta), labels),
            theta_of(self, arrays),
            optimiser,
            maxiter,
        )

    def _encoded(self, x: NDArray[Any]) -> "Encoded":
        return self._compiled.encode(rows_of(self, x))

    def _classes(self, encoded: "Encoded", theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._compiled.probabilities(encoded, theta) @ self._readout_DK


class MlpTwin:
    """The classical control: one tanh layer of as many parameters as the quantum student, the same search and loss."""

    def __init__(self, config: StudentConfig, n_classes: int) -> None:
        self.name = "twin"
        self.features = config.qubits
        self._mlp = hidden_layer(config.qubits, n_classes, config.qubits * (config.reps + 1))
        self.parameters = self._mlp.parameters

    def initial(self, seed: int) -> Arrays:
        """Weights of unit variance over fan-in, biases 0."""
        return {"theta": self._mlp.initial(seed).astype(np.float32)}

    def predict(self, arrays: Arrays, x: NDArray[Any]) -> NDArray[np.float64]:
        """(B, K) class probabilities."""
        return self._mlp.probabilities(rows_of(self, x), theta_of(self, arrays))

    def fit(
        self, arrays: Arrays, x: NDArray[Any], labels: NDArray[Any], optimiser: OptimiserConfig, maxiter: int
    ) -> Fit:
        """As the student, on the same rows."""
        rows = rows_of(self, x)
        return search(
            lambda theta: cross_entropy(self._mlp.probabilities(rows, theta), labels),
            theta_of(self, arrays),
            optimiser,
            maxiter,
        )


class NoopStudent:
    """Learns nothing and guesses evenly: what a round costs without a student.

    The argmax of even probabilities is class 0, so its accuracy is the share of class 0, not 1/K.
    """

    def __init__(self, config: StudentConfig, n_classes: int) -> None:
        self.name: str = config.kind
        self.features, self.parameters, self.n_classes = config.qubits, config.size, n_classes

    def initial(self, seed: int) -> Arrays:
        """As many numbers as the recipe asks to move."""
        return {"theta": stream(seed, "noop").standard_normal(self.parameters, dtype=np.float32)}

    def predict(self, arrays: Arrays, x: NDArray[Any]) -> NDArray[np.float64]:
        """1/K for every class."""
        theta_of(self, arrays)
        return np.ones((len(x), self.n_classes)) / self.n_classes

    def fit(
        self, arrays: Arrays, x: NDArray[Any], labels: NDArray[Any], optimiser: OptimiserConfig, maxiter: int
    ) -> Fit:
        """The arrays as they came."""
        theta_of(self, arrays)
        return Fit(arrays, losses=(), evaluations=0, shots=0)


def student(config: StudentConfig, n_classes: int) -> Student:
    """The student a recipe names."""
    return STUDENTS[config.kind](config, n_classes)


def twin(config: StudentConfig, n_classes: int) -> Student:
    """The classical control of that student, with as many parameters within 5%."""
    return MlpTwin(config, n_classes)


def search(
    loss: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64], optimiser: OptimiserConfig, maxiter: int
) -> Fit:
    """The best angles, back in float32."""
    best = minimise(optimiser, loss, start, maxiter)
    return Fit({"theta": best.x.astype(np.float32)}, best.trace, best.evaluations, shots=0)


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


STUDENTS: dict[str, Callable[[StudentConfig, int], Student]] = {"vqc": VqcStudent, "noop": NoopStudent}
