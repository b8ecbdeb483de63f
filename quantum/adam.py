"""Adam (arXiv:1412.6980) on exact gradients, or on gradients from shifts where there are only shots."""

import numpy as np

from quantum.search import Angles, Search
from recipes.schema import OptimiserConfig

BETA, BETA_SQUARE, EPSILON = 0.9, 0.999, 1e-8  # the paper's


def adam(config: OptimiserConfig, search: Search, start: Angles) -> None:
    """θ ← θ − η·m̂/(√v̂ + ε), with exact gradients."""
    _descend(config, search, start, shifted=False)


def shift(config: OptimiserConfig, search: Search, start: Angles) -> None:
    """The same with gradients from shifts."""
    _descend(config, search, start, shifted=True)


def _descend(config: OptimiserConfig, search: Search, start: Angles, *, shifted: bool) -> None:
    """A step needs its gradient, and one evaluation is kept for the point where the last step ends."""
    x, m, v = start, np.zeros_like(start), np.zeros_like(start)
    fewest = search.cost(shifted=shifted) + 1
    k = 0
    while search.affords(fewest):
        k += 1
        g = search.gradient(x, shifted=shifted)
        m = BETA * m + (1 - BETA) * g
        v = BETA_SQUARE * v + (1 - BETA_SQUARE) * g**2
        x = x - config.learning_rate * (m / (1 - BETA**k)) / (np.sqrt(v / (1 - BETA_SQUARE**k)) + EPSILON)
    search.value(x)
