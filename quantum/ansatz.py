"""A circuit that knows which of its parameters are a row's features, which are learned, and which qubits are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantum.angles import free
from quantum.gates import bound_matrix
from recipes.section import RecipeError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction, Parameter


class AnsatzError(RecipeError):
    """A circuit that cannot be a student: one line that names the parameter, the gate or the qubit."""


@dataclass(frozen=True)
class Ansatz:
    """U(x, θ)|0…0⟩ = L(x, θ) E(x)|0…0⟩: an encoding E, then learned gates L, which may read x again; no measurement.

    `inputs` and `weights` are in the order of a row of features and of the angles that travel.
    """

    circuit: QuantumCircuit
    inputs: tuple[Parameter, ...]
    weights: tuple[Parameter, ...]
    readout: tuple[int, ...] = ()  # the qubits that are read, in this order; () is every qubit

    def __post_init__(self) -> None:
        self._check_parameters()
        self._check_readout()
        for gate in self.circuit.data:
            if gate.clbits or gate.operation.name in ("measure", "reset", "initialize"):
                raise AnsatzError(f"the circuit holds {gate.operation.name}; an ansatz ends before it is measured")
            if self._uses(gate, self.inputs) and self._uses(gate, self.weights):
                raise AnsatzError(f"{gate.operation.name} mixes an input with a weight; use two gates")

    @property
    def read(self) -> tuple[int, ...]:
        """The qubits that are read, by number."""
        return self.readout or tuple(range(self.circuit.num_qubits))

    def rows(self, x_BN: NDArray[Any], thetas_EP: NDArray[Any]) -> NDArray[np.float64]:
        """(E·B, N + P) every row under every set of weights, columns in the order of `circuit.parameters`."""
        rows = np.hstack([np.tile(x_BN, (len(thetas_EP), 1)), np.repeat(thetas_EP, len(x_BN), axis=0)])
        column = {parameter: i for i, parameter in enumerate((*self.inputs, *self.weights))}
        return np.asarray(rows[:, [column[p] for p in self.circuit.parameters]], dtype=np.float64)

    @property
    def encoding(self) -> list[CircuitInstruction]:
        """E: the gates before the first that depends on a weight, the same for a whole fit."""
        return list(self.circuit.data[: self._split])

    @property
    def learned(self) -> list[CircuitInstruction]:
        """L: the gates from the first that depends on a weight; the same for every row unless it `reuploads`."""
        return list(self.circuit.data[self._split :])

    @property
    def reuploads(self) -> bool:
        """Whether a gate after the first weight depends on an input."""
        return any(self._uses(gate, self.inputs) for gate in self.learned)

    @cached_property
    def periods(self) -> tuple[float, ...]:
        """How far a weight turns until all probabilities repeat: 2π, or 4π where half its angle is a relative phase."""
        gates: dict[Parameter, list[float]] = {weight: [] for weight in self.weights}
        for gate in self.learned:
            for place, value in enumerate(gate.operation.params):
                for weight in free(value) & gates.keys():
                    gates[weight].append(_period(gate.operation, place, weight))
        return tuple(max(gates[weight]) for weight in self.weights)

    @property
    def _split(self) -> int:
        weighted = (i for i, gate in enumerate(self.circuit.data) if self._uses(gate, self.weights))
        return next(weighted, len(self.circuit.data))

    @staticmethod
    def _uses(gate: CircuitInstruction, parameters: tuple[Parameter, ...]) -> bool:
        return any(not free(value).isdisjoint(parameters) for value in gate.operation.params if free(value))

    def _check_parameters(self) -> None:
        declared = [*self.inputs, *self.weights]
        twice = sorted(p.name for p, times in Counter(declared).items() if times > 1)
        if twice:
            raise AnsatzError(f"{', '.join(twice)} declared twice; a parameter is one input or one weight")
        used = set(self.circuit.parameters)
        unknown = sorted(p.name for p in used.difference(declared))
        if unknown:
            raise AnsatzError(f"{', '.join(unknown)} in the circuit is neither an input nor a weight")
        absent = [p.name for p in declared if p not in used]
        if absent:
            raise AnsatzError(f"{', '.join(absent)} is declared but no gate of the circuit uses it")

    def _check_readout(self) -> None:
        twice = sorted(qubit for qubit, times in Counter(self.readout).items() if times > 1)
        if twice:
            raise AnsatzError(f"qubit {twice[0]} is read twice; read-outs that coincide cannot tell classes apart")
        strange = [qubit for qubit in self.readout if qubit not in range(self.circuit.num_qubits)]
        if strange:
            raise AnsatzError(f"qubit {strange[0]} is read; the circuit has qubits 0 to {self.circuit.num_qubits - 1}")


def _period(operation: Any, place: int, weight: Parameter) -> float:
    """2π when that turns the gate's matrix M into M, −M or any e^{ia}·M, else 4π; both hold for whole multiples."""
    slope = operation.params[place].gradient(weight)
    if free(slope) or float(slope) % 1:
        raise AnsatzError(
            f"{operation.name}({operation.params[place]}) has no period; use a whole multiple of one weight"
        )
    at = np.linspace(0.3, 0.7, len(operation.params))  # any generic point
    before = bound_matrix(operation, at)
    for turns in (1, 2):
        after = bound_matrix(operation, at + 2 * pi * turns * (np.arange(len(at)) == place))
        if np.isclose(abs(np.vdot(before, after)), len(before)):
            return 2 * pi * turns
    raise AnsatzError(f"{operation.name} does not repeat after 4π of its angle {place}; use a standard gate")
