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


def beyond(start: Arrays, mean: Arrays, updates: Sequence[Arrays], weights: Sequence[float]) -> Arrays:
    """Where the next round starts: θ + η·ū, ū the updates' mean and η = max(1, min(ρ/2, √ρ)), ρ = Σ w_i·|u_i|² / |ū|².

    ρ is 1 where all clients went the same way, and their number where each went its own. ρ/2 is FedExP's (Jhunjhunwala
    et al. 2023, arXiv:2301.09604); √ρ is ours: where the mean all but vanishes, a step is no longer than the root mean
    square of the clients' own. A start beyond the mean swings around the valley, so FedExP ends with the mean of its
    last two. Here the global arrays are the updates' mean in every round, and only the clients start beyond it.
    """
    total, ahead = sum(weights), move(start, mean)
    squares = [float(np.sum(move(start, update) ** 2)) for update in updates]
    went = sum(weight / total * square for weight, square in zip(weights, squares, strict=True))
    length = float(np.sum(ahead**2))
    apart = went / length if length else 0.0
    step = max(1.0, min(apart / 2, sqrt(apart)))
    return {
        name: (array + step * (mean[name].astype(float) - array)).astype(array.dtype) for name, array in start.items()
    }


def move(start: Arrays, end: Arrays) -> NDArray[np.float64]:
    """An update as one vector."""
    return np.concatenate([np.ravel(end[name].astype(float) - start[name].astype(float)) for name in start])
