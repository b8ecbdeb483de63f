"""One door to whatever runs circuits: an executor is named in one word, and one call runs one batch.

    with closing(executor("noisy:manila", shots=1024, seed=visit_seed(seed, client, round))) as run:
        probs_BD = run.probabilities(circuit, rows_BP)

Bit order is Qiskit's: qubit 0 is the lowest bit of a basis state's number. B rows, P parameters, D = 2^n basis states,
O observables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from recipes.executor import split_executor
from recipes.section import RecipeError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp

    from quantum.ibm import Site

Floats = NDArray[np.float64]
Run = Callable[["QuantumCircuit", Floats], Floats]  # a circuit without measurements, rows that fit it → (B, D)

MOST_BYTES = 4 * 2**30  # that one call may need


class Executor(Protocol):
    """Runs one circuit over a batch of rows; the only door to a simulator or a QPU."""

    name: str  # as the recipe names it
    shots: int | None  # a row; None when exact

    def probabilities(self, circuit: QuantumCircuit, rows_BP: NDArray[Any]) -> Floats:
        """(B, D) probabilities, or frequencies of `shots`; columns are in the order of `circuit.parameters`."""
        ...

    def expectations(
        self, circuit: QuantumCircuit, observables: Sequence[SparsePauliOp], rows_BP: NDArray[Any]
    ) -> Floats:
        """(B, O) expectation values; each basis that the observables need costs `shots` a row."""
        ...

    def close(self) -> None:
        """Give back what it holds: a session, a connection."""
        ...


def executor(spec: str, *, shots: int, seed: int, mitigate: bool = False, site: Site | None = None) -> Executor:
    """The executor a recipe names; equal seeds give equal counts. `mitigate` undoes read-out errors.

    A site says whose jobs these are; `ibm:` needs one, because its jobs are paid for.
    """
    kind, argument = split_executor(spec)
    return EXECUTORS[kind](argument, shots, seed, mitigate, site)


def visit_seed(seed: int, client: int, round_: int) -> int:
    """The seed of one visit's executor: no two visits share their shots, and a repeated one draws the same again."""
    return int(stream(seed, "visit", client, round_).integers(2**63))


class CheckedExecutor:
    """Every executor we have: input is checked before `run` sees it, and expectations come from its probabilities."""

    def __init__(self, name: str, shots: int | None, run: Run, close: Callable[[], None] = lambda: None) -> None:
        self.name, self.shots, self._run, self.close = name, shots, run, close

    def probabilities(self, circuit: QuantumCircuit, rows_BP: NDArray[Any]) -> Floats:
        """(B, D)"""
        return self._run(circuit, checked(circuit, rows_BP))

    def expectations(
        self, circuit: QuantumCircuit, observables: Sequence[SparsePauliOp], rows_BP: NDArray[Any]
    ) -> Floats:
        """⟨O⟩ = Σ_P c_P ⟨P⟩; strings that agree qubit by qubit are read from the same shots, in a rotated basis."""
        from qiskit.quantum_info import PauliList

        rows = checked(circuit, rows_BP)
        if not observables:
            raise ValueError("no observables, so there is nothing to expect")
        labels = sorted({label for o in observables for label in hermitian(o, circuit).paulis.to_labels()})
        values: dict[str, Floats] = {}  # of a Pauli string, in every row
        for group in PauliList(labels).group_qubit_wise_commuting():
            probs_BD = self._run(rotated(circuit, group.to_labels()), rows)
            values |= {label: probs_BD @ signs(label) for label in group.to_labels()}
        sums = [
            sum(c.real * values[label] for label, c in zip(o.paulis.to_labels(), o.coeffs, strict=True))
            for o in observables
        ]
        return np.stack(sums, axis=1)


def exact(circuit: QuantumCircuit, rows_BP: Floats) -> Floats:
    """|⟨b|U(row)|0…0⟩|², by the exact engine."""
    from quantum.statevector import probabilities

    return probabilities(circuit, rows_BP)


def drawn(known: Run, shots: int, seed: int) -> Run:
    """Shots of probabilities that are known: frequencies ~ multinomial(shots, p) / shots, row by row."""
    draws = stream(seed, "shots")
    return lambda circuit, rows_BP: sampled(draws, known(circuit, rows_BP), shots)


def sampled(draws: np.random.Generator, probs_BD: Floats, shots: int) -> Floats:
    """Frequencies of `shots` draws a row."""
    probs = np.maximum(np.asarray(probs_BD, dtype=np.float64), 0)
    frequencies: Floats = draws.multinomial(shots, probs / probs.sum(axis=1, keepdims=True)) / shots
    return frequencies


def checked(circuit: QuantumCircuit, rows_BP: NDArray[Any]) -> Floats:
    """Rows as numbers, once they and the circuit can be run."""
    for item in circuit.data:
        name = item.operation.name
        if name != "barrier" and (item.clbits or not hasattr(item.operation, "to_matrix")):
            raise ValueError(f"the circuit holds {name}; an executor runs gates and measures every qubit at the end")
    rows = np.asarray(rows_BP, dtype=np.float64)
    names = [parameter.name for parameter in circuit.parameters]
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(
            f"rows have shape {rows.shape}; the circuit needs (rows, {len(names)}), "
            f"a column for each of {', '.join(names) or 'no parameters'}"
        )
    if not len(rows):
        raise ValueError("no rows, so the circuit has nothing to run")
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(f"row {row} gives {names[column]} the value {rows[row, column]}; an angle must be finite")
    fits(2 * 8 * len(rows) * 2**circuit.num_qubits, f"{len(rows)} rows of {circuit.num_qubits} qubits")
    return rows


def fits(needed: int, what: str) -> None:
    """Refuses what needs more memory than one call may have."""
    if needed > MOST_BYTES:
        raise RecipeError(
            f"{what} need {needed / 2**30:.1f} GiB, above {MOST_BYTES / 2**30:g} GiB; lower student.qubits or data.rows"
        )


def hermitian(observable: SparsePauliOp, circuit: QuantumCircuit) -> SparsePauliOp:
    """The observable, once its values are real and its qubits are the circuit's."""
    if observable.num_qubits != circuit.num_qubits:
        raise ValueError(
            f"an observable of {observable.num_qubits} qubits on a circuit of {circuit.num_qubits}; both must agree"
        )
    if np.iscomplex(observable.coeffs).any():
        raise ValueError("an observable has a complex coefficient; one that can be measured has real ones")
    return observable


def rotated(circuit: QuantumCircuit, labels: list[str]) -> QuantumCircuit:
    """The circuit, then H for X and S†H for Y, so that the Pauli strings are read in the computational basis."""
    turned = circuit.copy()
    for qubit in range(circuit.num_qubits):
        letters = {label[-1 - qubit] for label in labels} - {"I", "Z"}
        if "Y" in letters:
            turned.sdg(qubit)
        if letters:
            turned.h(qubit)
    return turned


def signs(label: str) -> Floats:
    """(D,) ±1, the parity of the bits that the Pauli string reads."""
    mask = sum(1 << qubit for qubit, letter in enumerate(reversed(label)) if letter != "I")
    return np.array([1.0 - 2 * ((b & mask).bit_count() % 2) for b in range(2 ** len(label))])


def _exact(argument: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> Executor:
    return CheckedExecutor("exact", None, exact)


def _shots(argument: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> Executor:
    return CheckedExecutor("shots", shots, drawn(exact, shots, seed))


def _aer(argument: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> Executor:
    from quantum.backends import aer

    return aer(shots, seed)


def _noisy(argument: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> Executor:
    from quantum.backends import noisy

    return noisy(argument, shots, seed, mitigate)


def _depolarizing(argument: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> Executor:
    from quantum.backends import depolarizing

    return depolarizing(float(argument), shots, seed)


def _ibm(argument: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> Executor:
    from quantum.ibm import on_qpu

    return on_qpu(argument, shots, seed, mitigate, site)


def _ibm_local(argument: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> Executor:
    from quantum.ibm import on_fake

    return on_fake(argument, shots, seed, mitigate, site)


EXECUTORS: dict[str, Callable[[str, int, int, bool, Site | None], Executor]] = {
    "exact": _exact,
    "shots": _shots,
    "aer": _aer,
    "noisy": _noisy,
    "depolarizing": _depolarizing,
    "ibm": _ibm,
    "ibm-local": _ibm_local,
}
