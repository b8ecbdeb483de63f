"""From basis states to classes: outputs that are linear in a circuit's probabilities, then a link to classes.

Linear outputs are what shots estimate without bias and what a shift rule differentiates, so the link comes after them.
B rows, D = 2^n basis states, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.section import RecipeError

Floats = NDArray[np.float64]

SHARPNESS = 3.0  # of softmax: with two classes, p stays between 0.0025 and 0.9975
SMALLEST = 1e-12  # a probability below it costs as much in the loss


@dataclass(frozen=True)
class Readout:
    """Outputs o = p·R of basis-state probabilities p, and class probabilities: o itself, or softmax(o)."""

    matrix: Floats  # (D, K)
    softmax: bool = False

    def classes(self, outputs_BK: Floats, shots: int | None = None) -> Floats:
        """(…, K) class probabilities.

        Of a frequency o in N shots, (N·o + ½)/(N + K/2): a class that no shot saw is unlikely, not impossible (the mean
        under Jeffreys' prior).
        """
        if self.softmax:
            return softmax(outputs_BK)
        if shots is None:
            return outputs_BK
        seen: Floats = (shots * outputs_BK + 0.5) / (shots + outputs_BK.shape[-1] / 2)
        return seen

    def slope(self, outputs_BK: Floats, slope_BK: Floats, shots: int | None = None) -> Floats:
        """(B, K) dL/do out of dL/d ln p."""
        p_BK = self.classes(outputs_BK, shots)
        if self.softmax:
            return np.asarray(slope_BK - p_BK * slope_BK.sum(axis=1, keepdims=True))
        gain = 1.0 if shots is None else shots / (shots + p_BK.shape[1] / 2)
        return np.asarray(gain * slope_BK / np.maximum(p_BK, SMALLEST))


def readout(kind: str, n_qubits: int, read: Sequence[int], n_classes: int) -> Readout:
    """The read-out a recipe names, over the qubits that are read."""
    return READOUTS[kind](n_qubits, read, n_classes)


def parity(n_qubits: int, read: Sequence[int], n_classes: int) -> Readout:
    """p(c) = Σ_b p(b) over the b whose read bits hold c ones, modulo K.

    A departure from qiskit-machine-learning, whose "parity" is the last bit alone, that is qubit 0.
    """
    if n_classes > len(read) + 1:
        raise RecipeError(
            f"{len(read)} qubits count 0 to {len(read)} ones, so parity reads at most {len(read) + 1} classes, "
            f"not {n_classes}; use at least {n_classes - 1} qubits (student.qubits)"
        )
    ones_D = sum(bit(n_qubits, qubit) for qubit in read)
    return Readout(np.eye(n_classes)[ones_D % n_classes])


def turns(n_qubits: int, read: Sequence[int], n_classes: int) -> Readout:
    """p = softmax(s·z), z_c the mean ⟨Z⟩ of the read qubits that are dealt to class c in turn.

    Where K qubits are read, as of a qcnn, each speaks for one class; where more are, none is left unread.
    """
    if n_classes > len(read):
        raise RecipeError(
            f"softmax needs a qubit a class, and {len(read)} qubits are read for {n_classes} classes; "
            f"use at least {n_classes} qubits (student.qubits) or student.readout parity"
        )
    signs_QD = np.array([1 - 2.0 * bit(n_qubits, qubit) for qubit in read])
    return Readout(
        SHARPNESS * np.stack([signs_QD[c::n_classes].mean(axis=0) for c in range(n_classes)], 1), softmax=True
    )


def bit(n_qubits: int, qubit: int) -> NDArray[np.int64]:
    """(D,) the value of one qubit in every basis state."""
    return np.arange(2**n_qubits) >> qubit & 1


def softmax(logits_BK: Floats) -> Floats:
    """e^l / Σ e^l along the last axis."""
    odds = np.exp(logits_BK - logits_BK.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


READOUTS = {"parity": parity, "softmax": turns}
