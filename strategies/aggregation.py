"""How admitted updates become the next global arrays."""

from collections.abc import Callable, Sequence
from functools import partial
from math import exp

from recipes.schema import AggregateConfig
from strategies.circle import circular_mean
from strategies.mean import weighted_mean
from strategies.messages import Arrays, Report
from strategies.robust import clipped, krum, median, trimmed

Aggregator = Callable[[AggregateConfig, Arrays, Sequence[Report]], Arrays]  # reports in the order of client ids


def aggregate(
    config: AggregateConfig, current: Arrays, reports: Sequence[Report], periods: Arrays | None = None
) -> Arrays:
    """The next arrays; equal reports give equal bits in whichever order they come. Arrays with periods are angles."""
    rule = AGGREGATORS[config.by]
    if config.mean == "circular":
        if not periods and any(report.arm == "student" for report in reports):  # a twin has no angles
            raise ValueError("aggregate.mean is circular, and the student has no periods: its angles have no circle")
        rule = partial(fedavg, periods=periods)
    return rule(config, current, sorted(reports, key=lambda report: report.client))


def fedavg(
    config: AggregateConfig, current: Arrays, reports: Sequence[Report], periods: Arrays | None = None
) -> Arrays:
    """θ ← Σ w_i·θ_i / Σ w_i over the admitted clients, w_i = n_i·exp(−τ·D_i).

    D_i is the mean KL(teacher‖student_i) on client i's held-out rows: who has left its teacher counts less. A client
    without a teacher has left nobody: D_i = 0, and it weighs n_i as in FedAvg. τ = 0 is the FedAvg of McMahan et al.
    2017 (arXiv:1602.05629). Only differences of D count, so the smallest is taken off.
    """
    least = min(report.divergence for report in reports)
    weights = [report.examples * exp(-config.tau * (report.divergence - least)) for report in reports]
    updates = [report.arrays for report in reports]
    return circular_mean(updates, weights, current, periods) if periods else weighted_mean(updates, weights, current)


def feddf(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """Where FedDF (Lin et al. 2020, arXiv:2006.07242) starts: θ ← Σ n_i·θ_i / Σ n_i; server/ensemble.py goes on."""
    return by_rows(current, reports)


def fedexp(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """θ ← Σ n_i·θ_i / Σ n_i; strategies/moves.py says where beyond θ the clients then start."""
    return by_rows(current, reports)


def by_rows(current: Arrays, reports: Sequence[Report]) -> Arrays:
    """Clients weighted by their training rows and nothing else."""
    return weighted_mean([report.arrays for report in reports], [report.examples for report in reports], current)


AGGREGATORS: dict[str, Aggregator] = {
    rule.__name__: rule for rule in (fedavg, fedexp, feddf, clipped, median, trimmed, krum)
}
