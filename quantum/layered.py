"""The circuit of QD-LLM's student (arXiv:2505.13205): RX encoding, then layers of RY, RZZ, RZ and CNOT; ⟨Z⟩ is read.

The counts are those of the public code, 72 angles a layer on 11 qubits; the paper's text has 76. The text applies RY
first and its equation 13, read as operators, CNOT first: we follow the text, as the code does.
"""

from quantum.ansatz import Ansatz, AnsatzError


def layered(qubits: int = 11, reps: int = 2, entanglement: str = "circular") -> Ansatz:
    """RX(z_i) on every qubit, then `reps` layers of 7n − 5 angles: 72 on 11 qubits.

    A layer: three RY on each qubit but the last, RZZ between neighbours among those, three RZ on every qubit, and CNOT
    from each qubit to the next, last to first at the end (`circular`, the code) or without that one (`linear`).
    Three RY on one qubit are one angle, so 3n − 3 of a layer are distinct: 30 on 11 qubits. The last layer's RZZ and
    RZ change phases alone, which ⟨Z⟩ does not see: quantum/effective.py counts what is left.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    if qubits < 2:
        raise AnsatzError(f"{qubits} qubits have no neighbours; use at least 2")
    if entanglement not in ("circular", "linear"):
        raise AnsatzError(f"entanglement is {entanglement}; it must be circular or linear")
    inputs, weights = ParameterVector("z", qubits), ParameterVector("θ", n_weights(qubits, reps))
    angle = iter(weights)
    circuit = QuantumCircuit(qubits, name="layered")
    for qubit in range(qubits):
        circuit.rx(inputs[qubit], qubit)
    for _ in range(reps):
        for qubit in sorted(3 * [*range(qubits - 1)]):
            circuit.ry(next(angle), qubit)
        for qubit in range(qubits - 2):
            circuit.rzz(next(angle), qubit, qubit + 1)
        for qubit in sorted(3 * [*range(qubits)]):
            circuit.rz(next(angle), qubit)
        for qubit in range(qubits if entanglement == "circular" else qubits - 1):
            circuit.cx(qubit, (qubit + 1) % qubits)
    return Ansatz(circuit, inputs=tuple(inputs), weights=tuple(weights))


def n_weights(qubits: int, reps: int) -> int:
    """How many angles it has."""
    return (7 * qubits - 5) * reps


def n_effective(qubits: int, reps: int) -> int:
    """How many of them can tell in ⟨Z⟩: 3n − 3 a layer, of the last one its n − 1 sums of RY alone."""
    return (3 * qubits - 3) * (reps - 1) + qubits - 1
