"""Where a round starts beyond the mean of the last: FedExP's step, its bound, and a federation that takes it."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from recipes.load import load
from server.checkpoint import newest
from server.ledger import lines
from strategies.mean import weighted_mean
from strategies.moves import beyond, stride
from strategies.wire import assigned

TYPES = st.sampled_from(["float32", "float64"])
START = arrays(float, 5, elements=st.floats(-10, 10, width=32))
THETAS = st.integers(1, 12).flatmap(lambda n: arrays(float, (n, 5), elements=st.floats(-10, 10, width=32)))


def stepped(start_P, thetas_CP, weights, dtype="float64"):
    """The mean, how far along it the step goes and where it ends, with two arrays of different shapes."""
    start, updates = (
        {"a": x[..., :1].astype(dtype), "b": x[..., 1:].reshape(*x.shape[:-1], 2, 2).astype(dtype)}
        for x in (start_P, thetas_CP)
    )
    said = [{name: array[client] for name, array in updates.items()} for client in range(len(thetas_CP))]
    mean = weighted_mean(said, weights, start)
    step = stride(start, mean, said, weights)
    ends = mean, beyond(start, mean, step)
    assert all(end[name].dtype == dtype for end in ends for name in end)
    mean_P, ahead_P = (np.concatenate([np.ravel(end[name]) for name in "ab"]) for end in ends)
    return mean_P, step, ahead_P


@given(start_P=START, thetas_CP=THETAS, dtype=TYPES, data=st.data())
def test_the_step_is_fedexps_until_it_would_go_farther_than_the_clients_did(start_P, thetas_CP, dtype, data):
    n = len(thetas_CP)
    weights = data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    mean_P, step, ahead_P = stepped(start_P, thetas_CP, weights, dtype)
    went = np.average(np.linalg.norm(thetas_CP - start_P, axis=1) ** 2, weights=weights)
    length = np.linalg.norm(mean_P - start_P)
    assume(length > 1e-3)  # or float32 has no more than rounding left of it
    fedexp = max(1.0, went / (2 * length**2))
    assert step == pytest.approx(min(fedexp, max(1.0, np.sqrt(went) / length), np.sqrt(n)), rel=1e-3)
    assert_allclose(ahead_P - start_P, step * (mean_P - start_P), rtol=1e-5, atol=1e-4)


@given(start_P=START, moves_HP=THETAS, dtype=TYPES)
def test_clients_that_cancel_start_where_they_were(start_P, moves_HP, dtype):
    thetas_CP = np.concatenate([start_P + moves_HP, start_P - moves_HP])
    _, _, ahead_P = stepped(start_P, thetas_CP, [1] * len(thetas_CP), dtype)
    assert_allclose(ahead_P, start_P, atol=1e-4)  # also where their sum is not quite 0


def test_clients_that_agree_start_at_their_mean():
    mean_P, step, ahead_P = stepped(np.arange(5.0), np.tile(np.arange(5.0) + 0.3, (4, 1)), [1] * 4)
    assert step == 1
    assert_array_equal(ahead_P, mean_P)


def test_of_n_clients_that_go_their_own_ways_the_step_is_the_root_of_n():
    mean_P, step, ahead_P = stepped(np.zeros(5), np.eye(5), [1] * 5)
    assert step == pytest.approx(np.sqrt(5))
    assert_allclose(ahead_P, np.sqrt(5) * mean_P)


def test_clients_start_ahead_of_the_mean_and_score_the_mean(run_here, monkeypatch):
    changes = ["aggregate.by=fedexp", "clients=3", "rounds=3", "select.by=uniform", "select.percent=50"]
    sent, steps = {}, []

    def far(start, mean, updates, weights):
        steps.append((start["theta"], mean["theta"], len(updates), len(weights)))
        return 3.0

    def overheard(client, message):
        asked = assigned(message)
        sent.update({(asked.kind, asked.round, name): start["theta"] for name, start in asked.arms.items()})

    monkeypatch.setattr("strategies.arm.stride", far)
    folder = run_here("run", {"recipe": "smoke", "override": " ".join(changes)}, 3, act=overheard)
    arms = newest(folder, load("smoke", changes).digest()).arms
    for number, name in product((1, 2, 3), arms):
        start, mean, *counts = steps.pop(0)
        assert_array_equal(sent["train", number, name], start)
        following = sent.get(("train", number + 1, name), arms[name].ahead["theta"])
        assert_allclose(following, start + 3 * (mean - start), rtol=1e-5)
        assert counts == [2, 2]
    rounds = [line["arms"] for line in lines(folder) if line["kind"] == "round"]
    assert [part["step"] for said in rounds for part in said.values()] == [3.0] * 3 * len(arms)
    for name, arm in arms.items():
        assert_array_equal(sent["score", 3, name], arm.arrays["theta"])
