"""Every optimiser against a budget, SciPy, and functions whose minimum is known."""

import logging
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from quantum import cobyla, optimise
from quantum.optimise import OPTIMISERS, fewest, minimise
from quantum.search import EXACT_GRADIENT
from recipes.schema import OptimiserConfig


class Bowl:
    """L(θ) = ½·Σ s_p·(θ_p − aim_p)², and every question that was asked of it."""

    def __init__(self, n, seed=0, noise=0.0):
        self.draws = np.random.default_rng(seed)
        self.aim, self.stiff = self.draws.normal(size=n), self.draws.uniform(0.5, 2, n)
        self.noise, self.shifts, self.asked = noise, 1 + 2 * n, []

    def losses(self, thetas):
        self.asked.append(thetas.copy())
        values = ((thetas - self.aim) ** 2 * self.stiff).sum(axis=1) / 2
        return values + self.noise * self.draws.normal(size=len(thetas))

    def exact(self, theta):
        return float(self.losses(theta[None])[0]), self.stiff * (theta - self.aim)

    shifted = exact


def cost(kind, bowl):
    """What the questions of one search cost by the rules of `quantum/search.py`."""
    gradients = {"adam": EXACT_GRADIENT, "shift": bowl.shifts}
    if kind in gradients:  # all but the last question
        return gradients[kind] * (len(bowl.asked) - 1) + 1
    return sum(map(len, bowl.asked))


@pytest.mark.parametrize("kind", OPTIMISERS)
@settings(max_examples=25, derandomize=True)
@given(maxiter=st.integers(1, 90), n=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_search_never_passes_its_budget_nor_returns_worse_than_its_start(kind, maxiter, n, seed):
    bowl = Bowl(n, seed)
    found = minimise(OptimiserConfig(kind=kind), bowl, np.zeros(n), maxiter, seed=seed)
    seen = np.concatenate(bowl.asked)
    assert found.evaluations == cost(kind, bowl) <= maxiter
    assert_array_equal(seen[0], 0)  # the start comes first
    assert_allclose(found.trace, Bowl(n, seed).losses(seen))
    assert found.value == min(found.trace) == Bowl(n, seed).losses(found.x[None])[0]
    again = minimise(OptimiserConfig(kind=kind), Bowl(n, seed), np.zeros(n), maxiter, seed=seed)
    assert_array_equal(found.x, again.x)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_every_optimiser_finds_the_bottom_of_a_bowl(kind):
    bowl = Bowl(4)
    steps = 2000 if kind != "shift" else 2000 * 3
    found = minimise(OptimiserConfig(kind=kind, **({"a": 0.5} if kind == "spsa" else {})), bowl, np.zeros(4), steps)
    assert_allclose(found.x, bowl.aim, atol=0.02)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_budget_of_a_step_moves_and_one_less_is_warned_of_once(kind, caplog):
    least = fewest(OptimiserConfig(kind=kind), shifts=Bowl(3).shifts)
    optimise._warn.cache_clear()
    with caplog.at_level(logging.WARNING, "quantum.optimise"):
        still = [minimise(OptimiserConfig(kind=kind), Bowl(3), np.zeros(3), least - 1) for _ in range(2)]
        said = [record.message.split(",")[0] for record in caplog.records if record.name == "quantum.optimise"]
        assert said == [f"maxiter {least - 1} is below {least}"]
        tried = Bowl(3)
        minimise(OptimiserConfig(kind=kind), tried, np.zeros(3), least)
    assert_array_equal([found.x for found in still], 0)
    assert np.concatenate(tried.asked).any()


def test_cobyla_asks_for_the_points_of_scipys():
    """But where two lengths tie to the last bit, which SciPy leaves to rounding."""
    apart = [np.abs(np.subtract(*traces)).max() for traces in map(both_cobylas, range(12))]
    assert sorted(apart)[-3] < 1e-8


def both_cobylas(seed):
    """The losses of 35 evaluations on a sum of waves in 14 angles, ours and SciPy's."""
    draws = np.random.default_rng(seed)
    wave, phase, start = draws.normal(size=(5, 14)), draws.uniform(0, 6, 5), draws.normal(size=14)
    theirs = []

    class Waves:
        def losses(self, thetas):
            return np.sin(thetas @ wave.T + phase).sum(axis=1)

    def counted(x):
        theirs.append(float(Waves().losses(x[None])[0]))
        return theirs[-1]

    minimize(counted, start, method="COBYLA", options={"maxiter": 35, "rhobeg": 0.3, "tol": 0.3e-4})
    return minimise(OptimiserConfig(), Waves(), start, 35).trace, theirs


def test_cobyla_warns_once_of_a_budget_below_its_first_model(caplog):
    cobyla._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            minimise(OptimiserConfig(), Bowl(16), np.zeros(16), 10)
    assert [record.message.split(":")[0] for record in caplog.records] == ["maxiter 10 is below 18"]


def test_cobyla_stops_on_a_plain():
    class Plain:
        def losses(self, thetas):
            return np.ones(len(thetas))

    found = minimise(OptimiserConfig(), Plain(), np.zeros(3), 1000)
    assert found.evaluations < 100
    assert_array_equal(found.x, 0)


@given(maxiter=st.integers(1, 40), seed=st.integers(0, 9))
@settings(max_examples=30)
def test_the_two_points_of_an_spsa_step_are_one_batch_and_lie_opposite(maxiter, seed):
    bowl = Bowl(5, seed)
    minimise(OptimiserConfig(kind="spsa", c=0.3), bowl, np.zeros(5), maxiter, seed=seed)
    if maxiter < 4:
        assert [len(batch) for batch in bowl.asked] == [1]
        return
    first, *others, last = bowl.asked
    assert [len(first), *map(len, others), len(last)] == [3, *[2] * ((maxiter - 2) // 2 - 1), 1]
    for k, batch in enumerate([first, *others], 1):
        assert_allclose(np.abs(batch[-2] - batch[-1]), 2 * 0.3 / k**0.101)


def test_spsa_draws_other_directions_with_another_seed():
    ends = [minimise(OptimiserConfig(kind="spsa"), Bowl(6), np.zeros(6), 20, seed=seed) for seed in range(3)]
    assert len({end.trace for end in ends}) == 3


def test_spsa_comes_down_through_noise():
    starts = []
    for seed in range(8):
        bowl = Bowl(8, seed, noise=0.05)
        found = minimise(OptimiserConfig(kind="spsa", a=0.5), bowl, np.zeros(8), 200, seed=seed)
        quiet = Bowl(8, seed)
        starts.append(quiet.losses(found.x[None])[0] / quiet.losses(np.zeros((1, 8)))[0])
    assert np.median(starts) < 0.1


def test_adam_takes_the_steps_of_torch():
    torch = pytest.importorskip("torch")
    bowl = Bowl(6)
    minimise(OptimiserConfig(kind="adam", learning_rate=0.05), bowl, np.zeros(6), 3 * 30 + 1)
    theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.Adam([theta], lr=0.05)
    aim, stiff = torch.from_numpy(bowl.aim), torch.from_numpy(bowl.stiff)
    path = [theta.detach().numpy().copy()]
    for _ in range(30):
        theirs.zero_grad()
        (stiff * (theta - aim) ** 2).sum().div(2).backward()
        theirs.step()
        path.append(theta.detach().numpy().copy())
    assert_allclose(np.concatenate(bowl.asked), path, atol=1e-12)


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_search_with_an_error(kind, bad):
    bowl = Bowl(3)
    bowl.losses = lambda thetas: np.full(len(thetas), bad)
    with pytest.raises(ValueError, match=f"the objective is {bad} at evaluation"):
        minimise(OptimiserConfig(kind=kind), bowl, np.zeros(3), 100)


def test_a_gradient_that_is_not_finite_is_an_error():
    bowl = Bowl(3)
    bowl.exact = lambda theta: (1.0, np.full(3, math.nan))
    with pytest.raises(ValueError, match="the gradient at evaluation 3 is not finite"):
        minimise(OptimiserConfig(kind="adam"), bowl, np.zeros(3), 10)


def test_no_budget_at_all_is_an_error():
    with pytest.raises(ValueError, match="maxiter is 0"):
        minimise(OptimiserConfig(), Bowl(3), np.zeros(3), 0)
