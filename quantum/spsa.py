"""SPSA: a slope along one random direction from two evaluations, whatever the number of angles (Spall 1992, 1998)."""

import numpy as np

from quantum.search import Angles, Search
from recipes.schema import OptimiserConfig

ALPHA, GAMMA = 0.602, 0.101  # how the two gains fall; Spall 1998, section III
DELAY = 0.1  # of all steps: A, the stability constant


def spsa(config: OptimiserConfig, search: Search, start: Angles) -> None:
    """θ ← θ − a_k·Δ·(L(θ + c_k·Δ) − L(θ − c_k·Δ))/2c_k, Δ ∈ {−1, 1}^P, a_k = a/(k + A)^α, c_k = c/k^γ.

    The two points of a step are one batch, the first with the start. A last evaluation is kept for where it ends.
    """
    steps = max(0, search.budget - 2) // 2
    x, first = start, [start]
    for k in range(1, steps + 1):
        a, c = config.a / (k + DELAY * steps) ** ALPHA, config.c / k**GAMMA
        delta = search.draws.choice((-1.0, 1.0), len(start))
        *_, above, below = search.values(np.array([*first, x + c * delta, x - c * delta]))
        x, first = x - a * delta * (above - below) / (2 * c), []
    search.values(np.array([*first, *([x] if steps else [])]))
