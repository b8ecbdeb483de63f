"""When a federation has converged."""

from collections.abc import Sequence
from itertools import pairwise


def converged(losses: Sequence[float], epsilon: float, patience: int) -> bool:
    """Whether |L_t − L_{t−1}| / L_{t−1} < ε held in each of the last `patience` rounds (LLM-QFL, arXiv:2505.18656)."""
    if len(losses) <= patience:
        return False
    recent = losses[-patience - 1 :]
    return all(abs(now - before) < epsilon * abs(before) for before, now in pairwise(recent))
