"""Aggregation among liars: what arbitrary lies can do, against Flower's own rules and SciPy, and worked examples."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedMedian, FedTrimmedAvg
from flwr.serverapp.strategy.multikrum import select_multikrum
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import trim_mean

from recipes.load import load
from recipes.schema import AggregateConfig
from strategies.aggregation import aggregate
from strategies.arm import close
from strategies.messages import Report
from strategies.state import ArmState

P = 5
HONEST = arrays(np.float32, P, elements=st.floats(-100, 100, width=32))
LIE = arrays(np.float32, P, elements=st.floats(allow_nan=False, allow_infinity=False, width=32))


def reports(thetas, examples=None, dtype=np.float32):
    """A report a client; its numbers are split over two arrays, so that a rule must see both."""
    facts = {"arm": "student", "student_loss": 0.5, "student_accuracy": 0.5, "teacher_loss": 0.5}
    facts |= {"teacher_accuracy": 0.5, "teacher_f1": 0.5, "maxiter": 10, "evaluations": 10, "shots": 0, "seconds": 0.1}
    examples = examples or [10] * len(thetas)
    return [
        Report(client=client, examples=n, arrays=split(np.asarray(theta, dtype)), **facts)
        for client, (theta, n) in enumerate(zip(thetas, examples, strict=True))
    ]


def split(theta):
    return {"head": theta[:2].copy(), "tail": theta[2:].reshape(-1, 1).copy()}


def joined(found):
    return np.r_[found["head"], found["tail"].ravel()].astype(np.float64)


def result(thetas, current=None, dtype=np.float32, examples=None, **config):
    start = np.zeros(len(thetas[0])) if current is None else current
    sent = reports(thetas, examples, dtype)
    return joined(aggregate(AggregateConfig(**config), split(np.asarray(start, dtype)), sent))


@st.composite
def crowds(draw):
    """(honest thetas, all thetas in any order, how many lie), with at least 2f + 3 clients."""
    f = draw(st.integers(0, 3))
    honest = draw(st.lists(HONEST, min_size=f + 3, max_size=f + 5))
    lies = draw(st.lists(LIE, min_size=f, max_size=f))
    return np.array(honest, np.float64), draw(st.permutations(honest + lies)), f


def slack(values):
    return 1e-5 * (1 + np.abs(values).max())


@given(crowd=crowds())
@pytest.mark.parametrize("by", ["median", "trimmed"])
def test_liars_cannot_move_a_value_out_of_the_honest_range(by, crowd):
    honest, thetas, f = crowd
    found = result(thetas, by=by, share=f / len(thetas))
    assert (found >= honest.min(0) - slack(honest)).all()
    assert (found <= honest.max(0) + slack(honest)).all()


@given(crowd=crowds(), current=HONEST, bound=st.none() | st.floats(0.01, 10))
def test_liars_move_a_clipped_mean_no_farther_than_the_bound(crowd, current, bound):
    """Without a bound in the recipe: no farther than the longest honest update."""
    honest, thetas, _ = crowd
    longest = np.linalg.norm(honest - current, axis=1).max() if bound is None else bound
    moved = np.linalg.norm(result(thetas, current, by="clipped", bound=bound) - current)
    assert moved <= longest + slack(honest)


@given(current=HONEST, lie=LIE)
def test_a_liar_that_claims_all_the_rows_moves_a_clipped_mean_no_farther_either(current, lie):
    thetas = [current + 1, current - 1, current + 1, lie]
    found = result(thetas, current, examples=[10, 10, 10, 10**12], by="clipped")
    longest = np.linalg.norm(np.array(thetas[:3], np.float64) - current, axis=1).max()
    assert np.linalg.norm(found - current) <= longest + slack(current)


@pytest.mark.parametrize("by", ["median", "trimmed", "krum"])
@given(thetas=st.lists(HONEST, min_size=5, max_size=8), examples=st.integers(2, 10**12))
def test_how_many_rows_a_client_claims_is_nothing_to_the_others(by, thetas, examples):
    claims = [examples] + [1] * (len(thetas) - 1)
    assert_array_equal(result(thetas, by=by), result(thetas, examples=claims, by=by))


@given(crowd=crowds())
def test_krum_takes_an_honest_update_or_a_lie_as_near_as_the_honest_are_apart(crowd):
    """A lie has at least n − 2f − 1 honest ones among its n − f − 2 nearest, an honest one n − f − 2 within D."""
    honest, thetas, f = crowd
    n = len(thetas)
    found = result(thetas, by="krum", liars=f)
    assert any(np.array_equal(found, np.asarray(theta, np.float64)) for theta in thetas)
    nearest = np.square(honest - found).sum(1).min()
    widest = np.square(honest[:, None] - honest).sum(2).max()
    assert nearest <= (n - f - 2) / (n - 2 * f - 1) * widest * (1 + 1e-6)


@given(thetas=st.lists(HONEST, min_size=1, max_size=9))
def test_trimming_all_that_can_be_trimmed_is_the_median(thetas):
    assert_allclose(result(thetas, by="trimmed", share=0.5), result(thetas, by="median"), rtol=1e-6, atol=1e-6)


@given(thetas=st.lists(HONEST, min_size=1, max_size=9), current=HONEST)
def test_a_bound_that_nobody_reaches_leaves_fedavg(thetas, current):
    found, mean = (result(thetas, current, by=by, bound=1e9) for by in ("clipped", "fedavg"))
    assert_allclose(found, mean, rtol=1e-6, atol=1e-5)


@given(thetas=st.lists(HONEST, min_size=1, max_size=9), share=st.floats(0, 0.5))
def test_trimmed_is_scipys_trimmed_mean_with_the_share_rounded_up(thetas, share):
    n = len(thetas)
    assume(abs(share * n - round(share * n)) > 1e-6)
    k = min(int(share * n) + 1, (n - 1) // 2)
    oracle = trim_mean(np.array(thetas, np.float64), (k + 0.5) / n, axis=0)
    assert_allclose(result(thetas, by="trimmed", share=share), oracle, rtol=1e-6, atol=1e-5)


def replies(thetas):
    """What Flower's strategies aggregate."""
    return [
        Message(
            RecordDict({"arrays": record(theta), "metrics": MetricRecord({"num-examples": 10})}),
            dst_node_id=1,
            message_type="train",
        )
        for theta in thetas
    ]


def record(theta):
    return ArrayRecord({name: Array(array) for name, array in split(np.asarray(theta, np.float64)).items()})


def theirs(strategy, thetas):
    found, _ = strategy.aggregate_train(1, replies(thetas))
    return joined({name: array.numpy() for name, array in found.items()})


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_median_is_flowers(n):
    thetas = np.random.default_rng(n).normal(size=(n, P))
    assert_allclose(result(thetas, dtype=np.float64, by="median"), theirs(FedMedian(), thetas), rtol=1e-12)


@pytest.mark.parametrize(("n", "share"), [(5, 0.2), (10, 0.2), (10, 0.1), (8, 0.25), (7, 0.0), (100, 0.07)])
def test_trimmed_is_flowers_where_the_share_is_a_whole_number_of_clients(n, share):
    thetas = np.random.default_rng(n).normal(size=(n, P))
    found = result(thetas, dtype=np.float64, by="trimmed", share=share)
    assert_allclose(found, theirs(FedTrimmedAvg(beta=share), thetas), rtol=1e-10)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("n", "f", "m"), [(5, 1, 1), (5, 1, 2), (10, 2, 1), (10, 2, 6), (9, 3, 4), (6, 0, 3)])
def test_krum_keeps_whom_flowers_keeps(n, f, m, seed):
    thetas = np.random.default_rng(seed).normal(size=(n, P)) * np.linspace(1, 4, n)[:, None]
    chosen = select_multikrum([RecordDict({"arrays": record(theta)}) for theta in thetas], f, m)
    oracle = np.mean([joined({k: a.numpy() for k, a in one["arrays"].items()}) for one in chosen], axis=0)
    assert_allclose(result(thetas, dtype=np.float64, by="krum", liars=f, kept=m), oracle, rtol=1e-12)


def test_a_long_update_is_shortened_to_the_median_length_and_keeps_its_direction():
    thetas = [[0.6, 0.8, 0], [0, 0, 2], [30, 40, 0]]  # lengths 1, 2, 50
    assert_allclose(result(thetas, by="clipped"), np.array([0.6 + 1.2, 0.8 + 1.6, 2]) / 3, rtol=1e-6)
    assert_allclose(result(thetas, by="clipped", bound=1.0), np.array([0.6 + 0.6, 0.8 + 0.8, 1]) / 3, rtol=1e-6)


def test_when_most_clients_stand_still_a_clipped_mean_does_too():
    assert_array_equal(result([[1, 1, 1], [1, 1, 1], [9, 9, 9]], [1, 1, 1], by="clipped"), [1, 1, 1])


def test_a_share_still_trims_after_a_client_has_failed():
    assert_allclose(result([[1] * 3, [2] * 3, [3] * 3, [1e6] * 3], by="trimmed", share=0.2), [2.5] * 3)


def test_krum_takes_the_update_with_the_nearest_neighbours_and_of_equals_the_first():
    thetas = [[0, 0, 0], [1, 0, 0], [1.5, 0, 0], [3, 0, 0], [99, 0, 0]]
    assert_array_equal(result(thetas, by="krum"), [1, 0, 0])  # 0.25 + 1, beside 0.25 + 2.25 of the third
    assert_array_equal(result(thetas, by="krum", kept=2), [1.25, 0, 0])
    twins = [[0, 0, 0], [0, 0, 0], [5, 0, 0], [5, 0, 0], [5, 0, 0], [0, 0, 0]]
    assert_array_equal(result(twins, by="krum"), [0, 0, 0])
    with pytest.raises(ValueError, match="4 updates; krum with 1 liars and 1 kept needs 5"):
        result(thetas[:4], by="krum")


def test_the_provisional_average_that_alignment_compares_with_is_not_poisoned_either():
    recipe = load("noop", ["aggregate.by=median", "select.by=alignment", "select.percent=60"])
    sent = reports([[1, 1, 1], [1, 1, 1], [2, 2, 2], [3, 3, 3], [1e6, 1e6, 1e6]])
    sent = [replace(report, student_loss=float(joined(report.arrays)[0])) for report in sent]
    arm, measured = ArmState(arrays=split(np.zeros(3, np.float32))), []

    def measure(arrays):
        measured.append(joined(arrays)[0])
        return measured[-1], 0.5

    line = close(recipe, arm, sent, measure, (0, 1))
    assert measured == [2, 1]  # the median of all, then of the admitted
    assert line["admitted"] == [0, 1, 2]
