"""The one weighted mean. It runs in float64, in the order given: the caller's, which is the order of client ids."""

from collections.abc import Sequence

import numpy as np

from strategies.messages import Arrays


def weighted_mean(updates: Sequence[Arrays], weights: Sequence[float], like: Arrays) -> Arrays:
    """Σ w_i·θ_i / Σ w_i, with the names, shapes and types of `like`."""
    total = sum(weights)
    mean: Arrays = {}
    for name, array in like.items():
        weighted = np.zeros(array.shape, np.float64)
        for update, weight in zip(updates, weights, strict=True):
            weighted += (weight / total) * update[name].astype(np.float64)
        mean[name] = weighted.astype(array.dtype)
    return mean
