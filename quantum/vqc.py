"""The variational quantum circuit of LLM-QFL (arXiv:2505.18656): a feature map, then RealAmplitudes."""

from quantum.ansatz import Ansatz
from quantum.feature_maps import FEATURE_MAPS


def vqc(qubits: int, feature_map: str, scale: float, reps: int, entanglement: str) -> Ansatz:
    """RY on every qubit and CX between them, `reps` times, then RY once more: n·(reps + 1) angles, a real unitary."""
    from qiskit.circuit.library import real_amplitudes

    features = FEATURE_MAPS[feature_map](qubits, scale)
    angles = real_amplitudes(qubits, reps=reps, entanglement=entanglement)
    circuit = features.compose(angles)
    circuit.name = f"vqc-{feature_map}"
    return Ansatz(circuit, inputs=tuple(features.parameters), weights=tuple(angles.parameters))
