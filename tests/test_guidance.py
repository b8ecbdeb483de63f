"""Distillation and the proximal pull: values against SciPy, slopes against differences, and what they do to a fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr

from quantum.arms import student, twin
from quantum.guidance import UNGUIDED, Guidance, cross_entropy, divergence, jensen_shannon
from recipes.schema import OptimiserConfig, StudentConfig
from teacher.soft_labels import softened

SEARCH, ADAM = OptimiserConfig(), OptimiserConfig(kind="adam")
MODELS = {
    "parity": student(StudentConfig(), 2),
    "softmax": student(StudentConfig(readout="softmax"), 2),
    "twin": twin(StudentConfig(), 2),
}
MODEL = pytest.mark.parametrize("one", MODELS.values(), ids=MODELS)
TEMPERATURE = st.floats(0.5, 8)


def rows(n=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (n, 4))
    return x, (x[:, 0] > x[:, 1]).astype(int), rng.dirichlet((1, 1), n)


@given(seed=st.integers(0, 999), n_classes=st.integers(2, 5), temperature=TEMPERATURE)
def test_the_pull_is_scipys_relative_entropy_of_softened_logits(seed, n_classes, temperature):
    rng = np.random.default_rng(seed)
    teacher, own = rng.normal(0, 1.5, (2, 7, n_classes))  # far from where probabilities are clipped
    guidance = Guidance(softened(teacher, temperature), weight=0.7, temperature=temperature)
    oracle = rel_entr(softened(teacher, temperature), np.exp(log_softmax(own / temperature, axis=1))).sum(1).mean()
    assert_allclose(guidance.pull(np.exp(log_softmax(own, axis=1))), 0.7 * oracle, rtol=1e-6, atol=1e-9)


@given(seed=st.integers(0, 999), n_classes=st.integers(2, 5), temperature=TEMPERATURE)
def test_jensen_shannon_is_scipys_squared_distance_of_the_probabilities_themselves(seed, n_classes, temperature):
    rng = np.random.default_rng(seed)
    teacher, own = rng.normal(0, 1.5, (2, 7, n_classes))
    q, p = softened(teacher, 1.0), softened(own, 1.0)
    oracle = (jensenshannon(q, p, axis=1) ** 2).mean()
    assert_allclose(jensen_shannon(q, p), oracle, atol=1e-9)
    assert 0 <= jensen_shannon(q, p) <= np.log(2)
    guidance = Guidance(softened(teacher, temperature), temperature=temperature, shannon=0.7)
    assert_allclose(guidance.pull(p), 0.7 * oracle, rtol=1e-6, atol=1e-9)


@given(seed=st.integers(0, 999))
def test_a_divergence_is_never_negative_and_is_zero_of_itself(seed):
    t, s = np.random.default_rng(seed).dirichlet((0.3, 0.3, 0.3), (2, 20))
    assert divergence(t, t) == 0
    assert divergence(t, s) > 0
    assert np.isfinite(divergence(np.eye(3), np.eye(3)[::-1]))


@MODEL
@pytest.mark.parametrize("labelled", [30, 9])
def test_the_slope_of_the_whole_loss_is_that_of_differences(one, labelled, monkeypatch):
    """Adam's exact gradient at one point, against central differences of the loss that a fit reports."""
    x, labels, soft = rows()
    guidance = Guidance(soft, weight=0.8, temperature=3.0, proximal=0.5, labels=0.6, shannon=0.9)
    seen = {}

    def caught(loss, *_):
        seen["loss"] = loss
        raise StopIteration

    for module in ("quantum.circuit_student", "quantum.twin"):
        monkeypatch.setattr(f"{module}.search", caught)
    with pytest.raises(StopIteration):
        one.fit(one.initial(0), x, labels[:labelled], ADAM, 4, guidance=guidance)
    theta = np.random.default_rng(1).normal(0, 0.7, one.parameters)
    value, slope = seen["loss"].exact(theta)
    moves = 1e-5 * np.eye(one.parameters)
    above, below = (seen["loss"].losses(theta + sign * moves) for sign in (1, -1))
    assert_allclose(value, seen["loss"].losses(theta[None])[0], rtol=1e-9)
    assert_allclose(slope, (above - below) / 2e-5, atol=1e-6)


@MODEL
@settings(max_examples=8)
@given(weight=st.floats(0, 3), temperature=TEMPERATURE, proximal=st.floats(0, 2), labelled=st.integers(1, 30))
def test_the_loss_is_the_sum_of_its_three_terms(one, weight, temperature, proximal, labelled):
    x, labels, soft = rows()
    start = one.initial(3)
    guidance = Guidance(soft, weight, temperature, proximal)
    fit = one.fit(start, x, labels[:labelled], SEARCH, 2, guidance=guidance)
    probs = one.predict(start, x)
    own = probs ** (1 / temperature)
    own /= own.sum(axis=1, keepdims=True)
    oracle = cross_entropy(probs[:labelled], labels[:labelled]) + weight * rel_entr(soft, own).sum(1).mean()
    assert_allclose(fit.losses[0], oracle, rtol=1e-6)  # at θ_global the proximal term is 0


@MODEL
def test_guidance_of_weight_zero_changes_no_bit(one):
    x, labels, soft = rows()
    plain = one.fit(one.initial(0), x, labels, SEARCH, 25)
    for guidance in (UNGUIDED, Guidance(soft)):
        same = one.fit(one.initial(0), x, labels, SEARCH, 25, guidance=guidance)
        assert same.losses == plain.losses
        assert_array_equal(same.arrays["theta"], plain.arrays["theta"])


@MODEL
def test_a_student_with_one_label_learns_the_others_from_its_teacher(one):
    x, labels, _ = rows(60)
    soft = np.where(np.eye(2)[labels] == 1, 0.9, 0.1)
    start = one.initial(0)

    def agreement(guidance):
        fit = one.fit(start, x, labels[:1], ADAM, 150, guidance=guidance)
        return float(np.mean(one.predict(fit.arrays, x[1:]).argmax(1) == labels[1:]))

    assert agreement(Guidance(soft, weight=5.0, temperature=2.0)) > agreement(UNGUIDED) + 0.05


@MODEL
def test_the_proximal_pull_keeps_a_fit_nearer_to_where_it_began(one):
    x, labels, _ = rows()
    start = one.initial(0)
    far = [
        np.linalg.norm(
            one.fit(start, x, labels, ADAM, 60, guidance=Guidance(x[:0], 0.0, 1.0, mu)).arrays["theta"] - start["theta"]
        )
        for mu in (0.0, 0.1, 10.0)
    ]
    assert far[0] > far[1] > far[2]
