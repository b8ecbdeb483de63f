"""The loss, the students as pure functions of named arrays, and the network of a twin."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss

from quantum.arms import STUDENTS, student, twin
from quantum.control import HiddenLayer, hidden_layer
from quantum.guidance import cross_entropy
from recipes.schema import OptimiserConfig, StudentConfig
from recipes.section import RecipeError

SEARCH = OptimiserConfig()


def config_of(kind, **keys):
    return StudentConfig(kind=kind, twin=kind != "noop", **keys)


def everyone(n_classes=2):
    return [student(config_of(kind), n_classes) for kind in STUDENTS] + [twin(StudentConfig(), n_classes)]


def rows(n_rows, seed, n_features=4):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (n_rows, n_features))
    return x, (x[:, 0] > x[:, 1]).astype(int)


@given(n_rows=st.integers(1, 30), n_classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_cross_entropy_is_in_nats_and_agrees_with_sklearn(n_rows, n_classes, seed):
    rng = np.random.default_rng(seed)
    probs, labels = rng.dirichlet(np.ones(n_classes), n_rows), rng.integers(0, n_classes, n_rows)
    assert_allclose(cross_entropy(probs, labels), log_loss(labels, probs, labels=range(n_classes)), rtol=1e-9)


def test_a_certain_mistake_costs_a_finite_loss():
    assert cross_entropy(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(12 * math.log(10))


@pytest.mark.parametrize("one", everyone(), ids=lambda one: one.name)
@settings(max_examples=10, derandomize=True)
@given(n_rows=st.integers(1, 40), seed=st.integers(0, 99), maxiter=st.integers(1, 25))
def test_every_student_is_a_pure_function_of_its_arrays(one, n_rows, seed, maxiter):
    x, labels = rows(n_rows, seed)
    start = one.initial(seed)
    before = start["theta"].copy()
    fit = one.fit(start, x, labels, SEARCH, maxiter)
    assert_array_equal(start["theta"], before)
    assert {key: (array.dtype, array.shape) for key, array in fit.arrays.items()} == {
        "theta": (np.float32, (one.parameters,))
    }
    assert fit.evaluations == len(fit.losses) <= maxiter
    assert fit.shots == 0
    probs = one.predict(fit.arrays, x)
    assert probs.shape == (n_rows, 2)
    assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
    assert cross_entropy(probs, labels) <= cross_entropy(one.predict(start, x), labels) + 1e-6
    assert_array_equal(one.fit(start, x, labels, SEARCH, maxiter).arrays["theta"], fit.arrays["theta"])


@pytest.mark.parametrize("one", everyone(), ids=lambda one: one.name)
def test_wrong_shapes_are_refused_by_name(one):
    start, (x, labels) = one.initial(0), rows(5, 0)
    if one.name != "noop":  # reads no features
        with pytest.raises(ValueError, match=r"shape \(5, 3\).* 4 features"):
            one.predict(start, x[:, :3])
        with pytest.raises(ValueError, match="no rows"):
            one.predict(start, x[:0])
    with pytest.raises(ValueError, match=f"theta of shape \\({one.parameters},\\)"):
        one.fit({"theta": np.zeros(3, np.float32)}, x, labels, SEARCH, 5)


def test_a_noop_moves_its_numbers_and_learns_nothing():
    one, (x, labels) = student(config_of("noop", size=7), 3), rows(5, 0)
    start = one.initial(1)
    fit = one.fit(start, x, labels, SEARCH, 20)
    assert (fit.arrays["theta"].tolist(), fit.evaluations) == (start["theta"].tolist(), 0)
    assert_array_equal(one.predict(start, x), np.full((5, 3), 1 / 3))
    assert_array_equal(one.predict(start, x).argmax(axis=1), 0)


def test_a_vqc_reads_at_most_one_class_more_than_its_qubits():
    with pytest.raises(RecipeError, match="2 qubits count 0 to 2 ones"):
        student(StudentConfig(qubits=2), 4)


WITHOUT_TWIN = {  # the shallowest circuits with nearly as many classes as qubits
    *((qubits, 1, 3) for qubits in (2, 3)),
    *((qubits, 1, 4) for qubits in (3, 4, 5)),
    *((qubits, 1, 5) for qubits in (4, 5, 6, 7)),
    *((qubits, 1, 6) for qubits in (5, 6, 7, 8, 9)),
}


@pytest.mark.parametrize("qubits", range(2, 13))
@pytest.mark.parametrize("reps", [1, 2, 3, 4, 5, 10, 20])
@pytest.mark.parametrize("n_classes", [2, 3, 4, 5, 6])
def test_a_twin_has_as_many_parameters_as_its_student_within_5_percent(qubits, reps, n_classes):
    wanted = qubits * (reps + 1)
    if n_classes > qubits + 1:
        return  # no student reads so many
    if (qubits, reps, n_classes) in WITHOUT_TWIN:
        with pytest.raises(RecipeError, match=f"no twin of {wanted} parameters"):
            hidden_layer(qubits, n_classes, wanted)
        return
    network = hidden_layer(qubits, n_classes, wanted)
    assert abs(network.parameters - wanted) <= 0.05 * wanted
    assert len(network.initial(0)) == network.parameters
    assert network.narrow == 0 or network.hidden > 1  # a whole unit reads every feature


@pytest.mark.slow
def test_every_other_reps_of_a_recipe_has_a_twin():
    for qubits, reps, n_classes in product(range(2, 13), range(1, 21), range(2, 7)):
        if n_classes <= qubits + 1 and (qubits, reps, n_classes) not in WITHOUT_TWIN:
            hidden_layer(qubits, n_classes, qubits * (reps + 1))


def test_the_twin_of_the_default_student_has_exactly_16_parameters():
    assert (student(StudentConfig(), 2).parameters, twin(StudentConfig(), 2).parameters) == (16, 16)
    assert hidden_layer(4, 2, 16) == HiddenLayer(4, 2, 2, logits_learned=2, hidden_bias=True, output_bias=True)


@given(seed=st.integers(0, 99), n_classes=st.integers(2, 4), size=st.sampled_from([(4, 24), (7, 14), (5, 15)]))
def test_the_twin_is_the_network_of_its_docstring(seed, n_classes, size):
    features, parameters = size
    network = hidden_layer(features, n_classes, parameters)
    rng = np.random.default_rng(seed)
    theta, x = rng.normal(size=network.parameters), rng.uniform(0, 1, (1, features))
    values = iter(theta)

    def take(*shape):
        return np.array([next(values) for _ in range(math.prod(shape))]).reshape(shape)

    W = take(features, network.hidden - (network.narrow > 0))
    if network.narrow:
        W = np.column_stack([W, np.r_[take(network.narrow), np.zeros(features - network.narrow)]])
    b = take(network.hidden) if network.hidden_bias else 0
    V, c = take(network.hidden, network.logits_learned), take(network.logits_learned) if network.output_bias else 0
    logits = np.zeros(n_classes)
    logits[: network.logits_learned] = np.tanh((2 * x[0] - 1) @ W + b) @ V + c
    assert_allclose(network.probabilities(x, theta)[0], np.exp(logits) / np.exp(logits).sum(), atol=1e-12)


def test_the_default_student_learns_a_separable_task():
    x, labels = rows(80, 0)
    one = student(StudentConfig(), 2)
    fit = one.fit(one.initial(0), x, labels, SEARCH, 150)
    assert (one.predict(fit.arrays, x).argmax(axis=1) == labels).mean() > 0.85
