"""Matrices of gates, for many angles at once: φ of shape (…,) gives matrices of shape (…, 2, 2)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantum.angles import Values


def rx(phi: Values) -> NDArray[Any]:
    """[[cos φ/2, −i sin φ/2], [−i sin φ/2, cos φ/2]]"""
    c, s = np.cos(phi / 2), -1j * np.sin(phi / 2)
    return _square(c, s, s, c)


def ry(phi: Values) -> NDArray[Any]:
    """[[cos φ/2, −sin φ/2], [sin φ/2, cos φ/2]], real."""
    c, s = np.cos(phi / 2), np.sin(phi / 2)
    return _square(c, -s, s, c)


def rz(phi: Values) -> NDArray[Any]:
    """diag(e^{−iφ/2}, e^{iφ/2})"""
    e = np.exp(0.5j * phi)
    return _square(e.conj(), 0, 0, e)


def p(phi: Values) -> NDArray[Any]:
    """diag(1, e^{iφ})"""
    return _square(1, 0, 0, np.exp(1j * phi))


def kron(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """high ⊗ low, for one matrix or one a row on either side."""
    size = low.shape[-1] * high.shape[-1]
    blocks: NDArray[Any] = high[..., :, None, :, None] * low[..., None, :, None, :]
    return blocks.reshape(*blocks.shape[:-4], size, size)


def bound_matrix(operation: Any, values: Values) -> NDArray[Any]:
    """Any gate's matrix by Qiskit, at one set of parameter values."""
    bound = operation.to_mutable()
    bound.params = [float(value) for value in values]
    return np.asarray(bound.to_matrix())


def slim(matrix: NDArray[Any]) -> NDArray[Any]:
    """A real matrix as real numbers, so that what it acts on may stay real."""
    return matrix if matrix.imag.any() else np.ascontiguousarray(matrix.real)


def _square(a: Any, b: Any, c: Any, d: Any) -> NDArray[Any]:
    like = np.asarray(d)
    matrix = np.empty((*like.shape, 2, 2), dtype=np.result_type(a, b, c, d))
    matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1] = a, b, c, d
    return matrix


ROTATIONS: dict[str, Callable[[Values], NDArray[Any]]] = {f.__name__: f for f in (rx, ry, rz, p)}
