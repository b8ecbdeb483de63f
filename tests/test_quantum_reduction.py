"""The trained reduction: its gradient, its averaging, and that it learns across clients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime

from data.stages import Stage
from quantum.reduction import TrainedReduction


def texts_like(n_rows, seed, size=20):
    """Unit rows whose class is the sign of one direction."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, size))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, (x @ np.linspace(-1, 1, size) > 0).astype(np.int64)


@settings(max_examples=15, derandomize=True)
@given(n_classes=st.integers(2, 4), size=st.integers(1, 4), seed=st.integers(0, 99))
def test_its_gradient_is_that_of_finite_differences(n_classes, size, seed):
    rng = np.random.default_rng(seed)
    stage = TrainedReduction(5, size, n_classes, 1)
    x, labels = rng.normal(size=(7, 5)), rng.integers(0, n_classes, 7)
    point = rng.normal(size=5 * size + size + size * n_classes + n_classes)
    slopes = approx_fprime(point, lambda flat: stage.loss(flat, x, labels)[0], 1e-7)
    assert_allclose(stage.loss(point, x, labels)[1], slopes, atol=2e-6)


@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=5), scale=st.integers(1, 50))
def test_merging_is_the_mean_weighted_by_examples(seeds, scale):
    stage = TrainedReduction(6, 2, 3, 1)
    answers = [stage.initial(seed) for seed in seeds]
    examples = [scale * (i + 1) for i in range(len(seeds))]
    merged = stage.merge(answers[0], answers, examples)
    for name, array in merged.items():
        expected = np.average([answer[name] for answer in answers], axis=0, weights=examples)
        assert_allclose(array, expected, atol=1e-6)
        assert array.dtype == np.float32
    same = stage.merge(answers[0], [answers[0]] * 3, [1, 5, 9])
    for name, array in answers[0].items():
        assert_allclose(same[name], array, rtol=1e-6)


def test_it_is_a_stage_whose_numbers_lie_in_0_to_1():
    stage: Stage = TrainedReduction(20, 4, 2, 3)
    x, _ = texts_like(30, 0)
    z = stage.apply(stage.initial(0), 50 * x)
    assert (stage.name, stage.exchanges, stage.size, z.shape) == ("reduction", 3, 4, (30, 4))
    assert z.min() >= 0
    assert z.max() <= 1


def test_three_exchanges_between_clients_separate_the_classes_in_two_numbers():
    stage, clients = TrainedReduction(20, 2, 2, 3), [texts_like(120, seed) for seed in range(3)]
    arrays = stage.initial(0)
    for _ in range(stage.exchanges):
        arrays = stage.merge(arrays, [stage.local(arrays, x, labels) for x, labels in clients], [120] * 3)
    x, labels = texts_like(500, 9)
    z = stage.apply(arrays, x)
    answers = (2 * z - 1) @ arrays["V"] + arrays["c"]
    assert (answers.argmax(axis=1) == labels).mean() > 0.93
    assert z.std(axis=0).min() > 0.05  # wide enough to turn a qubit


def test_equal_seeds_give_equal_bits():
    stage, (x, labels) = TrainedReduction(20, 3, 2, 1), texts_like(50, 1)
    one, two = (stage.local(stage.initial(4), x, labels) for _ in range(2))
    for name in one:
        assert_array_equal(one[name], two[name])


def test_wrong_shapes_and_no_answers_are_refused():
    stage = TrainedReduction(20, 3, 2, 1)
    with pytest.raises(ValueError, match="takes 20 columns"):
        stage.apply(stage.initial(0), np.zeros((2, 19)))
    with pytest.raises(ValueError, match="reduction arrays are"):
        stage.apply({"W": np.zeros((20, 3))}, np.zeros((2, 20)))
    with pytest.raises(ValueError, match="no client answered"):
        stage.merge(stage.initial(0), [], [])
