"""The exact engine: every row of a batch through one circuit, in NumPy, in float64 and complex128.

Bit order is Qiskit's: qubit 0 is the lowest bit of a basis state's number. A compiled circuit is a list of steps of
three kinds, each right for any number of rows:

- a gather: neighbouring X, CX, SWAP … are one permutation of the basis states;
- a bank: equal rotations on neighbouring qubits, multiplied out to one matrix of at most 16×16;
- a gate: any other matrix that Qiskit can name, on its own qubits.

A matrix is made once where no parameter differs between rows, and numbers stay real until a complex one comes.
B rows, P parameters, D = 2^n basis states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantum.angles import Values, evaluator, free
from quantum.gates import ROTATIONS, bound_matrix, kron, slim
from recipes.section import RecipeError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction, Parameter

    from quantum.ansatz import Ansatz

States = NDArray[Any]
Step = Callable[[States, Values], States]

MOST_BYTES = 4 * 2**30  # for the states of a batch and one working copy
WIDEST_BANK = 4  # qubits


def probabilities(circuit: QuantumCircuit, rows_BP: NDArray[Any]) -> NDArray[np.float64]:
    """(B, D) exact probabilities; the columns of `rows_BP` are in the order of `circuit.parameters`."""
    rows = np.asarray(rows_BP, dtype=np.float64)
    parameters = list(circuit.parameters)
    if rows.ndim != 2 or rows.shape[1] != len(parameters):
        raise ValueError(
            f"rows have shape {rows.shape}; the circuit needs (rows, {len(parameters)}), a column a parameter"
        )
    if not len(rows):
        raise ValueError("no rows, so the circuit has nothing to run")
    zero = _zeros(len(rows), circuit.num_qubits)
    return _squared(_run(_compile(circuit.data, circuit, parameters), zero, rows))


class Encoded(NamedTuple):
    """Rows between encoding and learned gates: states (B, D), and rows (B, N) for gates that read them again."""

    states: States
    rows: Values


class Compiled:
    """An ansatz ready for training: rows are encoded once a fit, then every evaluation applies the weights to them."""

    def __init__(self, ansatz: Ansatz) -> None:
        self.n_qubits = ansatz.circuit.num_qubits
        self._encoding = _compile(ansatz.encoding, ansatz.circuit, ansatz.inputs)
        self._reuploads = ansatz.reuploads
        known = ansatz.weights + ansatz.inputs if self._reuploads else ansatz.weights
        self._learned = _compile(ansatz.learned, ansatz.circuit, known)

    def encode(self, x_BN: NDArray[Any]) -> Encoded:
        """E(x)|0…0⟩ of every row; real when the encoding is."""
        rows = np.asarray(x_BN, dtype=np.float64)
        return Encoded(_run(self._encoding, _zeros(len(rows), self.n_qubits), rows), rows)

    def probabilities(self, encoded: Encoded, theta: NDArray[Any]) -> NDArray[np.float64]:
        """(B, D) probabilities |L(x, θ)·state|².

        An L that is the same for every row is made whole, from its action on the basis, when that is the smaller batch.
        """
        states_BD, x_BN = encoded
        theta = np.asarray(theta, dtype=np.float64)
        if self._reuploads:
            return _squared(_run(self._learned, states_BD, np.hstack([np.tile(theta, (len(x_BN), 1)), x_BN])))
        if len(states_BD) <= states_BD.shape[1]:
            return _squared(_run(self._learned, states_BD, theta))
        transposed = _run(self._learned, np.eye(states_BD.shape[1]), theta)  # row b is L|b⟩
        return _squared(states_BD @ transposed)


def _run(steps: list[Step], states: States, rows: Values) -> States:
    for step in steps:
        states = step(states, rows)
    return states


def _squared(states: States) -> NDArray[np.float64]:
    return states.real**2 + states.imag**2 if np.iscomplexobj(states) else states**2


def _zeros(n_rows: int, n_qubits: int) -> States:
    """|0…0⟩ for every row."""
    needed = 2 * 16 * n_rows * 2**n_qubits
    if needed > MOST_BYTES:
        raise RecipeError(
            f"{n_rows} rows of {n_qubits} qubits need {needed / 2**30:.1f} GiB as exact states, "
            f"above {MOST_BYTES / 2**30:g} GiB; lower student.qubits or data.rows"
        )
    states = np.zeros((n_rows, 2**n_qubits))
    states[:, 0] = 1
    return states


# --- from gates to steps -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gate:
    operation: Any
    qubits: tuple[int, ...]
    fixed: bool  # no parameter of the circuit in it


def _compile(
    data: Sequence[CircuitInstruction], circuit: QuantumCircuit, parameters: Sequence[Parameter]
) -> list[Step]:
    """Steps that do what the gates do, neighbouring gates joined where a joint step exists."""
    gates = [_read(item, circuit) for item in data if item.operation.name != "barrier"]
    steps: list[Step] = []
    while gates:
        step, taken = _gather(gates, circuit.num_qubits) or _bank(gates, parameters) or _single(gates[0], parameters)
        steps.append(step)
        gates = gates[taken:]
    return steps


def _read(item: CircuitInstruction, circuit: QuantumCircuit) -> _Gate:
    operation = item.operation
    if item.clbits or not hasattr(operation, "to_matrix"):
        raise ValueError(
            f"{operation.name} is not a gate: the exact engine runs gates alone, without measurement or reset"
        )
    qubits = tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
    return _Gate(operation, qubits, fixed=not any(map(free, operation.params)))


def _gather(gates: list[_Gate], n_qubits: int) -> tuple[Step, int] | None:
    """As many permutations of basis states as come first, as one: amplitude b comes from state source[b]."""
    source, taken = np.arange(2**n_qubits), 0
    for gate in gates:
        if not gate.fixed or not _permutes(matrix := gate.operation.to_matrix()):
            break
        source = source[_apply(np.arange(2.0**n_qubits)[None], matrix.real, gate.qubits)[0].astype(int)]
        taken += 1
    return (lambda states, rows: states.take(source, axis=-1), taken) if taken else None


def _permutes(matrix: NDArray[Any]) -> bool:
    return bool(np.isin(matrix, (0, 1)).all() and (matrix.sum(axis=0) == 1).all())


def _bank(gates: list[_Gate], parameters: Sequence[Parameter]) -> tuple[Step, int] | None:
    """As many equal rotations on qubits q, q+1, … as come first, as one matrix R(φ_{q+k}) ⊗ … ⊗ R(φ_q)."""
    name, lowest = gates[0].operation.name, gates[0].qubits[0]
    if name not in ROTATIONS:
        return None
    expected = [(name, (lowest + k,)) for k in range(WIDEST_BANK)]
    found = [(gate.operation.name, gate.qubits) for gate in gates[:WIDEST_BANK]]
    taken = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(found, expected, strict=False)))
    rotation, qubits = ROTATIONS[name], tuple(range(lowest, lowest + taken))
    angles = evaluator([gate.operation.params[0] for gate in gates[:taken]], parameters)

    def bank(states: States, rows: Values) -> States:
        small = rotation(_shared(angles(rows)))  # (…, gates, 2, 2)
        return _apply(states, reduce(kron, (small[..., k, :, :] for k in range(taken))), qubits)

    return bank, taken


def _single(gate: _Gate, parameters: Sequence[Parameter]) -> tuple[Step, int]:
    """One gate alone, by Qiskit's own matrix."""
    if gate.fixed:
        matrix = slim(gate.operation.to_matrix())
        return (lambda states, rows: _apply(states, matrix, gate.qubits)), 1
    angles = evaluator(gate.operation.params, parameters)

    def single(states: States, rows: Values) -> States:
        values = _shared(angles(rows))
        flat = [bound_matrix(gate.operation, row) for row in values.reshape(-1, values.shape[-1])]
        return _apply(states, np.array(flat).reshape(*values.shape[:-1], *flat[0].shape), gate.qubits)

    return single, 1


def _shared(values: Values) -> Values:
    """(B, G) values as (G,) where no row differs: one matrix serves all rows."""
    return values[0] if values.ndim > 1 and len(values) and (values == values[0]).all() else values


def _apply(states_BD: States, matrix: NDArray[Any], qubits: tuple[int, ...]) -> States:
    """One matrix (2^k, 2^k), or one a row (B, 2^k, 2^k), on the named qubits; the first named is its lowest bit."""
    n_rows, size = states_BD.shape
    k, lowest = len(qubits), qubits[0]
    if qubits == tuple(range(lowest, lowest + k)):  # neighbours, in order: a view will do
        if lowest == 0:
            done: States = states_BD.reshape(n_rows, -1, 2**k) @ matrix.swapaxes(-1, -2)
        else:
            blocks = matrix[:, None] if matrix.ndim == 3 else matrix
            done = blocks @ states_BD.reshape(n_rows, -1, 2**k, 2**lowest)
        return done.reshape(n_rows, size)
    n_qubits = size.bit_length() - 1
    shape = (n_rows,) + (2,) * n_qubits  # axis n − q is qubit q
    named = [n_qubits - qubit for qubit in reversed(qubits)]
    ends = list(range(n_qubits + 1 - k, n_qubits + 1))
    moved = np.moveaxis(states_BD.reshape(shape), named, ends)
    done = moved.reshape(n_rows, -1, 2**k) @ matrix.swapaxes(-1, -2)
    back: States = np.moveaxis(done.reshape(shape), ends, named)
    return back.reshape(n_rows, size)
