"""When a run has converged."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.schema import StopConfig
from strategies import stop

LOSSES = st.lists(st.floats(0, 10), max_size=12)
PATIENCE = st.integers(1, 5)
GAPS = st.lists(st.floats(-2, 2), max_size=12)


def converged(losses, epsilon, patience):
    return stop.converged(StopConfig(epsilon=epsilon, patience=patience), losses, [])


def caught_up(gaps, delta, patience):
    return stop.converged(StopConfig(delta=delta, patience=patience), [], gaps)


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


@given(gaps=GAPS, delta=st.floats(0, 2), patience=PATIENCE)
def test_a_student_has_caught_up_once_it_was_near_its_teacher_for_patience_rounds(gaps, delta, patience):
    assert caught_up(gaps, delta, patience) == (
        len(gaps) >= patience and all(gap <= delta for gap in gaps[len(gaps) - patience :])
    )


@given(gaps=GAPS, patience=PATIENCE)
def test_without_delta_a_student_never_catches_up(gaps, patience):
    assert not caught_up(gaps, None, patience)


def test_a_round_without_teachers_counts_for_nobody_catching_up():
    assert not caught_up([None], 5.0, 1)
    assert not caught_up([0.1, None], 5.0, 2)
    assert caught_up([None, 0.1], 5.0, 1)


def test_a_student_ahead_of_its_teacher_has_caught_up_and_either_rule_stops():
    assert caught_up([0.3, -0.1], 0.0, 1)
    assert not caught_up([0.3, -0.1], 0.0, 2)
    both = StopConfig(epsilon=0.01, delta=0.1, patience=1)
    assert stop.converged(both, [0.5, 0.4], [0.3, 0.1])
    assert stop.converged(both, [0.5, 0.499], [0.3, 0.3])
    assert not stop.converged(both, [0.5, 0.4], [0.3, 0.3])
