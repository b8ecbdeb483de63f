"""Density matrices through gates and noise, a batch at once, in Pauli coordinates.

A state of n qubits is its 4^n values r_P = Tr(P·ρ), P ∈ {I, X, Y, Z}^⊗n, real, qubit 0 the lowest digit. A channel E on
k qubits is one real matrix, R_PQ = Tr(P·E(Q)) / 2^k, so a gate and the noise after it are one product, and

    p(b) = 2^−n · Σ_{P ∈ {I, Z}^⊗n} (−1)^{b·P} r_P.

B rows, n qubits; 8·4^n bytes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantum.angles import evaluator, free
from quantum.executor import Floats, fits
from quantum.gates import ROTATIONS, bound_matrix, kron

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction, Parameter

Noise = Callable[
    [str, tuple[int, ...]], "Floats | None"
]  # a gate's name and qubits → R of what follows it, if anything
Step = tuple[Callable[[Floats], Floats], tuple[int, ...]]  # rows → R, of all rows or one a row; and on which qubits

CHUNK_BYTES = 64 * 2**20  # of the states that are worked on together
PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


class Channel:
    """A circuit with its noise, compiled once: rows → probabilities of `measured` qubits, the first the lowest bit."""

    def __init__(self, circuit: QuantumCircuit, noise: Noise, measured: Sequence[int]) -> None:
        self.n_qubits, self.measured = circuit.num_qubits, measured
        parameters = list(circuit.parameters)
        self.steps: list[Step] = []
        for item in circuit.data:
            if item.operation.name != "barrier":
                qubits = tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
                fits(2 * 16 * 16 ** len(qubits), f"noise on gates of {len(qubits)} qubits")
                self.steps.append((_step(item, parameters, noise(item.operation.name, qubits)), qubits))

    def run(self, rows_BP: Floats) -> Floats:
        """(B, 2^measured)"""
        size = max(1, CHUNK_BYTES // (8 * 4**self.n_qubits))
        return np.concatenate([self._chunk(rows_BP[i : i + size]) for i in range(0, len(rows_BP), size)])

    def _chunk(self, rows_BP: Floats) -> Floats:
        """Matrices on single qubits wait, and join the next on more; those that wait to the end are applied then."""
        state = np.zeros((len(rows_BP), 4**self.n_qubits))
        state[:, digits(range(self.n_qubits))] = 1  # |0…0⟩: every product of I and Z has the value 1
        waiting: dict[int, Floats] = {}
        for matrix_of, qubits in self.steps:
            matrix = matrix_of(rows_BP)
            if len(qubits) == 1:
                waiting[qubits[0]] = matrix @ waiting.get(qubits[0], np.eye(4))
            else:
                before = reduce(kron, (waiting.pop(qubit, np.eye(4)) for qubit in qubits))
                state = applied(state, matrix @ before, qubits)
        for qubit, matrix in waiting.items():
            state = applied(state, matrix, (qubit,))
        return spectrum(state[:, digits(self.measured)])


def transfer(unitary: NDArray[Any]) -> Floats:
    """R_PQ = Tr(P·U·Q·U†) / 2^k of U (…, 2^k, 2^k)."""
    size = unitary.shape[-1]
    paulis = strings(size.bit_length() - 1)
    images = unitary[..., None, :, :] @ paulis @ unitary.conj().swapaxes(-1, -2)[..., None, :, :]  # U·Q·U†
    flat = images.reshape(*images.shape[:-2], size * size)
    values: Floats = (paulis.conj().reshape(-1, size * size) @ flat.swapaxes(-1, -2)).real / size  # Tr(P·A) = Σ P̄∘A
    return values


def depolarizing_transfer(p: float, k: int) -> Floats:
    """ρ → (1−p)·ρ + p·Tr_k(ρ)⊗I/2^k: every Pauli string but the identity shrinks by 1−p."""
    shrunk: Floats = np.diag([1.0] + [1 - p] * (4**k - 1))
    return shrunk


def applied(state: Floats, matrix: Floats, qubits: tuple[int, ...]) -> Floats:
    """R, one for all rows (4^k, 4^k) or one a row, on the named qubits; the first named is its lowest digit."""
    n_rows, n_qubits, k = len(state), (state.shape[1].bit_length() - 1) // 2, len(qubits)
    shape = (n_rows,) + (4,) * n_qubits  # axis n − q is qubit q
    named = [n_qubits - qubit for qubit in reversed(qubits)]
    ends = list(range(n_qubits + 1 - k, n_qubits + 1))
    moved = np.moveaxis(state.reshape(shape), named, ends).reshape(n_rows, -1, 4**k)
    done = moved @ matrix.swapaxes(-1, -2)
    back: Floats = np.moveaxis(done.reshape(shape), ends, named).reshape(state.shape)
    return back


def digits(qubits: Sequence[int]) -> NDArray[np.int64]:
    """(2^k,) where the products of I and Z on these qubits stand; bit i of the place is a Z on qubits[i]."""
    places = np.zeros(1, dtype=np.int64)
    for qubit in qubits:
        places = np.concatenate([places, places + 3 * 4**qubit])
    return places


def spectrum(values: Floats) -> Floats:
    """2^−k · Σ_z (−1)^{b·z} v_z of (B, 2^k), by the fast Walsh-Hadamard transform."""
    n_rows, size = values.shape
    for bit in range(size.bit_length() - 1):
        pairs = values.reshape(n_rows, -1, 2, 2**bit)
        values = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
    spread: Floats = values.reshape(n_rows, size) / size
    return spread


@cache
def strings(k: int) -> NDArray[Any]:
    """(4^k, 2^k, 2^k) all Pauli strings on k qubits."""
    found = np.ones((1, 1, 1))
    for _ in range(k):
        found = np.array([np.kron(pauli, string) for pauli in PAULIS for string in found])
    return found


def _step(
    item: CircuitInstruction, parameters: Sequence[Parameter], after: Floats | None
) -> Callable[[Floats], Floats]:
    """Rows → R of a gate and of what follows it."""
    operation = item.operation
    if not any(map(free, operation.params)):
        fixed = transfer(np.asarray(operation.to_matrix()))
        fixed = fixed if after is None else after @ fixed
        return lambda rows: fixed
    angles = evaluator(operation.params, parameters)

    def step(rows: Floats) -> Floats:
        values = angles(rows)
        values = values[0] if (values == values[0]).all() else values  # one matrix serves all rows
        if operation.name in ROTATIONS:
            unitary = ROTATIONS[operation.name](values[..., 0])
        else:
            flat = [bound_matrix(operation, row) for row in values.reshape(-1, values.shape[-1])]
            unitary = np.array(flat).reshape(*values.shape[:-1], *flat[0].shape)
        matrix = transfer(unitary)
        return matrix if after is None else after @ matrix

    return step
