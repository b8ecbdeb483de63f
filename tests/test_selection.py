"""Every rule of the registry: how many it takes, and that nothing but its arguments decides."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.schema import SelectConfig
from strategies.selection import SELECTORS, select

LOSSES = st.dictionaries(st.integers(0, 99), st.floats(0, 10), min_size=1, max_size=20)
PERCENT = st.floats(0.1, 100)
KEY = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 1000), st.integers(0, 1))


def config(rule, percent):
    return SelectConfig(by=rule, percent=percent)


@pytest.mark.parametrize("rule", SELECTORS)
@given(losses=LOSSES, percent=PERCENT, reference=st.floats(0, 10), key=KEY, order=st.randoms())
def test_the_share_is_kept_at_least_one_and_the_order_of_arrival_is_nothing(
    rule, losses, percent, reference, key, order
):
    chosen = select(config(rule, percent), losses, reference, key)
    assert chosen == sorted(set(chosen) & losses.keys())
    assert len(chosen) == (len(losses) if rule == "everyone" else ceil(len(losses) * percent / 100))
    assert chosen
    shuffled = list(losses.items())
    order.shuffle(shuffled)
    assert select(config(rule, percent), dict(shuffled), reference, key) == chosen


@pytest.mark.parametrize("rule", SELECTORS)
@given(losses=LOSSES, reference=st.floats(0, 10), key=KEY)
def test_a_hundred_percent_are_all(rule, losses, reference, key):
    assert select(config(rule, 100), losses, reference, key) == sorted(losses)


@given(losses=LOSSES, percent=PERCENT, reference=st.floats(0, 10), key=KEY)
def test_alignment_takes_nobody_who_deviates_more_than_one_left_out(losses, percent, reference, key):
    chosen = select(config("alignment", percent), losses, reference, key)
    farthest = max(abs(losses[client] - reference) for client in chosen)
    left = [abs(losses[client] - reference) for client in losses if client not in chosen]
    assert all(deviation >= farthest for deviation in left)


def test_alignment_looks_at_both_sides_of_the_reference_and_ties_go_to_the_lower_id():
    losses = {4: 0.75, 3: 1.25, 2: 1.5, 1: 0.25, 0: 3.0}  # |L − 1|: 0.25, 0.25, 0.5, 0.75, 2
    assert select(config("alignment", 20), losses, 1.0, (0,)) == [3]
    assert select(config("alignment", 41), losses, 1.0, (0,)) == [2, 3, 4]
    assert select(config("alignment", 80), losses, 1.0, (0,)) == [1, 2, 3, 4]


@given(ids=st.sets(st.integers(0, 99), min_size=2, max_size=20), percent=PERCENT, key=KEY, data=st.data())
def test_a_uniform_draw_sees_neither_losses_nor_reference(ids, percent, key, data):
    draws = []
    for _ in range(2):
        losses = {client: data.draw(st.floats(0, 10)) for client in ids}
        draws.append(select(config("uniform", percent), losses, data.draw(st.floats(0, 10)), key))
    assert draws[0] == draws[1]


def test_uniform_draws_cover_all_clients_evenly():
    losses, draws = dict.fromkeys(range(10), 0.5), 2000
    drawn = [client for key in range(draws) for client in select(config("uniform", 30), losses, 0.0, (7, key, 1))]
    counts = [drawn.count(client) for client in losses]
    assert sum(counts) == 3 * draws
    assert all(abs(count - 0.3 * draws) < 5 * (draws * 0.3 * 0.7) ** 0.5 for count in counts)  # five deviations


@given(losses=LOSSES, percent=PERCENT, more=st.floats(0, 1), key=KEY)
def test_power_of_choice_takes_the_worst_of_its_candidates(losses, percent, more, key):
    candidates = percent + more * (100 - percent)
    chosen = select(
        SelectConfig(by="power-of-choice", percent=percent, candidates=candidates), losses, float("nan"), key
    )
    looked_at = select(config("uniform", candidates), losses, float("nan"), key)  # the same draw
    assert set(chosen) <= set(looked_at)
    least = min(losses[client] for client in chosen)
    assert all(losses[client] <= least for client in set(looked_at) - set(chosen))


def test_power_of_choice_with_every_client_a_candidate_is_greedy_and_ties_go_to_the_lower_id():
    losses = {0: 0.5, 1: 2.0, 2: 1.0, 3: 2.0, 4: 0.1}
    assert select(config("power-of-choice", 20), losses, 0.0, (0,)) == [1]
    assert select(config("power-of-choice", 60), losses, 0.0, (0,)) == [1, 2, 3]


def test_fewer_candidates_let_clients_in_whose_loss_is_small():
    """With d = k it is a uniform draw; the larger d, the larger the mean loss of those who train (Cho et al. 2020)."""
    losses = {client: float(client) for client in range(20)}
    means = []
    for candidates in (20, 50, 100):
        rule = SelectConfig(by="power-of-choice", percent=20, candidates=candidates)
        drawn = [client for key in range(200) for client in select(rule, losses, 0.0, (5, key))]
        means.append(sum(drawn) / len(drawn))
    assert 8.5 < means[0] < 10.5
    assert means[0] + 2 < means[1] < means[2] - 2
    assert means[2] == 17.5
