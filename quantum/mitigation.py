"""Read-out errors that strike every qubit on its own, and how to undo them.

M_q[j, i] is the probability to read j on qubit q where the state holds i; of all qubits M = ⊗_q M_q.
"""

from __future__ import annotations

import numpy as np

from quantum.executor import Floats


def confused(probs_BD: Floats, confusion_Q22: Floats) -> Floats:
    """M·p for every row."""
    for qubit, matrix in enumerate(confusion_Q22):
        halves = probs_BD.reshape(len(probs_BD), -1, 2, 2**qubit)
        probs_BD = (matrix @ halves).reshape(probs_BD.shape)
    return probs_BD


def mitigated(frequencies_BD: Floats, confusion_Q22: Floats) -> Floats:
    """The probabilities nearest to M⁻¹·f: of the least-squares estimate, what negative entries shift is taken back."""
    inverse = np.linalg.inv(confusion_Q22).astype(np.float64)
    return nearest_probabilities(confused(frequencies_BD, inverse))


def misread(z_BQ: Floats, confusion_Q22: Floats) -> Floats:
    """⟨Z⟩ of every qubit as it is read: a straight line of ⟨Z⟩."""
    middle, slope = line(confusion_Q22)
    return middle + slope * z_BQ


def corrected(z_BQ: Floats, confusion_Q22: Floats) -> Floats:
    """The inverse of `misread`, within −1 and 1."""
    middle, slope = line(confusion_Q22)
    return np.clip((z_BQ - middle) / slope, -1, 1)


def line(confusion_Q22: Floats) -> tuple[Floats, Floats]:
    """M⟨Z⟩ where nothing is known of a qubit, and how fast it rises: halves of sum and difference of both states'."""
    zero, one = (confusion_Q22[:, 0, held] - confusion_Q22[:, 1, held] for held in (0, 1))
    return (zero + one) / 2, (zero - one) / 2


def nearest_probabilities(values_BD: Floats) -> Floats:
    """argmin_p ‖p − v‖₂ over p ≥ 0, Σp = 1: p = max(v − τ, 0) (Held, Wolfe and Crowder 1974)."""
    falling = -np.sort(-values_BD, axis=1)
    excess = (np.cumsum(falling, axis=1) - 1) / np.arange(1, falling.shape[1] + 1)
    kept = (falling > excess).sum(axis=1)
    tau = np.take_along_axis(excess, kept[:, None] - 1, axis=1)
    nearest: Floats = np.maximum(values_BD - tau, 0)
    return nearest
