"""Intervals against SciPy and closed forms, and what must hold for any numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from server.statistics import FEWEST, bootstrap, detectable, difference, estimate, t_quantile

accuracies = st.lists(st.floats(0, 1), min_size=FEWEST, max_size=12)


@pytest.mark.parametrize("p", [0.5, 0.6, 0.8, 0.975, 0.995])
@pytest.mark.parametrize("freedom", [*range(1, 12), 49, 200])
def test_students_t_agrees_with_scipy(p, freedom):
    assert_allclose(t_quantile(p, freedom), stats.t.ppf(p, freedom), rtol=1e-9, atol=1e-9)


def test_the_t_interval_is_scipys():
    first, second = [0.81, 0.84, 0.80, 0.86, 0.83], [0.80, 0.82, 0.81, 0.82, 0.80]
    found = difference(first, second)
    theirs = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert_allclose(found.t_interval, (theirs.low, theirs.high))


def test_the_bootstrap_agrees_with_scipys():
    values = np.random.default_rng(3).normal(0.8, 0.02, 20)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=50_000, method="percentile", rng=1).confidence_interval
    assert_allclose(bootstrap(values), (theirs.low, theirs.high), atol=5e-4)


def test_of_three_values_the_bootstrap_ends_at_the_least_and_the_greatest():
    """Each is the mean of one resample in 27, which is more than 2.5%."""
    assert_allclose(bootstrap([0.9, 0.7, 0.8]), (0.7, 0.9))


@settings(max_examples=40)
@given(values=accuracies)
def test_the_interval_holds_the_mean_and_lies_within_the_values(values):
    found = estimate(values)
    low, high = found.interval
    assert min(values) - 1e-9 <= low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= high <= max(values) + 1e-9


@settings(max_examples=25)
@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=FEWEST, max_size=8), data=st.data())
def test_the_order_of_the_seeds_changes_nothing(pairs, data):
    again = data.draw(st.permutations(pairs))
    first, second = (difference(*zip(*some, strict=True)) for some in (pairs, again))
    assert first == second


@settings(max_examples=25)
@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=FEWEST, max_size=8))
def test_turned_around_a_difference_changes_its_sign_and_nothing_else(pairs):
    ours, theirs = zip(*pairs, strict=True)
    there, back = difference(ours, theirs), difference(theirs, ours)
    assert_allclose((there.mean, there.spread), (-back.mean, back.spread), atol=1e-12)
    assert_allclose(there.t_interval, [-end for end in reversed(back.t_interval)], atol=1e-12)
    assert there.shown == back.shown


@given(spread=st.floats(1e-6, 1), n=st.integers(2, 100))
def test_more_seeds_detect_less(spread, n):
    assert detectable(spread, n + 1) < detectable(spread, n)


def test_with_many_seeds_the_detectable_effect_is_the_normal_one():
    quantiles = stats.norm.ppf([0.975, 0.8]).sum()
    assert_allclose(detectable(0.02, 5000), quantiles * 0.02 / 5000**0.5, rtol=1e-3)


def test_the_detectable_effect_is_found_four_times_in_five():
    """By simulation, with the true spread; the t form is a little generous for few seeds."""
    draw, n, spread = np.random.default_rng(0), 8, 1.0
    effect = detectable(spread, n)
    pairs = draw.normal(effect, spread, (4000, n))
    assert 0.78 < np.mean(stats.ttest_1samp(pairs, 0, axis=1).pvalue < 0.05) < 0.86


@pytest.mark.parametrize("n", [3, 5])
def test_where_there_is_no_difference_one_is_shown_once_in_twenty(n):
    draw = np.random.default_rng(1)
    found = [difference(draw.normal(size=n), np.zeros(n)) for _ in range(300)]
    alone = np.mean([low > 0 or high < 0 for low, high in (one.interval for one in found)])
    assert np.mean([one.shown for one in found]) < 0.08 < alone  # the bootstrap alone would claim far more


@pytest.mark.parametrize("n", range(1, FEWEST))
def test_fewer_than_three_seeds_have_no_interval(n):
    assert estimate([0.8] * n).interval is None
    found = difference([0.9] * n, [0.1] * n)
    assert (found.interval, found.t_interval, found.detectable, found.shown) == (None, None, None, False)


def test_without_a_spread_nothing_is_shown():
    found = difference([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    assert found.spread == 0
    assert not found.shown
