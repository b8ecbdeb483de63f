"""Data re-uploading (Pérez-Salinas et al., arXiv:1907.02085): the features are read again before every layer."""

from math import pi

from quantum.ansatz import Ansatz
from quantum.feature_maps import features


def reupload(
    qubits: int = 4,
    feature_map: str = "ry",
    scale: float = pi,
    reps: int = 3,
    entanglement: str = "reverse_linear",
) -> Ansatz:
    """Feature map, RY on every qubit and CX between them, `reps` times, then RY once more: n·(reps + 1) angles.

    The angles are the `vqc`'s, so the two differ in nothing but how often x is read. Read r times, x enters the output
    with r times as many frequencies (Schuld et al., arXiv:2008.08605).
    """
    from qiskit.circuit import ParameterVector
    from qiskit.circuit.library import real_amplitudes

    encoding = features(feature_map, qubits, scale)
    layer = real_amplitudes(qubits, reps=1, entanglement=entanglement, skip_final_rotation_layer=True)
    weights = ParameterVector("θ", qubits * (reps + 1))
    circuit = encoding.copy_empty_like(f"reupload-{feature_map}")
    for start in range(0, qubits * reps, qubits):
        circuit = circuit.compose(encoding).compose(layer.assign_parameters(weights[start : start + qubits]))
    for qubit, angle in enumerate(weights[-qubits:]):
        circuit.ry(angle, qubit)
    return Ansatz(circuit, inputs=tuple(encoding.parameters), weights=tuple(weights))
