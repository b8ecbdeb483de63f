"""Feature maps: from n features in [0, 1] to a state of n qubits, one feature a qubit.

The map and its scale set which functions of the features a student can be at all, so they come before the optimiser:
with `ry` at scale π a feature turns its qubit from |0⟩ to |1⟩ once; `zz` folds products of features into its phases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, prod
from typing import TYPE_CHECKING, Any

from quantum.ansatz import AnsatzError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

FeatureMap = Callable[[int, float], "QuantumCircuit"]


def features(name: str, n_qubits: int, scale: float) -> QuantumCircuit:
    """The feature map of that name, with one parameter a feature."""
    if name not in FEATURE_MAPS:
        raise AnsatzError(f"feature map {name} is unknown; use {', '.join(FEATURE_MAPS)}")
    return FEATURE_MAPS[name](n_qubits, scale)


def ry(n_qubits: int, scale: float) -> QuantumCircuit:
    """RY(s·x_i) on qubit i: a real product state; s = π spans |0⟩ to |1⟩."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    circuit = QuantumCircuit(n_qubits)
    for qubit, x in enumerate(ParameterVector("x", n_qubits)):
        circuit.ry(scale * x, qubit)
    return circuit


def z(n_qubits: int, scale: float) -> QuantumCircuit:
    """H, then P(2·s·x_i) on qubit i: Qiskit's `z_feature_map`, once. At s = π, x = 0 and x = 1 are one state."""
    from qiskit.circuit.library import z_feature_map

    return z_feature_map(n_qubits, reps=1, data_map_func=_scaled(scale))


def zz(n_qubits: int, scale: float) -> QuantumCircuit:
    """H and P(2φ_i), then CX P(2(π−φ_i)(π−φ_j)) CX for every pair, with φ = s·x: Qiskit's `zz_feature_map`, once.

    Havlíček et al., arXiv:1804.11326.
    """
    from qiskit.circuit.library import zz_feature_map

    return zz_feature_map(n_qubits, reps=1, entanglement="full", data_map_func=_scaled(scale))


def _scaled(scale: float) -> Callable[[Sequence[Any]], Any]:
    """φ_i for one feature, Π(π−φ_i) for several; Qiskit multiplies by 2."""

    def angle(x: Sequence[Any]) -> Any:
        return scale * x[0] if len(x) == 1 else prod(pi - scale * feature for feature in x)

    return angle


FEATURE_MAPS: dict[str, FeatureMap] = {function.__name__: function for function in (ry, z, zz)}
