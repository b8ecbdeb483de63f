"""Statistics merged from clients are those of pooled data, to the last bits, as scikit-learn computes them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data.baselines import logistic_regression, majority
from data.corpus import DataError, load
from data.features import Pca, TfIdf
from data.stages import named, through
from recipes.schema import DataConfig

NO_LABELS = np.empty(0, dtype=np.int64)


def agreed(stage, shares):
    """The arrays after one exchange with clients that hold these rows."""
    answers = [stage.local(stage.initial(0), rows, NO_LABELS) for rows in shares]
    return stage.merge(stage.initial(0), answers, [len(rows) for rows in shares])


@pytest.fixture(scope="module")
def texts():
    return load(DataConfig(), 0).texts[:120]


@pytest.mark.parametrize("cuts", [[], [1], [30, 31, 90]])
def test_tfidf_over_clients_is_scikit_learns_over_pooled_rows(texts, cuts):
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    train, new = texts[:100], texts[100:]
    stage = TfIdf(256)
    arrays = agreed(stage, [list(part) for part in np.split(np.array(train, dtype=object), cuts)])
    hashing = HashingVectorizer(n_features=256, ngram_range=(1, 2), alternate_sign=False, norm=None)
    oracle = TfidfTransformer().fit(hashing.transform(train))
    assert_allclose(stage.apply(arrays, new), oracle.transform(hashing.transform(new)).toarray(), atol=1e-14)


def test_tfidf_knows_no_case_and_maps_a_text_without_words_to_zero(texts):
    stage = TfIdf(64)
    arrays = agreed(stage, [texts])
    rows = stage.apply(arrays, ["The Soup", "the soup", "!?"])
    assert_array_equal(rows[0], rows[1])
    assert_array_equal(rows[2], np.zeros(64))
    assert_allclose(np.linalg.norm(rows[:2], axis=1), 1)
    assert rows.dtype == np.float64


@settings(max_examples=30)
@given(seed=st.integers(0, 9999), n=st.integers(12, 60), cut=st.integers(1, 11), size=st.integers(1, 4))
def test_pca_over_clients_is_scikit_learns_over_pooled_rows(seed, n, cut, size):
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)) * [5, 4, 3, 2, 1, 0.5] + rng.normal(size=6)
    stage = Pca(6, size)
    arrays = agreed(stage, [x[:cut], x[cut:]])
    oracle = PCA(size).fit(x)
    z = oracle.transform(x) / (oracle.singular_values_ / np.sqrt(n))
    ours = stage.apply(arrays, x) * 6 - 3
    signs = np.sign(np.sum(ours * z, axis=0))
    assert_allclose(ours, np.clip(z * signs, -3, 3), atol=1e-7)


@given(seed=st.integers(0, 9999))
def test_pca_does_not_depend_on_who_holds_which_row(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 5)) * [5, 4, 3, 2, 1]
    stage = Pca(5, 3)
    whole, dealt = agreed(stage, [x]), agreed(stage, np.split(rng.permutation(x), [7, 20]))
    assert_allclose(stage.apply(whole, x), stage.apply(dealt, x), atol=1e-9)


def test_scores_lie_in_the_unit_interval_and_the_mean_row_in_its_middle():
    rng = np.random.default_rng(0)
    x = rng.standard_t(2, size=(200, 8))
    stage = Pca(8, 4)
    arrays = agreed(stage, [x])
    scores = stage.apply(arrays, x)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert_allclose(stage.apply(arrays, x.mean(axis=0, keepdims=True)), 0.5)


def test_fewer_rows_than_components_give_half_and_no_nan():
    x = np.array([[0.0, 0, 0, 0], [1.0, 1, 1, 1]])
    stage = Pca(4, 3)
    scores = stage.apply(agreed(stage, [x[:1], x[1:]]), x)
    assert_allclose(scores, [[1 / 3, 0.5, 0.5], [2 / 3, 0.5, 0.5]], atol=1e-9)


def test_text_passes_through_both_stages(texts):
    encoder = TfIdf(128)
    shared = named(encoder, agreed(encoder, [texts]))
    reduction = Pca(encoder.size, 4)
    shared |= named(reduction, agreed(reduction, [encoder.apply(agreed(encoder, [texts]), texts)]))
    assert through([encoder, reduction], shared, texts[:3]).shape == (3, 4)


@pytest.mark.parametrize(
    ("size_in", "size", "error"),
    [
        (65536, 4, "pca exchanges 65536² numbers; use 4096 columns or fewer, or reduction: trained"),
        (3, 4, "pca cannot make 4 components of 3 columns; use fewer qubits"),
    ],
)
def test_an_impossible_pca_says_what_to_change(size_in, size, error):
    with pytest.raises(DataError) as raised:
        Pca(size_in, size)
    assert str(raised.value) == error


def test_baselines_on_a_worked_example():
    x, y = np.array([[0.0], [0.1], [0.9], [1.0], [1.1]]), np.array([0, 0, 1, 1, 1])
    assert majority(y, np.array([1, 1, 0])) == pytest.approx(2 / 3)
    assert majority(np.array([1, 0]), np.array([0])) == 1.0
    assert logistic_regression(x * 10, y, np.array([[-5.0], [12.0]]), np.array([0, 1])) == 1.0


def test_logistic_regression_on_one_class_is_the_constant_classifier():
    x, ones = np.zeros((4, 2)), np.ones(4, dtype=np.int64)
    assert logistic_regression(x, ones, x, np.array([1, 1, 0, 1])) == 0.75
