"""Numbers that gates need, as polynomials of a row's numbers: v_s = Σ coef · r_i · r_j, with r_0 = 1.

Qiskit binds one row at a time, 7 µs an expression. Angles are polynomials of degree two at most in nearly every circuit
(s·x, (π − x)(π − y)), so each is read once, by symbolic derivatives, into terms that are evaluated for a whole batch.
Any other expression becomes one more variable of the row, bound by Qiskit and differentiated symbolically.
B rows, N inputs, P weights, S slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qiskit.circuit import Parameter

Values = NDArray[np.float64]
Evaluate = Callable[[Values], Values]  # rows (…, P) → values (…, G), one a gate parameter
Angle = tuple[float, Any]  # a factor, and a number or an expression of parameters: their product
Term = tuple[float, int, int]  # coef · r_i · r_j


def evaluator(expressions: Sequence[Any], parameters: Sequence[Parameter]) -> Evaluate:
    """Rows of parameter values → values of gate parameters, which may be numbers, parameters or expressions of them."""
    columns = [i for expression in expressions for i, p in enumerate(parameters) if expression == p]
    if len(columns) == len(expressions):  # parameters alone
        return lambda rows: rows[..., columns]
    variables = Variables(parameters, ())
    slots = Slots([[(1.0, expression)] for expression in expressions], variables)
    sums = np.eye(slots.size)[slots.slot] * slots.coef[:, None]  # (terms, G)

    def evaluate(rows: Values) -> Values:
        parts = [np.ones((*rows.shape[:-1], 1)), rows]
        if variables.others:
            values, _ = others_at(variables, rows.reshape(-1, rows.shape[-1]))
            parts.append(values.reshape(*rows.shape[:-1], -1))
        r = np.concatenate(parts, axis=-1)
        found: Values = (r[..., slots.i] * r[..., slots.j]) @ sums
        return found

    return evaluate


class Slots:
    """The slots of one kind, shared by all rows or one a row, each a sum of angles."""

    def __init__(self, sums: Sequence[Sequence[Angle]], variables: Variables) -> None:
        terms = [(s, *term) for s, angles in enumerate(sums) for angle in angles for term in variables.terms(angle)]
        self.size = len(sums)
        self.slot = np.array([term[0] for term in terms], dtype=np.int64)
        self.coef = np.array([term[1] for term in terms])
        self.i = np.array([term[2] for term in terms], dtype=np.int64)
        self.j = np.array([term[3] for term in terms], dtype=np.int64)


class Variables:
    """The numbering of a row's numbers: 0 is the constant 1, then inputs, weights, and expressions of higher degree."""

    def __init__(self, inputs: Sequence[Parameter], weights: Sequence[Parameter]) -> None:
        self.parameters = [*inputs, *weights]
        self.number = {parameter: 1 + k for k, parameter in enumerate(self.parameters)}
        self.others: list[Any] = []  # expressions that are no polynomials of degree two
        self._known: dict[Any, list[Term]] = {}

    def terms(self, angle: Angle) -> list[Term]:
        """factor · f as terms."""
        factor, value = angle
        if not free(value):
            return [(factor * float(value), 0, 0)]
        if value not in self._known:
            self._known[value] = self._read(value)
        return [(factor * coef, i, j) for coef, i, j in self._known[value]]

    def _read(self, f: Any) -> list[Term]:
        """f(r) = f(0) + g·r + ½ rᵀHr, its own Taylor series when H is constant."""
        known = sorted(free(f), key=self.number.__getitem__)
        if known[0] == f:
            return [(1.0, self.number[f], 0)]
        slopes = [f.gradient(p) for p in known]
        curves = [[slope.gradient(p) if p in free(slope) else 0.0 for p in known] for slope in slopes]
        if any(free(curve) for row in curves for curve in row):
            self.others.append(f)
            return [(1.0, len(self.parameters) + len(self.others), 0)]
        terms = [(at_zero(f), 0, 0)]
        terms += [(at_zero(slope), self.number[p], 0) for p, slope in zip(known, slopes, strict=True)]
        terms += [
            (float(curves[a][b]) / 2, self.number[known[a]], self.number[known[b]])
            for a in range(len(known))
            for b in range(len(known))
        ]
        return [term for term in terms if term[0]]


def free(expression: Any) -> Any:
    """The parameters an expression depends on; none for a number."""
    return getattr(expression, "parameters", ())


def at_zero(expression: Any) -> float:
    """Its value where every parameter is 0."""
    return bound(expression, dict.fromkeys(free(expression), 0.0))


def bound(expression: Any, values: dict[Parameter, float]) -> float:
    """Its value at a point."""
    return float(expression.bind({p: values[p] for p in free(expression)}) if free(expression) else expression)


def others_at(variables: Variables, rows_BV: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values (B, E) and slopes (B, E, V) of the expressions that are no polynomials, row by row."""
    shape = (len(rows_BV), len(variables.others))
    values, slopes = np.zeros(shape), np.zeros((*shape, len(variables.parameters)))
    for b, row in enumerate(rows_BV.tolist()):
        point = dict(zip(variables.parameters, row, strict=True))
        for e, f in enumerate(variables.others):
            values[b, e] = bound(f, point)
            for p in free(f):
                slopes[b, e, variables.number[p] - 1] = bound(f.gradient(p), point)
    return values, slopes
