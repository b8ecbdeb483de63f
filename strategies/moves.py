"""Which way the clients' updates u_i = θ_i − θ went, and how far beyond their mean the next round may start."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from strategies.messages import Arrays


def cosine(start: Arrays, updates: Sequence[Arrays]) -> float | None:
    """Mean cosine between two updates: 1 when all point one way, 0 when each goes its own.

    (|Σ u_i/|u_i||² − n) / (n(n − 1)), over the n updates that moved anything; None for fewer than two.
    """
    moves = [move(start, update) for update in updates]
    units = [one / length for one in moves if (length := float(np.linalg.norm(one)))]
    n = len(units)
    return float((np.sum(np.sum(units, axis=0) ** 2) - n) / (n * (n - 1))) if n > 1 else None


def stride(start: Arrays, mean: Arrays, updates: Sequence[Arrays], weights: Sequence[float]) -> float:
    """How far along the mean update ū the next round starts: η = max(1, min(ρ/2, √ρ, √n)), ρ = Σ w_i·|u_i|² / |ū|².

    n clients, Σ w_i = 1. ρ is 1 where all go the same way, n where each goes its own, more where they cancel. ρ/2 is
    FedExP's (Jhunjhunwala et al. 2023, arXiv:2301.09604). The rest is ours, from ρ = 4 on, where ū is half as long as
    the clients' own: √ρ·ū is as long as their root mean square, and √n keeps a ū of mere rounding short.
    """
    total, length = sum(weights), float(np.sum(move(start, mean) ** 2))
    squares = [float(np.sum(move(start, update) ** 2)) for update in updates]
    went = sum(weight / total * square for weight, square in zip(weights, squares, strict=True))
    rho = went / length if length else 0.0
    return max(1.0, min(rho / 2, sqrt(rho), sqrt(len(updates))))


def beyond(start: Arrays, mean: Arrays, step: float) -> Arrays:
    """θ + η·ū, where only clients start: it swings around the valley, so FedExP ends with the mean of its last two.

    Here the global arrays are the mean in every round.
    """
    return {
        name: (array + step * (mean[name].astype(float) - array)).astype(array.dtype) for name, array in start.items()
    }


def move(start: Arrays, end: Arrays) -> NDArray[np.float64]:
    """An update as one vector."""
    return np.concatenate([np.ravel(end[name].astype(float) - start[name].astype(float)) for name in start])
