"""What a few seeds allow us to say: bootstrap intervals, paired differences, and what they could have shown at all.

A percentile bootstrap over few seeds is too narrow (three of one sign always leave 0 out, once in four by chance), so
a difference counts as shown when Student's paired t interval leaves 0 out, and that is the interval beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, fsum, pi, sin, sqrt, tan

import numpy as np

RESAMPLES = 10_000
FEWEST = 3  # seeds; fewer give no interval
LEVEL, POWER = 0.95, 0.80

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; the interval is None below `FEWEST` seeds."""

    n: int
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Difference(Estimate):
    """A mean of paired differences, with what tells whether it is more than chance."""

    spread: float  # standard deviation between the pairs
    t_interval: Interval | None
    detectable: float | None  # the minimum detectable effect
    won: int  # pairs above 0
    lost: int  # pairs below it

    @property
    def shown(self) -> bool:
        """Whether Student's interval leaves 0 out, with a spread to judge by."""
        low, high = self.t_interval or (0.0, 0.0)
        return self.spread > 0 and (low > 0 or high < 0)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95% interval; the order of the seeds changes nothing."""
    return Estimate(len(values), mean(values), bootstrap(values))


def difference(values: Sequence[float], others: Sequence[float]) -> Difference:
    """values − others, pair by pair (one pair a seed)."""
    pairs = [value - other for value, other in zip(values, others, strict=True)]
    won, lost = sum(pair > 0 for pair in pairs), sum(pair < 0 for pair in pairs)
    found = estimate(pairs)
    if found.interval is None:
        return Difference(found.n, found.mean, None, 0.0, None, None, won, lost)
    spread = 0.0 if np.ptp(pairs) < 1e-12 else float(np.std(np.sort(pairs), ddof=1))
    half = t_quantile((1 + LEVEL) / 2, found.n - 1) * spread / sqrt(found.n)
    around = (found.mean - half, found.mean + half)
    return Difference(found.n, found.mean, found.interval, spread, around, detectable(spread, found.n), won, lost)


def mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval | None:
    """Percentile bootstrap of the mean (Efron 1979): 2.5% and 97.5% of the means of 10,000 resamples of the seeds."""
    if len(values) < FEWEST:
        return None
    ordered = np.sort(np.asarray(values, dtype=float))
    draws = np.random.default_rng(seed).integers(0, len(ordered), (RESAMPLES, len(ordered)))
    low, high = np.quantile(ordered[draws].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def detectable(spread: float, n: int) -> float:
    """MDE = (t₀.₉₇₅ + t₀.₈₀)·s/√n, t with n − 1 degrees of freedom, s the pairs' standard deviation.

    The difference that a paired two-sided test at 5% finds four times in five. The large-sample form has normal
    quantiles (1.96 + 0.84); Student's stand for them because s comes from few seeds (Bloom 1995).
    """
    return (t_quantile((1 + LEVEL) / 2, n - 1) + t_quantile(POWER, n - 1)) * spread / sqrt(n)


def t_quantile(p: float, freedom: int) -> float:
    """Student's t below which a share p ≥ ½ lies, by bisection on θ = atan(t/√ν)."""
    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < 2 * p - 1 else (low, middle)
    return sqrt(freedom) * tan(low)


def within(theta: float, freedom: int) -> float:
    """P(|T| < √ν·tan θ), a finite sum for whole ν (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    odd = freedom % 2
    term, terms = (cos(theta) if odd else 1.0), []
    for k in range(odd, freedom - 1, 2):  # cosᵏ, each with its factor
        terms.append(term)
        term *= cos(theta) ** 2 * (k + 1) / (k + 2)
    inner = sin(theta) * fsum(terms)
    return 2 / pi * (theta + inner) if odd else inner
