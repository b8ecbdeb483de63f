"""Every aggregator of the registry against NumPy, and what any mean must keep."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from recipes.schema import AggregateConfig
from strategies.aggregation import AGGREGATORS, aggregate
from strategies.messages import Report

VALUES = st.floats(-100, 100, width=32)
THETAS = arrays(np.float32, 5, elements=VALUES)
CLIENTS = st.lists(st.tuples(THETAS, st.integers(1, 1000)), min_size=1, max_size=8)
FIVE = st.lists(st.tuples(THETAS, st.integers(1, 1000)), min_size=5, max_size=8)  # krum asks for as many
FEDAVG = AggregateConfig()


def reports(clients, dtype=np.float32):
    """A report a client, with two arrays of different shapes."""
    facts = {"arm": "student", "student_loss": 0.5, "student_accuracy": 0.5, "teacher_loss": 0.5}
    facts |= {"teacher_accuracy": 0.5, "teacher_f1": 0.5, "maxiter": 10, "evaluations": 10, "shots": 0, "seconds": 0.1}
    return [
        Report(
            client=client,
            examples=examples,
            arrays={"theta": theta.astype(dtype), "table": theta[:4].reshape(2, 2).astype(dtype)},
            **facts,
        )
        for client, (theta, examples) in enumerate(clients)
    ]


def current(dtype=np.float32):
    return {"theta": np.zeros(5, dtype), "table": np.zeros((2, 2), dtype)}


@given(clients=CLIENTS)
def test_fedavg_is_numpys_weighted_average(clients):
    found = aggregate(FEDAVG, current(), reports(clients))
    thetas, examples = np.array([theta for theta, _ in clients], np.float64), [n for _, n in clients]
    oracle = np.average(thetas, axis=0, weights=examples)
    assert_allclose(found["theta"], oracle, rtol=1e-6, atol=1e-5)
    assert_allclose(found["table"].ravel(), oracle[:4], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("by", AGGREGATORS)
@given(clients=FIVE, order=st.randoms())
def test_the_order_of_the_reports_changes_no_bit(by, clients, order):
    sorted_reports = reports(clients)
    shuffled = list(sorted_reports)
    order.shuffle(shuffled)
    config = AggregateConfig(by=by)
    one, other = (aggregate(config, current(), given_) for given_ in (sorted_reports, shuffled))
    for name, array in one.items():
        assert_array_equal(other[name], array)


@pytest.mark.parametrize("by", AGGREGATORS)
@given(theta=THETAS, examples=st.lists(st.integers(1, 1000), min_size=5, max_size=8))
def test_clients_that_agree_are_left_as_they_are(by, theta, examples):
    found = aggregate(AggregateConfig(by=by), current(), reports([(theta, n) for n in examples]))
    assert_array_equal(found["theta"], theta)


@pytest.mark.parametrize("by", AGGREGATORS)
@given(clients=FIVE)
def test_no_value_leaves_the_range_of_the_clients_values(by, clients):
    found = aggregate(AggregateConfig(by=by), current(), reports(clients))["theta"]
    start = [current()["theta"]] if by == "clipped" else []  # a shortened step stays nearer to where it began
    thetas = np.array([theta for theta, _ in clients] + start)
    slack = 1e-5 * (1 + np.abs(thetas).max(0))
    assert (found >= thetas.min(0) - slack).all()
    assert (found <= thetas.max(0) + slack).all()


@pytest.mark.parametrize("by", AGGREGATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_types_and_names_stay_and_the_inputs_are_not_touched(by, dtype):
    before, sent = current(dtype), reports([(np.ones(5), 1), *[(np.zeros(5), 3)] * 4], dtype)
    found = aggregate(AggregateConfig(by=by), before, sent)
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        name: (array.shape, array.dtype) for name, array in before.items()
    }
    assert not before["theta"].any()
    assert_array_equal(sent[0].arrays["theta"], np.ones(5))


def test_a_client_with_three_times_the_rows_counts_three_times():
    found = aggregate(FEDAVG, current(), reports([(np.full(5, 4.0), 1), (np.zeros(5), 3)]))
    assert_array_equal(found["theta"], np.ones(5))


def test_float64_is_summed_in_float64():
    small = np.full(5, 1 + 2**-40)
    found = aggregate(FEDAVG, current(np.float64), reports([(small, 1), (small, 1)], np.float64))
    assert_array_equal(found["theta"], small)


DIVERGENCES = st.lists(st.floats(0, 30), min_size=8, max_size=8)


def diverging(clients, divergences):
    return [replace(report, divergence=d) for report, d in zip(reports(clients), divergences, strict=False)]


@given(clients=CLIENTS, divergences=DIVERGENCES, tau=st.floats(0, 5))
def test_distillation_aware_weights_are_rows_times_exp_minus_tau_d(clients, divergences, tau):
    sent = diverging(clients, divergences)
    found = aggregate(AggregateConfig(tau=tau), current(), sent)["theta"]
    d = np.array(divergences[: len(clients)])
    weights = np.array([n for _, n in clients]) * np.exp(-tau * (d - d.min()))
    oracle = np.average(np.array([theta for theta, _ in clients], np.float64), axis=0, weights=weights)
    assert_allclose(found, oracle, rtol=1e-5, atol=1e-4)


@given(clients=CLIENTS, divergences=DIVERGENCES)
def test_tau_zero_is_fedavg_to_the_bit_whatever_the_divergences(clients, divergences):
    found = aggregate(AggregateConfig(tau=0), current(), diverging(clients, divergences))
    for name, array in aggregate(FEDAVG, current(), reports(clients)).items():
        assert_array_equal(found[name], array)


def test_a_client_far_from_its_teacher_hardly_counts_and_distances_that_underflow_do_not_divide_by_zero():
    sent = diverging([(np.full(5, 4.0), 1), (np.zeros(5), 1)], [1000.0, 2000.0])
    assert_array_equal(aggregate(AggregateConfig(tau=9), current(), sent)["theta"], np.full(5, 4.0))


@given(clients=CLIENTS, order=st.randoms())
def test_on_the_circle_the_order_of_the_reports_changes_no_bit(clients, order):
    config, periods = AggregateConfig(mean="circular"), {"theta": np.full(5, 2 * np.pi)}
    shuffled = reports(clients)
    order.shuffle(shuffled)
    one, other = (aggregate(config, current(), sent, periods) for sent in (reports(clients), shuffled))
    assert_array_equal(one["theta"], other["theta"])
    assert_array_equal(one["table"], aggregate(FEDAVG, current(), reports(clients))["table"])  # it has no period


def test_on_the_circle_tau_and_rows_weigh_too():
    sent = diverging([(np.full(5, 0.2), 3), (np.full(5, 2 * np.pi), 1)], [1.0, 1.0 + np.log(2)])
    config = AggregateConfig(tau=1, mean="circular")
    found = aggregate(config, current(), sent, {"theta": np.full(5, 2 * np.pi)})
    assert_allclose(found["theta"], 0.2 * 3 / 3.5, atol=1e-6)


def test_on_the_circle_a_student_without_periods_is_refused_and_a_twin_is_averaged_on_the_line():
    config, sent = AggregateConfig(mean="circular"), reports([(np.full(5, 4.0), 1), (np.zeros(5), 3)])
    for periods in (None, {}):
        with pytest.raises(ValueError, match="the student has no periods"):
            aggregate(config, current(), sent, periods)
        twins = [replace(report, arm="twin") for report in sent]
        assert_array_equal(aggregate(config, current(), twins, periods)["theta"], np.ones(5))
