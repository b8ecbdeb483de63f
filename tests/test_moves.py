"""Where a round starts beyond the mean of the last: FedExP's step, its bound, and a federation that takes it."""

from itertools import product

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from recipes.load import load
from server.checkpoint import newest
from strategies.mean import weighted_mean
from strategies.moves import beyond
from strategies.wire import assigned

THETAS = st.integers(1, 12).flatmap(lambda n: arrays(float, (n, 5), elements=st.floats(-10, 10, width=32)))


def stepped(start_P, thetas_CP, weights):
    """The mean, and what `beyond` makes of it, with two arrays of different shapes."""
    start, updates = ({"a": x[..., :1], "b": x[..., 1:].reshape(*x.shape[:-1], 2, 2)} for x in (start_P, thetas_CP))
    said = [{name: array[client] for name, array in updates.items()} for client in range(len(thetas_CP))]
    mean = weighted_mean(said, weights, start)
    return (
        np.concatenate([np.ravel(found[name]) for name in "ab"]) for found in (mean, beyond(start, mean, said, weights))
    )


@given(start_P=arrays(float, 5, elements=st.floats(-10, 10, width=32)), thetas_CP=THETAS, data=st.data())
def test_the_step_is_fedexps_until_it_would_go_farther_than_the_clients_did(start_P, thetas_CP, data):
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(thetas_CP), max_size=len(thetas_CP)))
    mean_P, ahead_P = stepped(start_P, thetas_CP, weights)
    went = np.average(np.linalg.norm(thetas_CP - start_P, axis=1) ** 2, weights=weights)
    length = np.linalg.norm(mean_P - start_P)
    assume(length > 1e-6)
    fedexp = max(1.0, went / (2 * length**2))
    oracle = min(fedexp, max(1.0, np.sqrt(went) / length))
    assert_allclose(ahead_P - start_P, oracle * (mean_P - start_P), rtol=1e-6, atol=1e-9)
    assert np.linalg.norm(ahead_P - start_P) <= max(np.sqrt(went), length) * (1 + 1e-9)


def test_clients_that_agree_start_at_their_mean_and_clients_that_cancel_where_they_were():
    start_P = np.arange(5.0)
    mean_P, ahead_P = stepped(start_P, np.tile(start_P + 0.3, (4, 1)), [1] * 4)
    assert_array_equal(ahead_P, mean_P)
    _, ahead_P = stepped(start_P, start_P + np.array([[1.0], [-1.0]]), [1, 1])
    assert_array_equal(ahead_P, start_P)


def test_of_n_clients_that_go_their_own_ways_the_step_is_the_root_of_n():
    mean_P, ahead_P = stepped(np.zeros(5), np.eye(5), [1] * 5)
    assert_allclose(ahead_P, np.sqrt(5) * mean_P)


def test_clients_start_ahead_of_the_mean_and_score_the_mean(run_here, monkeypatch):
    changes, sent, steps = ["aggregate.by=fedexp", "clients=3", "rounds=3"], {}, []

    def far(start, mean, updates, weights):
        steps.append((start["theta"], mean["theta"], len(updates), len(weights)))
        return {"theta": mean["theta"] + 1}

    def overheard(client, message):
        asked = assigned(message)
        sent.update({(asked.kind, asked.round, name): start["theta"] for name, start in asked.arms.items()})

    monkeypatch.setattr("strategies.arm.beyond", far)
    folder = run_here("run", {"recipe": "smoke", "override": " ".join(changes)}, 3, act=overheard)
    arms = newest(folder, load("smoke", changes).digest()).arms
    for number, name in product((1, 2, 3), arms):
        start, mean, *counts = steps.pop(0)
        assert_array_equal(sent["train", number, name], start)
        assert_array_equal(sent.get(("train", number + 1, name), arms[name].ahead["theta"]), mean + 1)
        assert counts == [3, 3]
    for name, arm in arms.items():
        assert_array_equal(arm.ahead["theta"], arm.arrays["theta"] + 1)
        assert_array_equal(sent["score", 3, name], arm.arrays["theta"])
