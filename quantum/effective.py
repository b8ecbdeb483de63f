"""How many of a circuit's weights can tell in its read-out: the rank of the Jacobian at a generic point.

Angles that only add up (three RY on one qubit) or only change phases that nothing reads count for less than there are.
D = 2^n basis states, P weights, R = 2^k outcomes of the k qubits that are read.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantum.angles import free
from quantum.gates import bound_matrix

if TYPE_CHECKING:
    from qiskit.circuit import Parameter

    from quantum.ansatz import Ansatz

STEP = 1e-4  # radians, for the derivative of a gate's small matrix: an error of 1e-9
RANK = 1e-6  # singular values below this share of the largest are zero


def effective_weights(ansatz: Ansatz, seed: int = 0) -> int:
    """Rank of ∂p/∂θ, rows of features stacked until there are more equations than weights; θ and x uniform in ±π."""
    rng, count = np.random.default_rng(seed), len(ansatz.weights)
    if not count:
        return 0
    theta = rng.uniform(-np.pi, np.pi, count)
    n_rows = ceil(count / (2 ** len(ansatz.read) - 1)) + 1 if ansatz.inputs else 1
    rows = rng.uniform(-np.pi, np.pi, (n_rows, len(ansatz.inputs)))
    singular = np.linalg.svd(np.vstack([jacobian(ansatz, row, theta) for row in rows]), compute_uv=False)
    return int((singular > RANK * singular[0]).sum())


def jacobian(ansatz: Ansatz, x: NDArray[Any], theta: NDArray[Any]) -> NDArray[np.float64]:
    """(R, P) derivatives of the probabilities of the qubits that are read, bit k of an outcome being `read[k]`.

    One pass forward: ψ ← Mψ, and for every weight ∂ψ ← M∂ψ + (∂M)ψ, so p = |ψ|² gives ∂p = 2·Re(ψ*·∂ψ).
    """
    circuit = ansatz.circuit
    values = dict(zip([*ansatz.inputs, *ansatz.weights], map(float, [*x, *theta]), strict=True))
    column = {weight: 1 + i for i, weight in enumerate(ansatz.weights)}
    n, width = circuit.num_qubits, 1 + len(column)  # column 0 is ψ
    states = np.zeros((2,) * n + (width,), dtype=np.complex128)  # axis n − 1 − q is qubit q
    states[(0,) * n][0] = 1
    for item in circuit.data:
        if item.operation.name == "barrier":
            continue
        axes = [n - 1 - circuit.find_bit(qubit).index for qubit in reversed(item.qubits)]
        matrix, slopes = _matrices(item.operation, values)
        moved = np.moveaxis(states, axes, range(len(axes)))
        flat = moved.reshape(len(matrix), -1, width)
        done = np.tensordot(matrix, flat, 1)
        for weight, slope in slopes.items():
            if weight in column:
                done[..., column[weight]] += slope @ flat[..., 0]
        states = np.moveaxis(done.reshape(moved.shape), range(len(axes)), axes)
    unread = tuple(n - 1 - q for q in range(n) if q not in ansatz.read)
    change = 2 * (states[..., :1].conj() * states[..., 1:]).real.sum(axis=unread, keepdims=True)
    order = [n - 1 - q for q in reversed(ansatz.read)]
    changed: NDArray[np.float64] = np.moveaxis(change, order, range(len(order))).reshape(-1, width - 1)
    return changed


def _matrices(operation: Any, values: dict[Parameter, float]) -> tuple[NDArray[Any], dict[Parameter, NDArray[Any]]]:
    """A gate's matrix, and its derivative by every parameter in it: Σ ∂M/∂φ·∂φ/∂parameter over its angles φ."""
    if not any(map(free, operation.params)):
        return np.asarray(operation.to_matrix()), {}
    at = np.array([_bound(value, values) for value in operation.params])
    slopes: dict[Parameter, NDArray[Any]] = {}
    for place, value in enumerate(operation.params):
        for parameter in free(value):
            step = STEP * (np.arange(len(at)) == place)
            change = (bound_matrix(operation, at + step) - bound_matrix(operation, at - step)) / (2 * STEP)
            slopes[parameter] = slopes.get(parameter, 0) + change * _bound(value.gradient(parameter), values)
    return bound_matrix(operation, at), slopes


def _bound(value: Any, values: dict[Parameter, float]) -> float:
    return float(value.bind({p: values[p] for p in free(value)}) if free(value) else value)
