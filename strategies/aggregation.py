"""How admitted updates become the next global arrays. Sums run in float64, in the order of client ids."""

from collections.abc import Callable, Sequence

import numpy as np

from strategies.messages import Arrays, Report

Aggregator = Callable[[Arrays, Sequence[Report]], Arrays]


def fedavg(current: Arrays, reports: Sequence[Report]) -> Arrays:
    """θ ← Σ n_i·θ_i / Σ n_i over the admitted clients (McMahan et al. 2017, arXiv:1602.05629)."""
    total = sum(report.examples for report in reports)
    mean: Arrays = {}
    for name, array in current.items():
        weighted = np.zeros(array.shape, np.float64)
        for report in sorted(reports, key=lambda report: report.client):
            weighted += (report.examples / total) * report.arrays[name].astype(np.float64)
        mean[name] = weighted.astype(array.dtype)
    return mean


AGGREGATORS: dict[str, Aggregator] = {"fedavg": fedavg}
