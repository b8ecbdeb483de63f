"""A circuit that knows which of its parameters are a row's features and which are learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantum.angles import free
from recipes.schema import RecipeError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction, Parameter


class AnsatzError(RecipeError):
    """A circuit that cannot be a student: one line that names the parameter or the gate."""


@dataclass(frozen=True)
class Ansatz:
    """U(x, θ)|0…0⟩ = W(θ) F(x) |0…0⟩: a feature map F, then weights W; no measurement.

    `inputs` and `weights` are in the order of a row of features and of the angles that travel.
    """

    circuit: QuantumCircuit
    inputs: tuple[Parameter, ...]
    weights: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        declared = [*self.inputs, *self.weights]
        twice = sorted({p.name for p in declared if declared.count(p) > 1})
        if twice:
            raise AnsatzError(f"{', '.join(twice)} declared twice; a parameter is one input or one weight")
        unknown = sorted(p.name for p in self.circuit.parameters if p not in declared)
        if unknown:
            raise AnsatzError(f"{', '.join(unknown)} in the circuit is neither an input nor a weight")
        absent = [p.name for p in declared if p not in self.circuit.parameters]
        if absent:
            raise AnsatzError(f"{', '.join(absent)} is declared but no gate of the circuit uses it")
        weighted = ""
        for gate in self.circuit.data:
            if gate.clbits or gate.operation.name in ("measure", "reset"):
                raise AnsatzError(f"the circuit holds {gate.operation.name}; an ansatz ends before it is measured")
            if weighted and self._uses(gate, self.inputs):
                raise AnsatzError(
                    f"{gate.operation.name} encodes an input after {weighted}; inputs come before weights"
                )
            if self._uses(gate, self.weights):
                weighted = f"the weight gate {gate.operation.name}"
                if self._uses(gate, self.inputs):
                    raise AnsatzError(f"{gate.operation.name} mixes an input with a weight; use two gates")

    @property
    def encoding(self) -> list[CircuitInstruction]:
        """The gates up to the last that depends on an input: the same for a whole fit."""
        return list(self.circuit.data[: self._split])

    @property
    def learned(self) -> list[CircuitInstruction]:
        """The gates after the last input: the same for every row."""
        return list(self.circuit.data[self._split :])

    @property
    def _split(self) -> int:
        return max((i + 1 for i, gate in enumerate(self.circuit.data) if self._uses(gate, self.inputs)), default=0)

    @staticmethod
    def _uses(gate: CircuitInstruction, parameters: tuple[Parameter, ...]) -> bool:
        return any(p in free(value) for value in gate.operation.params for p in parameters)
