"""COBYLA without constraints: linear models on a simplex, in a trust region (Powell 1994; PRIMA, Zhang 2023).

The n + 1 vertices of a simplex carry values; the linear model through them has slope g, and the next point lies Δ
downhill from the best vertex, the pole. SciPy ships the whole method in pure Python and spends 0.5 ms an evaluation on
constraints that angles do not have; without them its arithmetic is what stands here. The points are SciPy's, test by
test. N angles.
"""

import logging
from functools import cache
from math import sqrt

import numpy as np

from quantum.search import Angles, Search
from recipes.schema import OptimiserConfig

log = logging.getLogger(__name__)

TIE = 1 + 1e-9  # an edge of 2Δ, as every halving of Δ leaves one, is short enough: not for its last bit to decide
FINEST = 1e-4  # of the first step: the resolution at which a search has converged


def cobyla(config: OptimiserConfig, search: Search, start: Angles) -> None:
    """From steps of ρ = rhobeg down to ρ = 1e-4·rhobeg, or to the end of the budget."""
    n = len(start)
    if search.budget < n + 2:
        _warn(search.budget, n)
    simplex = _Simplex(search, start, config.rhobeg)
    finest = config.rhobeg * FINEST
    rho = delta = config.rhobeg  # the resolution, and Δ ≥ ρ, the radius of the trust region
    while True:
        inverse_NN = simplex.inverse()
        adequate = simplex.widest() <= 4 * delta**2 * TIE
        g = simplex.slope(inverse_NN)
        steepness = float(np.linalg.norm(g))
        stuck, step = True, delta if steepness else 0.0
        if steepness:
            d = g * (-delta / steepness)
            value = search.value(simplex.pole + d)
            ratio = (simplex.value - value) / (delta * steepness)  # of the fall to what the model promised
            delta *= 0.5 if ratio <= 0.1 else 1.0 if ratio <= 0.7 else 2.0
            if delta <= 1.5 * rho:
                delta = rho
            dropped = simplex.weakest(d, inverse_NN, max(rho, delta / 10), improved=ratio > 0)
            if dropped is not None:
                simplex.replace(dropped, d, value)
            stuck = ratio <= 0 or dropped is None
        else:
            delta = rho if delta <= 15 * rho else delta / 10
        if stuck and not adequate and simplex.widest() > 4 * delta**2 * TIE:
            simplex.mend(search, delta / 2)
        elif stuck and adequate and max(delta, step) <= rho:
            if rho <= finest:
                return
            delta = max(0.5 * rho, _finer(rho, finest))
            rho = _finer(rho, finest)


class _Simplex:
    """The pole with the least value so far; column j of the edges leads from it to vertex j."""

    def __init__(self, search: Search, start: Angles, rho: float) -> None:
        """Steps of ρ along each axis in turn, each from the best vertex so far."""
        n = len(start)
        self.pole, self.value = start, search.value(start)
        self.edges_NN: Angles = np.eye(n) * rho
        self.values_N: Angles = np.empty(n)
        for j in range(n):
            x = self.pole.copy()
            x[j] += rho
            self.values_N[j] = search.value(x)
            if self.values_N[j] < self.value:
                self.values_N[j], self.value = self.value, self.values_N[j]
                self.pole = x
                self.edges_NN[j, : j + 1] = -rho

    def inverse(self) -> Angles:
        """Row j is perpendicular to the face opposite vertex j."""
        return np.asarray(np.linalg.inv(self.edges_NN), dtype=np.float64)

    def slope(self, inverse_NN: Angles) -> Angles:
        """g of the linear model: edge·g = value − the pole's, for every edge."""
        return np.asarray((self.values_N - self.value) @ inverse_NN)

    def widest(self) -> float:
        """Square of the longest edge."""
        return float((self.edges_NN**2).sum(axis=0).max())

    def weakest(self, d: Angles, inverse_NN: Angles, near: float, *, improved: bool) -> int | None:
        """Which vertex the point pole + d replaces: one far away whose Lagrange function is large there; N is the pole.

        Nobody, where no exchange leaves a simplex of any volume (Scheinberg and Toint 2010, eq. 4.1).
        """
        lagrange_N = inverse_NN @ d
        score = np.abs(np.append(lagrange_N, 1 - lagrange_N.sum()))
        ends = self.edges_NN - d[:, None] if improved else self.edges_NN
        squares = np.append((ends**2).sum(axis=0), d @ d)
        score *= np.maximum(1, squares / near**2)
        best = int(score.argmax() if improved else score[:-1].argmax())
        return best if score[best] > 0 else None

    def replace(self, j: int, d: Angles, value: float) -> None:
        """Put pole + d in the place of vertex j, then the best vertex in that of the pole."""
        if j == len(self.values_N):
            self.pole, self.value = self.pole + d, value
            self.edges_NN -= d[:, None]
        else:
            self.edges_NN[:, j], self.values_N[j] = d, value
        best = int(self.values_N.argmin())
        if self.values_N[best] < self.value:
            edge = self.edges_NN[:, best].copy()
            self.values_N[best], self.value = self.value, self.values_N[best]
            self.pole = self.pole + edge
            self.edges_NN[:, best] = 0
            self.edges_NN -= edge[:, None]

    def mend(self, search: Search, length: float) -> None:
        """Replace the furthest vertex by one right above the opposite face, on the downhill side of it."""
        inverse_NN = self.inverse()
        j = int((self.edges_NN**2).sum(axis=0).argmax())
        d: Angles = inverse_NN[j] * (length / np.linalg.norm(inverse_NN[j]))
        if d @ self.slope(inverse_NN) > 0:
            d = -d
        self.replace(j, d, search.value(self.pole + d))


def _finer(rho: float, finest: float) -> float:
    """The next resolution: a tenth, then the geometric mean with the finest, then the finest."""
    ratio = rho / finest
    return 0.1 * rho if ratio > 250 else finest if ratio <= 16 else sqrt(ratio) * finest


@cache  # once a process for each pair, not once a round
def _warn(maxiter: int, n: int) -> None:
    log.warning("maxiter %d is below %d: COBYLA spends %d on its first model of %d angles", maxiter, n + 2, n + 1, n)
