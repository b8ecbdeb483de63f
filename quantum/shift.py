"""Gradients from circuits alone: every gate's angle is shifted by itself, and all shifted circuits are one batch.

A probability is f(φ) = a + Σ_ω (b_ω cos ωφ + c_ω sin ωφ) in the angle φ of one gate, ω the differences of eigenvalues.
Where ω = 1 alone (arXiv:1811.11184), f′ = [f(φ + π/2) − f(φ − π/2)]/2. Where ω is ½ or 1, as when a rotation is
controlled (arXiv:2104.05695), f′ = c₊·[f(φ + π/2) − f(φ − π/2)] − c₋·[f(φ + 3π/2) − f(φ − 3π/2)], c± = (√2 ± 1)/(4√2).
A weight that several gates share gets the sum over them.

B rows, N features, P weights, G gate angles, T shifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from quantum.angles import Evaluate, Values, evaluator, free
from quantum.gates import bound_matrix
from recipes.section import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit

    from quantum.ansatz import Ansatz

NEAR, FAR = (sqrt(2) + 1) / (4 * sqrt(2)), (sqrt(2) - 1) / (4 * sqrt(2))
TWO = ((pi / 2, 0.5), (-pi / 2, -0.5))  # (shift, factor)
FOUR = ((pi / 2, NEAR), (-pi / 2, -NEAR), (3 * pi / 2, -FAR), (-3 * pi / 2, FAR))


@dataclass(frozen=True)
class Shifts:
    """An ansatz whose gates each have an angle of their own, and where to shift which."""

    circuit: QuantumCircuit
    angles: Evaluate  # rows of features and weights (…, N + P) → gate angles (…, G)
    gates: NDArray[Any]  # (T,) which angle
    by: Values  # (T,)
    factors: Values  # (T,)
    weights: Values  # (G, P) dφ_g/dθ_p

    @property
    def evaluations(self) -> int:
        """Circuits a row: the point itself and all its shifts."""
        return 1 + len(self.by)

    def rows(self, x_BN: Values, theta_P: Values) -> Values:
        """((1 + T)·B, G) angles: the point's, then each shift's, for every row."""
        known = np.hstack([x_BN, np.tile(theta_P, (len(x_BN), 1))])
        moves_TG = np.zeros((self.evaluations, len(self.weights)))
        moves_TG[np.arange(1, self.evaluations), self.gates] = self.by
        moved: Values = self.angles(known) + moves_TG[:, None, :]
        return moved.reshape(-1, moved.shape[-1])

    def slope(self, outputs_TBK: Values, slope_BK: Values) -> Values:
        """(P,) dL/dθ out of the outputs at every row of `rows`, and dL/do at the point."""
        each_T = self.factors * np.einsum("tbk,bk->t", outputs_TBK[1:], slope_BK)
        each_G = np.bincount(self.gates, each_T, minlength=len(self.weights))
        return np.asarray(each_G @ self.weights)


def shifts(ansatz: Ansatz) -> Shifts:
    """The shifts of an ansatz; refuses a gate that has no rule."""
    from qiskit.circuit import ParameterVector

    circuit = ansatz.circuit.copy_empty_like()
    values = [value for gate in ansatz.circuit.data for value in gate.operation.params if free(value)]
    own = ParameterVector("g", len(values))  # sorted by number, so a row's columns are the gates' in order
    slopes_GP = np.zeros((len(values), len(ansatz.weights)))
    found: list[tuple[int, float, float]] = []
    g = 0
    for gate in ansatz.circuit.data:
        operation = gate.operation.to_mutable()
        params: list[Any] = list(operation.params)
        for place, value in enumerate(params):
            if not free(value):
                continue
            params[place] = own[g]
            for p, weight in enumerate(ansatz.weights):
                if weight in free(value):
                    slopes_GP[g, p] = _constant(value.gradient(weight), operation.name)
            if slopes_GP[g].any():
                found += [(g, by, factor) for by, factor in rule(gate.operation, place)]
            g += 1
        operation.params = params
        circuit.append(operation, gate.qubits)
    gates, by, factors = (np.array(column) for column in zip(*found, strict=True))
    return Shifts(circuit, evaluator(values, [*ansatz.inputs, *ansatz.weights]), gates, by, factors, slopes_GP)


def rule(operation: Any, place: int) -> tuple[tuple[float, float], ...]:
    """TWO or FOUR, whichever is the derivative of M ⊗ M* of the gate's own matrix M, at a generic point."""
    at = np.linspace(0.3, 0.7, len(operation.params))

    def conjugation(by: float) -> Any:
        matrix = bound_matrix(operation, at + by * (np.arange(len(at)) == place))
        return np.kron(matrix, matrix.conj())

    slope = (conjugation(1e-5) - conjugation(-1e-5)) / 2e-5
    for terms in (TWO, FOUR):
        if np.allclose(sum(factor * conjugation(by) for by, factor in terms), slope, atol=1e-8):
            return terms
    raise RecipeError(f"{operation.name} has no shift rule for its angle {place}; use optimiser.kind spsa or cobyla")


def _constant(slope: Any, name: str) -> float:
    if free(slope):
        raise RecipeError(f"{name} has an angle that is not linear in its weight; use optimiser.kind spsa or cobyla")
    return float(slope)
