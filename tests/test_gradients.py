"""Students of every kind on every executor: gradients, shots, and twins of equal size."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from quantum.arms import STUDENTS, student, twin
from quantum.circuit_student import CircuitOutputs
from quantum.control import hidden_layer
from quantum.executor import executor
from quantum.guidance import UNGUIDED, Guidance
from quantum.objective import Loss
from quantum.optimise import OPTIMISERS
from quantum.qcnn import n_weights
from quantum.readout import READOUTS, Readout
from quantum.twin import NetworkOutputs
from recipes.schema import OptimiserConfig, StudentConfig
from recipes.section import RecipeError

QUANTUM = [kind for kind in STUDENTS if kind != "noop"]


class Counted:
    """100 shots a row, and how many rows were asked for."""

    name, shots = "counted", 100

    def __init__(self):
        self.inner, self.rows = executor("shots", shots=100, seed=3), 0

    def probabilities(self, circuit, rows):
        self.rows += len(rows)
        return self.inner.probabilities(circuit, rows)


def rows(n_rows, seed, classes=2):
    draws = np.random.default_rng(seed)
    return draws.uniform(0, 1, (n_rows, 4)), draws.integers(0, classes, n_rows)


def both_losses(kind, read, seed, classes=2, guidance=UNGUIDED):
    """The loss of a quantum student and that of its twin, each with angles to try."""
    draws, (x, labels) = np.random.default_rng(seed), rows(6, seed, classes)
    config = StudentConfig(kind=kind, readout=read)
    one, other = student(config, classes), twin(config, classes)
    theta, start = draws.normal(0, 1, (2, one.parameters))
    yield Loss(CircuitOutputs(one, x, None), one.readout, labels, guidance, start), theta
    logits = Readout(np.eye(classes), softmax=True)
    theta, start = draws.normal(0, 1, (2, other.parameters))
    yield Loss(NetworkOutputs(other.network, x), logits, labels, guidance, start), theta


@pytest.mark.parametrize("kind", QUANTUM)
@pytest.mark.parametrize("read", READOUTS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("guided", [False, True])
def test_both_gradients_of_student_and_twin_are_those_of_finite_differences(kind, read, classes, guided):
    soft = np.random.default_rng(1).dirichlet(np.ones(classes), 6)
    guidance = Guidance(soft, weight=0.5, temperature=2.0, proximal=0.1) if guided else UNGUIDED
    for loss, theta in both_losses(kind, read, 3, classes, guidance):
        steps = 1e-5 * np.eye(len(theta))
        slope = (loss.losses(theta + steps) - loss.losses(theta - steps)) / 2e-5
        for value, gradient in (loss.exact(theta), loss.shifted(theta)):
            assert value == pytest.approx(loss.losses(theta[None])[0], abs=1e-12)
            assert_allclose(gradient, slope, atol=1e-7)


@pytest.mark.parametrize("kind", QUANTUM)
@pytest.mark.parametrize("read", READOUTS)
def test_every_angle_moves_the_loss(kind, read):
    loss, theta = next(both_losses(kind, read, 5))
    assert (np.abs(loss.exact(theta)[1]) > 1e-6).all()


@pytest.mark.parametrize("kind", QUANTUM)
@pytest.mark.parametrize("optimiser", ["cobyla", "spsa", "shift"])
def test_shots_are_counted_as_they_are_spent_and_equal_seeds_draw_the_same(kind, optimiser):
    one, (x, labels) = student(StudentConfig(kind=kind), 2), rows(5, 0)
    counters = [Counted(), Counted()]
    search = OptimiserConfig(kind=optimiser)
    fits = [one.fit(one.initial(0), x, labels, search, 40, seed=4, executor=counter) for counter in counters]
    assert 0 < fits[0].evaluations <= 40
    assert fits[0].shots == fits[0].evaluations * 5 * 100 == counters[0].rows * 100
    assert_array_equal(fits[0].arrays["theta"], fits[1].arrays["theta"])


@pytest.mark.parametrize("kind", QUANTUM)
def test_many_shots_predict_as_the_exact_engine_and_few_do_not(kind):
    one, (x, _) = student(StudentConfig(kind=kind, readout="softmax"), 3), rows(8, 1)
    start = one.initial(2)
    exact = one.predict(start, x)
    assert_allclose(one.predict(start, x, executor=executor("exact", shots=1, seed=0)), exact, atol=1e-12)
    assert_allclose(one.predict(start, x, executor=executor("shots", shots=10**6, seed=0)), exact, atol=0.02)
    assert np.abs(one.predict(start, x, executor=executor("shots", shots=10, seed=0)) - exact).max() > 0.02


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_twin_takes_no_shots_and_learns_with_every_optimiser(kind):
    other, (x, labels) = twin(StudentConfig(), 2), rows(12, 0)
    on = (executor("shots", shots=5, seed=1), None)
    search = OptimiserConfig(kind=kind)
    fits = [other.fit(other.initial(0), x, labels, search, 70, seed=2, executor=one) for one in on]
    assert [fit.shots for fit in fits] == [0, 0]
    assert_array_equal(fits[0].arrays["theta"], fits[1].arrays["theta"])
    assert fits[0].losses[0] > min(fits[0].losses)


@pytest.mark.parametrize("qubits", [2, 3, 4, 6, 9, 12])
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("kind", QUANTUM)
def test_student_and_twin_of_every_kind_have_equal_counts_within_5_percent(kind, qubits, classes):
    if classes > qubits:
        return
    config = StudentConfig(kind=kind, qubits=qubits)
    one = student(config, classes)
    assert len(one.ansatz.weights) == len(one.initial(0)["theta"]) == one.parameters
    assert abs(twin(config, classes).parameters - one.parameters) <= 0.05 * one.parameters


def test_every_qcnn_has_a_twin():
    for qubits, classes in product(range(2, 13), range(2, 7)):
        if classes <= qubits:
            wanted = n_weights(qubits, classes)
            assert abs(hidden_layer(qubits, classes, wanted).parameters - wanted) <= 0.05 * wanted


def test_a_twin_can_name_every_class_or_is_refused():
    with pytest.raises(RecipeError, match="no twin of 8 parameters"):
        hidden_layer(4, 4, 8)  # one unit, whose tanh has two signs
    assert hidden_layer(4, 3, 8).output_bias


def test_a_qcnn_of_more_classes_than_qubits_is_a_recipe_error():
    with pytest.raises(RecipeError, match="3 classes on 2 qubits"):
        student(StudentConfig(kind="qcnn", qubits=2), 3)
