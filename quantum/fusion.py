"""Operations joined into few steps: a product state, turns of one qubit under one control, diagonals, links.

A `Mux` holds every turn and phase of one target under at most one control: two 2×2 matrices, one for each value of the
control. A `Diagonal` is one phase a basis state. Whether phases stay beside their turns or go to diagonals is decided
for a circuit by which gives fewer steps: RealAmplitudes and QD-LLM's layers want diagonals, U3 and CU3 want muxes.
Two steps commute where neither turns a qubit that the other reads; an operation joins the last step it can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi

from quantum.angles import Angle
from quantum.program import Link, Operation, Phase, Turn

Sum = list[Angle]


@dataclass
class Beat:
    """RY(turn_κ) on the target, then phases φ_κσ, for control value κ and target value σ."""

    sums: list[Sum] = field(default_factory=lambda: [[] for _ in range(6)])  # turn_0, turn_1, φ_00, φ_01, φ_10, φ_11

    @property
    def real(self) -> bool:
        return not any(self.sums[2:])


@dataclass
class Mux:
    """Beats on one target, under one control or none."""

    target: int
    control: int | None = None
    beats: list[Beat] = field(default_factory=list)

    @property
    def qubits(self) -> set[int]:
        return {self.target} if self.control is None else {self.control, self.target}

    @property
    def turned(self) -> set[int]:
        return {self.target}

    @property
    def real(self) -> bool:
        """Whether both matrices are."""
        return all(beat.real for beat in self.beats)

    def fits(self, operation: Turn | Phase) -> bool:
        """Whether it can be a beat, perhaps by making its other qubit the control."""
        others = set(operation.qubits) - {self.target}
        if isinstance(operation, Turn) and operation.target != self.target:
            return False
        return others in (set(), {self.control}) or (self.control is None and len(operation.qubits) == 2 > len(others))

    def add(self, operation: Turn | Phase) -> None:
        """One more turn or phase."""
        others = set(operation.qubits) - {self.target}
        if others:
            self.control = others.pop()
        values = (1,) if self.control in operation.qubits else (0, 1)
        if not self.beats or (isinstance(operation, Turn) and not self.beats[-1].real):
            self.beats.append(Beat())
        sums = self.beats[-1].sums
        for value in values:
            if isinstance(operation, Turn):
                sums[value].append(operation.angle)
            else:
                for state in (1,) if self.target in operation.qubits else (0, 1):
                    sums[2 + 2 * value + state].append(operation.angle)


@dataclass
class Diagonal:
    """e^{iφ(b)}, φ(b) = Σ of the angles whose qubits are all 1 in b."""

    angles: dict[frozenset[int], Sum] = field(default_factory=dict)
    turned: set[int] = field(default_factory=set)  # none

    @property
    def qubits(self) -> set[int]:
        return set().union(*self.angles)

    def add(self, phase: Phase) -> None:
        """One more phase."""
        self.angles.setdefault(frozenset(phase.qubits), []).append(phase.angle)


@dataclass
class Links:
    """Links in order."""

    links: list[Link] = field(default_factory=list)

    @property
    def qubits(self) -> set[int]:
        return {qubit for link in self.links for qubit in link.qubits}

    turned = qubits

    def add(self, link: Link) -> None:
        """One more link."""
        self.links.append(link)


Step = Mux | Diagonal | Links


@dataclass
class Fused:
    """A product state, one mux a qubit, or none; then steps."""

    product: list[Mux]
    steps: list[Step]


def fused(operations: Sequence[Operation], n_qubits: int, *, from_zero: bool = True) -> Fused:
    """The fewer steps of both ways; `from_zero` takes the first gates of each qubit into a product state."""
    product = [Mux(qubit, beats=[Beat()]) for qubit in range(n_qubits)] if from_zero else []
    rest = _begun(operations, product) if from_zero else list(operations)
    return Fused(product, min((joined(rest, apart=apart) for apart in (True, False)), key=_cost))


def joined(operations: Sequence[Operation], *, apart: bool) -> list[Step]:
    """Steps; phases go to diagonals when `apart`, else to muxes where they fit."""
    steps: list[Step] = []
    for operation in operations:
        step = _last(steps, operation, apart)
        if step is None:
            step = _new(operation, apart)
            steps.append(step)
        step.add(operation)  # type: ignore[arg-type]  # _last and _new give a step that takes it
    return steps


def commute(a: Step | Operation, b: Step | Operation) -> bool:
    """Whether neither turns a qubit that the other reads."""
    return not (_turned(a) & set(b.qubits) or _turned(b) & set(a.qubits))


def _turned(one: Step | Operation) -> set[int]:
    match one:
        case Phase():
            return set()
        case Turn():
            return {one.target}
        case Link():
            return set(one.qubits)
    return one.turned


def _begun(operations: Sequence[Operation], product: list[Mux]) -> list[Operation]:
    """Take what acts on one qubit alone before anything else does; the rest in order."""
    rest: list[Operation] = []
    entangled: set[int] = set()
    for operation in operations:
        first, *others = operation.qubits
        if others or first in entangled:
            entangled |= set(operation.qubits)
            rest.append(operation)
        elif isinstance(operation, Link):  # X = RY(π)·Z
            product[first].add(Phase((first,), (1.0, pi)))
            product[first].add(Turn(first, None, (1.0, pi)))
        else:
            product[first].add(operation)
    return rest


def _last(steps: list[Step], operation: Operation, apart: bool) -> Step | None:
    """The last step that the operation can join; it is moved to the end where that is how they meet."""
    back = True  # the operation can go back to here
    for at in range(len(steps) - 1, -1, -1):
        step = steps[at]
        if _takes(step, operation, apart):
            if back:
                return step
            if all(commute(step, later) for later in steps[at + 1 :]):
                steps.append(steps.pop(at))
                return step
        back = back and commute(step, operation)
        if not back and not isinstance(step, Mux):
            return None
    return None


def _takes(step: Step, operation: Operation, apart: bool) -> bool:
    match step, operation:
        case Mux(), Turn():
            return step.fits(operation)
        case Mux(), Phase():
            return not apart and len(operation.qubits) < 3 and step.fits(operation)
        case (Diagonal(), Phase()) | (Links(), Link()):
            return True
    return False


def _new(operation: Operation, apart: bool) -> Step:
    match operation:
        case Link():
            return Links()
        case Phase(qubits) if apart or len(qubits) > 2:
            return Diagonal()
        case Phase(qubits):
            return Mux(qubits[-1])
    return Mux(operation.target)


def _cost(steps: list[Step]) -> int:
    """Passes over the state, complex products counted twice."""
    return sum(2 if isinstance(step, Mux) and not step.real else 1 for step in steps)
