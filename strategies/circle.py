"""The mean of angles: 359° and 1° average to 0°, not to 180°."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.mean import weighted_mean
from strategies.messages import Arrays

Angles = NDArray[np.float64]

NO_DIRECTION = 1e-9  # a resultant as short as this is the rounding of angles that cancel


def circular_mean(updates: Sequence[Arrays], weights: Sequence[float], like: Arrays, periods: Arrays) -> Arrays:
    """Σ w_i·θ_i / Σ w_i, every θ_i first turned by whole periods to within half of one of the resultant's direction.

    The direction is m = arg Σ w_i·e^{iφ_i}, φ = 2πθ/period (Mardia & Jupp 2000, §2.2): it does not depend on the turns
    that a θ_i has made, so the mean does not either. Where all θ_i lie within half a circle this is their mean on the
    line exactly, which m itself is not. Where they cancel, m is the current θ. The result is the one nearest to the
    current θ. Arrays without periods are averaged on the line.
    """
    total = sum(weights)
    turned = [dict(update) for update in updates]
    for name, period in periods.items():
        phases = [update[name].astype(np.float64) * (2 * np.pi / period) for update in updates]
        resultant = sum(w / total * np.exp(1j * phase) for w, phase in zip(weights, phases, strict=True))
        now = like[name].astype(np.float64)
        middle = np.where(np.abs(resultant) < NO_DIRECTION, now, np.angle(resultant) * period / (2 * np.pi))
        middle = nearest(middle, now, period)
        for update in turned:
            update[name] = nearest(update[name].astype(np.float64), middle, period)
    mean = weighted_mean(turned, weights, {name: array.astype(np.float64) for name, array in like.items()})
    for name, period in periods.items():
        mean[name] = nearest(mean[name], like[name].astype(np.float64), period)
    return {name: mean[name].astype(array.dtype) for name, array in like.items()}


def nearest(angles: Angles, to: Angles, periods: Angles) -> Angles:
    """The angles, turned by whole periods to within half of one of `to`."""
    turned: Angles = angles - periods * np.round((angles - to) / periods)
    return turned
