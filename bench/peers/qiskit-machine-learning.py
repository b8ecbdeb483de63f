"""qiskit-machine-learning's VQC and its exact sampler: circuit, read-out, start and search as our student's."""

from importlib.metadata import version

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit_machine_learning.algorithms import VQC
from qiskit_machine_learning.optimizers import COBYLA
from qiskit_machine_learning.primitives import QMLSampler
from serving import Timed, serve


def ry(qubits: int) -> QuantumCircuit:
    """RY(x_i) on qubit i."""
    circuit = QuantumCircuit(qubits)
    for qubit, x in enumerate(ParameterVector("x", qubits)):
        circuit.ry(x, qubit)
    return circuit


MAPS = {"ry": ry, "zz": lambda qubits: zz_feature_map(qubits, reps=1, entanglement="full")}


def vqc_fit(
    feature_map: str,
    rows: list[list[float]],
    labels: list[int],
    start: list[float],
    reps: int,
    scale: float,
    maxiter: int,
    rhobeg: float,
) -> Timed:
    """`VQC.fit` over angles; its losses are in bits, ours in nats."""
    angles, y = scale * np.array(rows), np.array(labels)
    qubits, losses = angles.shape[1], []
    classifier = VQC(
        feature_map=MAPS[feature_map](qubits),
        ansatz=real_amplitudes(qubits, reps=reps, entanglement="reverse_linear"),
        sampler=QMLSampler(shots=None),
        interpret=lambda bits: bits.bit_count() % 2,
        output_shape=2,
        optimizer=COBYLA(maxiter=maxiter, rhobeg=rhobeg, tol=rhobeg * 1e-4),
        initial_point=np.array(start),
        callback=lambda weights, loss: losses.append(loss * np.log(2)),
    )

    def fit() -> list[float]:
        losses.clear()
        classifier.fit(angles, y)
        return losses

    return fit


if __name__ == "__main__":
    serve({"vqc_fit": vqc_fit}, version("qiskit-machine-learning"))
