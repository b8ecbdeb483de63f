"""The circular mean against the line, against whole turns, and against SciPy where they must agree."""

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import circmean

from strategies.circle import circular_mean
from strategies.mean import weighted_mean

PERIODS = np.array([2 * pi, 4 * pi, 2 * pi, 4 * pi])
WEIGHTS = st.lists(st.integers(1, 300), min_size=1, max_size=6)
SEED = st.integers(0, 10_000)


def mean(thetas, weights, now=None, periods=PERIODS):
    like = {"theta": np.zeros(4) if now is None else now}
    return circular_mean([{"theta": theta} for theta in thetas], weights, like, {"theta": periods})["theta"]


def close_angles(weights, seed, spread=0.9):
    """Angles within `spread` of half a period on each axis, around anywhere."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-8, 8, 4) + PERIODS / 2 * rng.uniform(0, spread, (len(weights), 4))


def off(found, wanted, periods=PERIODS):
    """The distance on the circle."""
    return np.abs((found - wanted + periods / 2) % periods - periods / 2).max()


@given(weights=WEIGHTS, seed=SEED)
def test_angles_within_half_a_circle_have_the_mean_of_the_line(weights, seed):
    thetas = close_angles(weights, seed)
    assert off(mean(thetas, weights), np.average(thetas, axis=0, weights=weights)) < 1e-9


@given(weights=WEIGHTS, seed=SEED)
def test_whole_turns_of_a_client_change_nothing(weights, seed):
    thetas = close_angles(weights, seed)
    turns = np.random.default_rng(seed).integers(-3, 4, thetas.shape)
    assert_allclose(mean(thetas + turns * PERIODS, weights), mean(thetas, weights), atol=1e-9)


@given(weights=WEIGHTS, seed=SEED, shift=st.floats(-10, 10))
def test_turning_everybody_turns_the_mean(weights, seed, shift):
    thetas = close_angles(weights, seed)
    assert off(mean(thetas + shift, weights), mean(thetas, weights) + shift) < 1e-9


@given(seed=SEED)
def test_two_angles_with_equal_weights_agree_with_scipy(seed):
    thetas = close_angles([1, 1], seed)
    for axis, period in enumerate(PERIODS):
        oracle = circmean(thetas[:, axis], high=period)
        assert off(mean(thetas, [1, 1])[axis], oracle, period) < 1e-7


def test_one_degree_and_359_average_to_nothing_and_the_line_to_a_half_turn():
    one, other = (np.full(4, np.radians(degrees)) for degrees in (1.0, 359.0))
    assert_allclose(mean([one, other], [1, 1])[[0, 2]], 0, atol=1e-12)
    assert_allclose(mean([one, other], [1, 1])[[1, 3]], pi, atol=1e-12)  # of 720°, 180° is the nearer middle
    line = weighted_mean([{"theta": one}, {"theta": other}], [1, 1], {"theta": np.zeros(4)})
    assert_allclose(line["theta"], pi)


def test_a_client_with_three_times_the_rows_counts_three_times():
    assert_allclose(mean([np.full(4, 0.4), np.full(4, 2 * pi)], [3, 1])[[0, 2]], 0.3)


def test_the_result_is_the_turn_nearest_to_the_current_angles():
    now = np.full(4, 9 * pi)
    found = mean([np.full(4, 0.1), np.full(4, 0.3)], [1, 1], now)
    assert off(found, np.full(4, 0.2)) < 1e-9
    assert (np.abs(found - now) <= PERIODS / 2 + 1e-9).all()


def test_angles_that_cancel_average_around_the_current_one():
    opposite = [np.zeros(4), PERIODS / 2]
    now = PERIODS / 8
    assert_allclose(mean(opposite, [1, 1], now), PERIODS / 4, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_without_periods_are_averaged_on_the_line_and_types_stay(dtype):
    updates = [{"theta": np.full(4, v, dtype), "bias": np.full(2, v, dtype)} for v in (0.0, 6.0)]
    like = {"theta": np.zeros(4, dtype), "bias": np.zeros(2, dtype)}
    found = circular_mean(updates, [1, 1], like, {"theta": PERIODS})
    assert_allclose(found["bias"], 3.0)
    assert {array.dtype for array in found.values()} == {np.dtype(dtype)}
    assert_allclose(found["theta"][[0, 2]], 3.0 - pi, atol=1e-6)
