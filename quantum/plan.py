"""What every engine needs to know of an ansatz: its fused steps, and where in a vector of numbers their angles lie.

A mux has `beats` beats of six slots each: turn_0, turn_1, φ_00, φ_01, φ_10, φ_11. A diagonal has a slot for each of its
sets of qubits. Slots that no input enters are shared by all rows. Diagonals and links at the end of a circuit are no
steps: a phase does not change a probability, and a permutation of basis states is folded into the read-out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantum.angles import Slots, Variables, free
from quantum.fusion import Beat, Diagonal, Links, Mux, Step, Sum, fused
from quantum.program import Link, operations

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction, Parameter


@dataclass(frozen=True)
class MuxAt:
    """Two 2×2 matrices on a target, chosen by the control; number `at` among muxes of its kind."""

    target: int
    control: int | None
    real: bool
    of_row: bool
    at: int

    @property
    def qubits(self) -> set[int]:
        return {self.target} if self.control is None else {self.control, self.target}


@dataclass(frozen=True)
class DiagonalAt:
    """e^{iφ(b)}, φ(b) = Σ_k v[at + k] where b holds all bits of masks[k]; v starts after the muxes of its kind."""

    masks: tuple[int, ...]
    of_row: bool
    at: int


@dataclass(frozen=True)
class LinksAt:
    """Links in order."""

    links: tuple[Link, ...]


StepAt = MuxAt | DiagonalAt | LinksAt


@dataclass
class Kind:
    """The slots of one kind, shared or one a row: `muxes` × `beats` × 6, then those of the diagonals."""

    beats: int
    muxes: int
    of_row: bool
    slots: Slots
    variables: Variables


@dataclass
class Plan:
    """A circuit, ready to run."""

    n_qubits: int
    product: Kind | None  # one mux a qubit; its first columns are the state before the steps
    shared: Kind
    of_row: Kind
    steps: list[StepAt]
    readout: tuple[Link, ...]  # after the steps


def plan(
    data: Iterable[CircuitInstruction],
    circuit: QuantumCircuit,
    inputs: Sequence[Parameter],
    weights: Sequence[Parameter],
    *,
    from_zero: bool = True,
    to_readout: bool = True,
) -> Plan:
    """Read, fuse and number; `to_readout` drops what no probability depends on."""
    n, row = circuit.num_qubits, set(inputs)
    found = fused(operations(data, circuit), n, from_zero=from_zero)
    steps, readout = _cut(found.steps) if to_readout else (found.steps, ())
    muxes, phases, numbered = _numbered(steps, row)

    def kind(of_row: bool, muxes: Sequence[Mux], phases: Sequence[Sum]) -> Kind:
        variables = Variables(inputs, weights)
        beats = max((len(mux.beats) for mux in muxes), default=1)
        padded = [beat for mux in muxes for beat in (mux.beats + [Beat()] * beats)[:beats]]
        sums = [angles for beat in padded for angles in beat.sums] + list(phases)
        return Kind(beats, len(muxes), of_row, Slots(sums, variables), variables)

    return Plan(
        n_qubits=n,
        product=kind(any(_of_row(mux, row) for mux in found.product), found.product, []) if from_zero else None,
        shared=kind(False, muxes[False], phases[False]),
        of_row=kind(True, muxes[True], phases[True]),
        steps=numbered,
        readout=tuple(readout),
    )


def permutation(links: Iterable[Link], n_qubits: int) -> NDArray[np.int64]:
    """source with ψ′[b] = ψ[source[b]]."""
    source = np.arange(2**n_qubits)
    for link in links:
        b = np.arange(2**n_qubits)
        flipped = b ^ (1 << link.target)
        source = source[flipped if link.control is None else np.where(b >> link.control & 1, flipped, b)]
    return source


def _cut(steps: Sequence[Step]) -> tuple[list[Step], list[Link]]:
    """Steps without the diagonals and links at their end; those links in order."""
    kept, links = list(steps), list[Link]()
    while kept and not isinstance(kept[-1], Mux):
        last = kept.pop()
        if isinstance(last, Links):
            links = last.links + links
    return kept, links


def _of_row(step: Step, inputs: set[Parameter]) -> bool:
    return any(not inputs.isdisjoint(free(value)) for angles in _sums(step) for _, value in angles)


def _sums(step: Step) -> list[Sum]:
    match step:
        case Mux():
            return [angles for beat in step.beats for angles in beat.sums]
        case Diagonal():
            return list(step.angles.values())
    return []


def _numbered(
    steps: Sequence[Step], inputs: set[Parameter]
) -> tuple[dict[bool, list[Mux]], dict[bool, list[Sum]], list[StepAt]]:
    """Muxes and phases of each kind, of_row or not, and the steps that count them."""
    muxes: dict[bool, list[Mux]] = {False: [], True: []}
    phases: dict[bool, list[Sum]] = {False: [], True: []}
    numbered: list[StepAt] = []
    for step in steps:
        of_row = _of_row(step, inputs)
        match step:
            case Mux():
                numbered.append(MuxAt(step.target, step.control, step.real, of_row, len(muxes[of_row])))
                muxes[of_row].append(step)
            case Diagonal():
                masks = tuple(sum(1 << qubit for qubit in qubits) for qubits in step.angles)
                numbered.append(DiagonalAt(masks, of_row, len(phases[of_row])))
                phases[of_row] += step.angles.values()
            case Links():
                numbered.append(LinksAt(tuple(step.links)))
    return muxes, phases, numbered
