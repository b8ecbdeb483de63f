"""The generator of QFed (arXiv:2601.09809) and Quantum-Train: no features in; its 2^n probabilities write weights.

The loops are those of the public notebook, which prints 13 qubits, 16 blocks and 1,248 angles.
"""

from quantum.ansatz import Ansatz, AnsatzError


def ring(qubits: int = 4, reps: int = 2) -> Ansatz:
    """U3 on every qubit, then CU3 from each qubit to the next, around the ring; `reps` times: 6·n·reps angles.

    From two blocks on n·(5·reps − 3) of them count, at most 2^n − 1: 1,001 of QFed's 1,248; the rest are phases that
    meet on a control or at an end. CU3(θ, φ, λ) is written CU(θ, φ, λ, 0), the same matrix in OpenQASM 3's library.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    if qubits < 2:
        raise AnsatzError(f"a ring of {qubits} qubits has no neighbours; use at least 2")
    weights = ParameterVector("β", 6 * qubits * reps)
    triples = iter([weights[i : i + 3] for i in range(0, len(weights), 3)])
    circuit = QuantumCircuit(qubits, name="ring")
    for _ in range(reps):
        for qubit in range(qubits):
            circuit.u(*next(triples), qubit)
        for qubit in range(qubits):
            circuit.cu(*next(triples), 0, qubit, (qubit + 1) % qubits)
    return Ansatz(circuit, inputs=(), weights=tuple(weights))
