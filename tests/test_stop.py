"""When a run has converged."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.stop import converged

LOSSES = st.lists(st.floats(0, 10), max_size=12)
PATIENCE = st.integers(1, 5)


@given(losses=LOSSES, patience=PATIENCE)
def test_epsilon_zero_never_stops(losses, patience):
    assert not converged(losses, 0.0, patience)
    assert not converged([0.5] * 20, 0.0, patience)


@given(losses=LOSSES, epsilon=st.floats(1e-6, 1), patience=PATIENCE)
def test_it_takes_patience_changes_in_a_row_each_small(losses, epsilon, patience):
    small = [abs(now - before) < epsilon * before for before, now in pairwise(losses)]
    assert converged(losses, epsilon, patience) == (len(small) >= patience and all(small[-patience:]))


@given(losses=LOSSES, epsilon=st.floats(1e-6, 1), patience=PATIENCE)
def test_more_patience_never_stops_earlier(losses, epsilon, patience):
    if converged(losses, epsilon, patience + 1):
        assert converged(losses, epsilon, patience)


@pytest.mark.parametrize(
    ("losses", "patience", "stops"),
    [
        ([0.5, 0.499], 1, True),  # 0.2 %
        ([0.5, 0.499], 2, False),  # only one change was seen
        ([0.5, 0.499, 0.498], 2, True),
        ([0.5, 0.501, 0.5], 2, True),  # up counts as down
        ([0.5, 0.4, 0.399], 2, False),  # the first of the two was 20 %
        ([0.5, 0.495], 1, False),  # 1 % is not below 1 %
        ([], 1, False),
        ([0.5], 1, False),
    ],
)
def test_worked_examples_at_one_percent(losses, patience, stops):
    assert converged(losses, 0.01, patience) == stops


def test_a_loss_that_is_not_a_number_never_converges():
    assert not converged([0.5, float("nan"), float("nan")], 0.5, 1)
