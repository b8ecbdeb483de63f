"""The values of a circuit's gate parameters, for many rows at once.

Qiskit binds one row at a time, 7 µs an expression. Feature maps are polynomials of degree two at most, and such a
polynomial is its own Taylor series, f(r) = f(0) + g·r + ½ rᵀHr, which NumPy evaluates for a batch.
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


def evaluator(expressions: Sequence[Any], parameters: Sequence[Parameter]) -> Evaluate:
    """Rows of parameter values → values of gate parameters, which may be numbers, parameters or expressions of them."""
    columns = [i for expression in expressions for i, p in enumerate(parameters) if expression == p]
    if len(columns) == len(expressions):  # parameters alone
        return lambda rows: rows[..., columns]
    used = [i for i, p in enumerate(parameters) if any(p in free(expression) for expression in expressions)]
    known = [parameters[i] for i in used]
    inner = _quadratic(expressions, known) or _bound(expressions, known)
    return lambda rows: inner(rows[..., used])


def free(expression: Any) -> Any:
    """The parameters an expression depends on; none for a number."""
    return getattr(expression, "parameters", ())


def _quadratic(expressions: Sequence[Any], parameters: list[Parameter]) -> Evaluate | None:
    """f(0) + g·r + ½ rᵀHr for every expression, or nothing when a second derivative of one is not a constant."""
    slopes = [[_slope(f, p) for p in parameters] for f in expressions]
    curves = [[[_slope(slope, p) for p in parameters] for slope in row] for row in slopes]
    if any(free(curve) for rows in curves for row in rows for curve in row):
        return None
    origin = dict.fromkeys(parameters, 0.0)
    c = np.array([_value(f, origin) for f in expressions])
    g = np.array([[_value(slope, origin) for slope in row] for row in slopes]).T
    h = np.array([[[float(curve) for curve in row] for row in rows] for rows in curves])
    if not h.any():
        return lambda r: c + r @ g
    return lambda r: c + r @ g + np.einsum("...i,gij,...j->...g", r, h, r) / 2


def _bound(expressions: Sequence[Any], parameters: list[Parameter]) -> Evaluate:
    """Any other expressions, bound row by row."""

    def evaluate(rows: Values) -> Values:
        flat = [dict(zip(parameters, row, strict=True)) for row in rows.reshape(-1, len(parameters)).tolist()]
        values = [[_value(f, row) for f in expressions] for row in flat]
        return np.array(values).reshape(*rows.shape[:-1], len(expressions))

    return evaluate


def _slope(expression: Any, parameter: Parameter) -> Any:
    return expression.gradient(parameter) if parameter in free(expression) else 0.0


def _value(expression: Any, values: dict[Parameter, float]) -> float:
    return float(expression.bind({p: values[p] for p in free(expression)}) if free(expression) else expression)
