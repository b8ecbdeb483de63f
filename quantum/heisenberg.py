"""⟨Z⟩ of a noisy circuit for many rows that differ in its first rotations only: Z goes back through the noise, once.

    ⟨Z_q⟩ = Tr(Z_q·E(ρ_x)) = Tr(E†(Z_q)·ρ_x),

E all that is the same for every row, ρ_x a product of single qubits. In Pauli coordinates (quantum/density.py) E† of a
channel R is Rᵀ, and it leaves the identity alone: an observable meets no gate outside the qubits that it has reached.
A density matrix costs 4^n numbers a gate and row; this costs at most as many a gate and read-out, whatever the rows.
B rows, n qubits, Q read-outs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from quantum.density import Channel
from quantum.executor import Floats
from quantum.gates import kron

Singles = NDArray[np.float32]
Gate = tuple[Floats, tuple[int, ...]]  # R of gates and noise that are the same for every row, and on which qubits

ZERO = np.array([1.0, 0.0, 0.0, 1.0])  # |0⟩: the values of I, X, Y and Z


class RowsDifferError(ValueError):
    """Rows differ in a gate that follows one on two qubits, so no part of the circuit is common to all of them."""


def z_values(channel: Channel, rows_BP: Floats) -> Floats:
    """(B, Q) ⟨Z⟩ of the measured qubits, in single precision."""
    fronts, gates = divided(channel, rows_BP)
    return np.stack([value(*back(gates, qubit), fronts) for qubit in channel.measured], axis=1)


def work(channel: Channel, rows_BP: Floats) -> float:
    """How many numbers `z_values` moves, roughly: those of the observables at every gate that they meet."""
    _, gates = divided(channel, rows_BP[:1])
    return sum(4.0 ** len(reached) for qubit in channel.measured for reached in spreads(gates, qubit))


def divided(channel: Channel, rows_BP: Floats) -> tuple[dict[int, Floats], list[Gate]]:
    """(B, 4) of every qubit before its first gate on two, and all gates from there on, those on one qubit merged."""
    fronts = {qubit: np.tile(ZERO, (len(rows_BP), 1)) for qubit in range(channel.n_qubits)}
    gates: list[Gate] = []
    waiting: dict[int, Floats] = {}
    met: set[int] = set()
    for matrix_of, qubits in channel.steps:
        matrix = matrix_of(rows_BP)
        if len(qubits) == 1 and qubits[0] not in met:
            (qubit,) = qubits
            fronts[qubit] = (matrix @ fronts[qubit][..., None])[..., 0]
            continue
        if matrix.ndim > 2:
            raise RowsDifferError(f"rows differ in a gate on qubits {qubits} that follows one on two qubits")
        if len(qubits) == 1:
            waiting[qubits[0]] = matrix @ waiting.get(qubits[0], np.eye(4))
        else:
            met |= set(qubits)
            gates.append((matrix @ reduce(kron, (waiting.pop(qubit, np.eye(4)) for qubit in qubits)), qubits))
    return fronts, gates + [(matrix, (qubit,)) for qubit, matrix in waiting.items()]


def spreads(gates: Sequence[Gate], qubit: int) -> Iterator[set[int]]:
    """The qubits that Z of one has reached, after each gate that it meets on its way back."""
    reached = {qubit}
    for _, qubits in reversed(gates):
        if reached & set(qubits):
            reached |= set(qubits)
            yield reached


def back(gates: Sequence[Gate], qubit: int) -> tuple[Singles, list[int]]:
    """E†(Z) of a qubit: its coordinates, an axis for each qubit that it has reached, and these qubits."""
    held, reached = np.array([0, 0, 0, 1], np.float32), [qubit]
    for matrix, qubits in reversed(gates):
        if not set(qubits) & set(reached):
            continue
        for new in set(qubits) - set(reached):  # the identity, so far
            wider = np.zeros((*held.shape, 4), np.float32)
            wider[..., 0] = held
            held, reached = wider, [*reached, new]
        named = [reached.index(one) for one in reversed(qubits)]  # the first named is the lowest digit
        k = len(qubits)
        moved = np.moveaxis(held, named, range(-k, 0)).reshape(-1, 4**k)
        reached = [one for one in reached if one not in qubits] + list(reversed(qubits))
        held = (moved @ matrix.astype(np.float32)).reshape((4,) * len(reached))  # Rᵀ·o, with o a row
    return held, reached


def value(held: Singles, reached: list[int], fronts: dict[int, Floats]) -> Floats:
    """(B,) Σ_P o_P·r_P, r a product over qubits: two halves of them at a time."""
    half = len(reached) // 2
    first, second = (products([fronts[qubit] for qubit in part]) for part in (reached[:half], reached[half:]))
    found: Floats = ((first @ held.reshape(4**half, -1)) * second).sum(1, dtype=np.float64)
    return found


def products(parts: list[Floats]) -> Singles:
    """(B, 4^m), the first part the highest digit; of no part, ones."""
    found = np.ones((1, 1))
    for part in parts:
        found = (found[:, :, None] * part[:, None, :]).reshape(len(part), -1)
    return found.astype(np.float32)
