"""From probabilities of basis states to classes, and from classes to a loss in nats."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.schema import RecipeError


def parity(n_qubits: int, n_classes: int) -> NDArray[np.float64]:
    """(2^n, K) read-out, R[b, c] = 1 if popcount(b) mod K is c: p(c) = Σ_b p(b)·R[b, c].

    A departure from qiskit-machine-learning, whose "parity" is the last bit alone, that is qubit 0.
    """
    if n_classes > n_qubits + 1:
        raise RecipeError(
            f"{n_qubits} qubits count 0 to {n_qubits} ones, so parity reads at most {n_qubits + 1} classes, "
            f"not {n_classes}; use at least {n_classes - 1} qubits (student.qubits)"
        )
    ones = np.array([b.bit_count() for b in range(2**n_qubits)])
    readout: NDArray[np.float64] = np.eye(n_classes)[ones % n_classes]
    return readout


def cross_entropy(probs_BK: NDArray[Any], labels: NDArray[Any]) -> float:
    """−1/B · Σ ln p(label), natural logarithm, probabilities clipped at 1e-12."""
    chosen = probs_BK[np.arange(len(labels)), labels]
    return -float(np.log(np.maximum(chosen, 1e-12)).mean())
