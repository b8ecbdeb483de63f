"""The quantum convolutional network of LLM-QFL (arXiv:2505.18656), after Cong et al., arXiv:1810.03787.

Every angle moves what is read, which takes two departures from the public code: its second pooling leaves the one
qubit that is read alone, ours ends on the K qubits that are read, one a class; and its pooling gate turns the qubit
that is dropped by RZ, which commutes with all that follows on that qubit, where ours uses RY.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from typing import TYPE_CHECKING, Any

from quantum.ansatz import Ansatz, AnsatzError
from quantum.feature_maps import features

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

Pairs = list[tuple[int, int]]


def qcnn(qubits: int = 4, feature_map: str = "ry", scale: float = pi, classes: int = 2) -> Ansatz:
    """Convolve neighbours, pool half of the qubits away, and again, until one qubit a class is left to be read.

    Each pair has three angles of its own. A qubit that is read but that the last pooling did not reach (all of them
    where n = K) is turned by one more RY, without which the phases of its convolution would go unread.
    """
    from qiskit.circuit import ParameterVector

    rounds = _rounds(qubits, classes)
    read = read_qubits(qubits, classes)
    weights = ParameterVector("θ", n_weights(qubits, classes))
    encoding = features(feature_map, qubits, scale)
    circuit, angle = encoding.copy(f"qcnn-{feature_map}"), iter(weights)
    for neighbours, pooled in rounds:
        for a, b in neighbours:
            _convolve(circuit, angle, a, b)
        for source, sink in pooled:
            _pool(circuit, angle, source, sink)
    for qubit in read[len(rounds[-1][1]) :]:
        circuit.ry(next(angle), qubit)
    return Ansatz(circuit, tuple(encoding.parameters), tuple(weights), readout=read)


def n_weights(qubits: int, classes: int) -> int:
    """How many angles `qcnn` has, without Qiskit."""
    rounds = _rounds(qubits, classes)
    return 3 * sum(len(neighbours) + len(pooled) for neighbours, pooled in rounds) + classes - len(rounds[-1][1])


def read_qubits(qubits: int, classes: int) -> tuple[int, ...]:
    """The qubits that are left to be read, one a class."""
    return tuple(range(qubits - classes, qubits))


def _rounds(qubits: int, classes: int) -> list[tuple[Pairs, Pairs]]:
    """Pairs that are convolved and pairs (source, sink) that are pooled, round by round; the lowest qubits go first."""
    if not 2 <= classes <= qubits:
        raise AnsatzError(f"{classes} classes on {qubits} qubits; a qcnn reads one qubit a class, at least 2")
    rounds: list[tuple[Pairs, Pairs]] = []
    active = tuple(range(qubits))
    while not rounds or len(active) > classes:
        neighbours = [*zip(active[::2], active[1::2], strict=False), *zip(active[1::2], active[2::2], strict=False)]
        if len(active) % 2 == 0 and len(active) > 2:
            neighbours.append((active[-1], active[0]))
        dropped = min(len(active) // 2, len(active) - classes)
        rounds.append((neighbours, list(zip(active[:dropped], active[dropped : 2 * dropped], strict=True))))
        active = active[dropped:]
    return rounds


def _convolve(circuit: QuantumCircuit, angle: Iterator[Any], a: int, b: int) -> None:
    """exp(i(α·XX + β·YY + γ·ZZ)) up to fixed rotations: three CX and three angles (Vatan and Williams, 2004)."""
    circuit.rz(-pi / 2, b)
    circuit.cx(b, a)
    circuit.rz(next(angle), a)
    circuit.ry(next(angle), b)
    circuit.cx(a, b)
    circuit.ry(next(angle), b)
    circuit.cx(b, a)
    circuit.rz(pi / 2, a)


def _pool(circuit: QuantumCircuit, angle: Iterator[Any], source: int, sink: int) -> None:
    """Moves what `source` knows into `sink`; no later gate touches `source`."""
    circuit.rz(-pi / 2, sink)
    circuit.cx(sink, source)
    circuit.ry(next(angle), source)
    circuit.ry(next(angle), sink)
    circuit.cx(source, sink)
    circuit.ry(next(angle), sink)
