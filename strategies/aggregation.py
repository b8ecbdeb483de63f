"""How admitted updates become the next global arrays."""

from collections.abc import Callable, Sequence

from recipes.schema import AggregateConfig
from strategies.mean import weighted_mean
from strategies.messages import Arrays, Report
from strategies.robust import clipped, krum, median, trimmed

Aggregator = Callable[[AggregateConfig, Arrays, Sequence[Report]], Arrays]  # reports in the order of client ids


def aggregate(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """The next arrays; equal reports give equal bits in whichever order they come."""
    return AGGREGATORS[config.by](config, current, sorted(reports, key=lambda report: report.client))


def fedavg(config: AggregateConfig, current: Arrays, reports: Sequence[Report]) -> Arrays:
    """θ ← Σ n_i·θ_i / Σ n_i over the admitted clients (McMahan et al. 2017, arXiv:1602.05629)."""
    return weighted_mean([report.arrays for report in reports], [report.examples for report in reports], current)


AGGREGATORS: dict[str, Aggregator] = {rule.__name__: rule for rule in (fedavg, clipped, median, trimmed, krum)}
