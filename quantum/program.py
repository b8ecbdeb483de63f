"""A circuit read once, as three kinds of operation that every engine can run.

Up to a global phase, any gate is a product of

- a turn: RY(α) on a target, everywhere or where one control is 1;
- a phase: e^{iα} where all of some qubits are 1;
- a link: the permutation of basis states of CX, SWAP or X.

U(θ,φ,λ) = P(φ)·RY(θ)·P(λ), RX(θ) = P(−π/2)·RY(θ)·P(π/2), H = RY(π/2)·Z, RZZ(α) phases a, b by α and a∧b by −2α; gates
that are not in the table are read by their Qiskit definition. Angles stay expressions of the circuit's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, Any

from quantum.angles import Angle, free
from recipes.section import RecipeError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction

Qubits = tuple[int, ...]


@dataclass(frozen=True)
class Turn:
    """[[cos α/2, −sin α/2], [sin α/2, cos α/2]] on the target, where the control, if any, is 1."""

    target: int
    control: int | None
    angle: Angle

    @property
    def qubits(self) -> Qubits:
        return (self.target,) if self.control is None else (self.control, self.target)


@dataclass(frozen=True)
class Phase:
    """e^{iα} where all of the qubits are 1."""

    qubits: Qubits
    angle: Angle


@dataclass(frozen=True)
class Link:
    """|c, t⟩ → |c, t⊕c⟩; without a control |t⟩ → |t⊕1⟩."""

    target: int
    control: int | None

    @property
    def qubits(self) -> Qubits:
        return (self.target,) if self.control is None else (self.control, self.target)


Operation = Turn | Phase | Link


def operations(data: Iterable[CircuitInstruction], circuit: QuantumCircuit) -> list[Operation]:
    """What the instructions do, in order."""
    found: list[Operation] = []
    for item in data:
        if item.clbits:
            raise RecipeError(_no_gate(item.operation))
        found += _read(item.operation, tuple(circuit.find_bit(qubit).index for qubit in item.qubits))
    return _without_parity_ladders(found)


def _read(gate: Any, qubits: Qubits) -> list[Operation]:
    if gate.name in NOTHING:
        return []
    if gate.name in GATES and _standard(gate):
        return GATES[gate.name](*gate.params, *qubits)
    if not hasattr(gate, "to_matrix") or gate.definition is None:
        raise RecipeError(_no_gate(gate))
    inner = gate.definition
    return [
        operation
        for item in inner.data
        for operation in _read(item.operation, tuple(qubits[inner.find_bit(q).index] for q in item.qubits))
    ]


def _no_gate(operation: Any) -> str:
    return (
        f"the circuit holds {operation.name}, which is not a gate that the exact engine can read; "
        f"it runs gates alone, without measurement, reset or classical conditions"
    )


def _standard(gate: Any) -> bool:
    return str(getattr(gate, "base_class", type(gate)).__module__).startswith("qiskit.circuit.library.standard_gates")


def _without_parity_ladders(found: list[Operation]) -> list[Operation]:
    """CX(a,b) P(α; b) CX(a,b) phases a⊕b = a + b − 2ab: three phases instead of two links and a phase."""
    done: list[Operation] = []
    for operation in found:
        done.append(operation)
        match done[-3:]:
            case [Link(b, a) as first, Phase((c,), (factor, value)), Link() as last] if first == last and c == b:
                if a is not None:
                    done[-3:] = _both(1.0, factor, value, a, b)
    return done


# --- the table: parameters, then qubits ----------------------------------------------------------------------------


def p(value: Any, *qubits: int, factor: float = 1.0) -> list[Operation]:
    """e^{i·factor·value} where all qubits are 1; nothing for an angle of 0."""
    return [] if not free(value) and not value else [Phase(qubits, (factor, value))]


def ry(value: Any, target: int, control: int | None = None, factor: float = 1.0) -> list[Operation]:
    """RY"""
    return [Turn(target, control, (factor, value))]


def rx(value: Any, target: int, control: int | None = None) -> list[Operation]:
    """The phases cancel where the control is 0."""
    return [*p(pi / 2, target), *ry(value, target, control), *p(-pi / 2, target)]


def crz(value: Any, control: int, target: int) -> list[Operation]:
    """e^{−iα/2} and e^{iα/2} where the control is 1."""
    return [*p(value, control, factor=-0.5), *p(value, control, target)]


def h(target: int) -> list[Operation]:
    """Z, then RY(π/2)"""
    return [*p(pi, target), *ry(pi / 2, target)]


def u(theta: Any, phi: Any, lam: Any, target: int) -> list[Operation]:
    """P(λ), RY(θ), P(φ)"""
    return [*p(lam, target), *ry(theta, target), *p(phi, target)]


def cu3(theta: Any, phi: Any, lam: Any, control: int, target: int) -> list[Operation]:
    """P(λ), RY(θ), P(φ) where the control is 1."""
    return [*p(lam, control, target), *ry(theta, target, control), *p(phi, control, target)]


def cu(theta: Any, phi: Any, lam: Any, gamma: Any, control: int, target: int) -> list[Operation]:
    """U where the control is 1, and e^{iγ} there."""
    return [*cu3(theta, phi, lam, control, target), *p(gamma, control)]


def cx(control: int, target: int) -> list[Operation]:
    """CX"""
    return [Link(target, control)]


def swap(a: int, b: int) -> list[Operation]:
    """Three CX"""
    return [Link(b, a), Link(a, b), Link(b, a)]


def _both(sign: float, factor: float, value: Any, a: int, b: int) -> list[Operation]:
    """Phase a⊕b by sign·factor·value."""
    return [
        *p(value, a, factor=sign * factor),
        *p(value, b, factor=sign * factor),
        *p(value, a, b, factor=-2 * sign * factor),
    ]


GATES: dict[str, Callable[..., list[Operation]]] = {
    "x": lambda q: [Link(q, None)],
    "y": lambda q: ry(pi, q),
    "z": lambda q: p(pi, q),
    "s": lambda q: p(pi / 2, q),
    "sdg": lambda q: p(-pi / 2, q),
    "t": lambda q: p(pi / 4, q),
    "tdg": lambda q: p(-pi / 4, q),
    "sx": lambda q: rx(pi / 2, q),
    "sxdg": lambda q: rx(-pi / 2, q),
    "h": h,
    "p": p,
    "u1": p,
    "rz": p,
    "rx": rx,
    "ry": ry,
    "u": u,
    "u3": u,
    "u2": lambda phi, lam, q: u(pi / 2, phi, lam, q),
    "cx": cx,
    "swap": swap,
    "cz": lambda a, b: p(pi, a, b),
    "cs": lambda a, b: p(pi / 2, a, b),
    "csdg": lambda a, b: p(-pi / 2, a, b),
    "ccz": lambda a, b, c: p(pi, a, b, c),
    "cp": p,
    "cu1": p,
    "crz": crz,
    "cry": lambda value, control, target: ry(value, target, control),
    "crx": lambda value, control, target: rx(value, target, control),
    "cu3": cu3,
    "cu": cu,
    "rzz": lambda value, a, b: _both(1.0, 1.0, value, a, b),
}
NOTHING = ("barrier", "delay", "id")
