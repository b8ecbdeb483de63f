"""Aggregation when some of the n clients lie: what f of them send moves the result only so far.

Only `clipped` believes how many rows a client says it has: a liar would say many. Nothing here checks the losses that
clients report, nor their statistics of the feature stages.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from recipes.schema import AggregateConfig
from strategies.mean import weighted_mean
from strategies.messages import Arrays, Report


def clipped(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """θ ← θ + Σ n_i·min(1, b/‖u_i‖)·u_i / Σ n_i, with u_i = θ_i − θ (Sun et al. 2019, arXiv:1911.07963).

    θ moves by at most b a round, whatever is sent. Unless the recipe sets a bound, b is the median of the ‖u_i‖, as the
    quantile ½ of Andrew et al. 2021 (arXiv:1905.03871) but of this round: nothing to guess, it shrinks as training
    settles, and while f < n/2 it lies between two honest lengths. Its price: half of the honest updates are shortened.
    """
    updates = [{name: moved(report, name, array) for name, array in current.items()} for report in reports]
    lengths = np.array([np.sqrt(sum(np.square(part).sum() for part in update.values())) for update in updates])
    bound = config.bound or float(np.median(lengths))
    scales = bound / np.maximum(lengths, bound) if bound else np.zeros(len(lengths))
    shortened = [
        {name: array + scale * update[name] for name, array in current.items()}
        for update, scale in zip(updates, scales, strict=True)
    ]
    return weighted_mean(shortened, [report.examples for report in reports], current)


def median(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """θ[p] ← median of the θ_i[p], every p for itself (Yin et al. 2018, arXiv:1803.01498, Definition 1).

    While f < n/2, no p leaves the range of the honest values.
    """
    return {name: np.median(stacked(name, reports), axis=0).astype(array.dtype) for name, array in current.items()}


def trimmed(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """θ[p] ← mean of the θ_i[p] without the k largest and the k smallest, k = ⌈β·n⌉ (Yin et al. 2018, Definition 2).

    While f ≤ k, no p leaves the range of the honest values. Where β·n is no whole number Flower rounds it down, which
    trims nothing once one of five clients has failed; we round up, but leave the median.
    """
    n = len(reports)
    k = min(ceil(round(config.share * n, 9)), (n - 1) // 2)  # 0.07 · 100 is 7.000000000000001
    inner = {name: np.sort(stacked(name, reports), axis=0)[k : n - k] for name in current}
    return {name: inner[name].mean(axis=0).astype(array.dtype) for name, array in current.items()}


def krum(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """θ ← the θ_i with the smallest s_i = Σ_{i→j} ‖θ_i − θ_j‖² over its n − f − 2 nearest (Blanchard et al. 2017).

    arXiv:1703.02757, for n ≥ 2f + 3; ties go to the lower id. With `kept` m > 1 it is their Multi-Krum, the plain mean
    of the m with the smallest scores; here m ≤ n − f − 2, no more than a score looks at.
    """
    n = len(reports)
    if n < config.fewest():
        raise ValueError(f"{n} updates; krum with {config.liars} liars and {config.kept} kept needs {config.fewest()}")
    vectors_CP = np.concatenate([stacked(name, reports).reshape(n, -1) for name in current], axis=1)
    squares_CC = np.array([np.square(vectors_CP - vector).sum(axis=1) for vector in vectors_CP])
    others_CC = np.sort(squares_CC[~np.eye(n, dtype=bool)].reshape(n, n - 1), axis=1)
    scores_C = others_CC[:, : n - config.liars - 2].sum(axis=1)
    chosen = sorted(np.argsort(scores_C, kind="stable")[: config.kept])
    return weighted_mean([reports[i].arrays for i in chosen], [1.0] * len(chosen), current)


def moved(report: Report, name: str, current: NDArray[np.generic]) -> NDArray[np.float64]:
    """u_i, one array of it."""
    return report.arrays[name].astype(np.float64) - current.astype(np.float64)


def stacked(name: str, reports: Sequence[Report]) -> NDArray[np.float64]:
    """One array of every client, clients first."""
    return np.stack([report.arrays[name].astype(np.float64) for report in reports])
