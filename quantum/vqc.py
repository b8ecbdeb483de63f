"""The variational quantum circuit of LLM-QFL (arXiv:2505.18656): a feature map, then RealAmplitudes."""

from math import pi

from quantum.ansatz import Ansatz
from quantum.feature_maps import features


def vqc(
    qubits: int = 4,
    feature_map: str = "ry",
    scale: float = pi,
    reps: int = 3,
    entanglement: str = "reverse_linear",
) -> Ansatz:
    """RY on every qubit and CX between them, `reps` times, then RY once more: n·(reps + 1) angles, a real unitary."""
    from qiskit.circuit.library import real_amplitudes

    encoding = features(feature_map, qubits, scale)
    angles = real_amplitudes(qubits, reps=reps, entanglement=entanglement)
    circuit = encoding.compose(angles)
    circuit.name = f"vqc-{feature_map}"
    return Ansatz(circuit, inputs=tuple(encoding.parameters), weights=tuple(angles.parameters))
