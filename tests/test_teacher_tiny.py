"""Every teacher in the registry, measured as scikit-learn would."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support

from recipes.schema import TeacherConfig
from teacher.protocol import TEACHERS, teacher
from teacher.soft_labels import held_out, softened

WORDS = ("good fine great happy", "bad awful sad poor", "table chair desk lamp")


@pytest.fixture(params=TEACHERS)
def config(request, tiny_llm, tmp_path, monkeypatch):
    """Every teacher, small enough for a test."""
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    llm = {"model": str(tiny_llm()), "layers": 2, "rate": 5e-3, "max_tokens": 16, "dtype": "float32"}
    return TeacherConfig(kind=request.param, **(llm if request.param == "lora" else {}))


def texts(n_rows, seed, n_classes=2):
    """Sentences of four words, three of them from their class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n_rows)
    return [" ".join([*rng.choice(WORDS[y].split(), 3), rng.choice(WORDS[0].split())]) for y in labels], labels


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_teacher_learns_and_its_held_out_loss_beats_guessing(config, n_classes):
    one = teacher(config, n_classes)
    tuning = one.tune(*texts(150, 0, n_classes), *texts(60, 1, n_classes))
    assert 0 < tuning.loss < 0.7 * np.log(n_classes)
    assert tuning.accuracy > 0.9
    assert tuning.f1 > 0.9
    assert tuning.seconds > 0


def test_noise_labels_cost_about_a_guess_and_never_infinity(config):
    (train, _), (held, _) = texts(100, 0), texts(50, 1)
    labels = np.random.default_rng(2).integers(0, 2, 150)
    tuning = teacher(config, 2).tune(train, labels[:100], held, labels[100:])
    assert tuning.loss < 1.2


def test_a_tiny_teacher_that_knows_one_class_only_stays_finite():
    train, labels = texts(30, 0)
    tuning = teacher(TeacherConfig(), 2).tune(train, np.zeros_like(labels), train, labels)
    assert np.isfinite(tuning.loss)


def test_an_adapter_is_the_whole_of_a_teacher_and_tuning_is_repeatable(config):
    one, two = (teacher(config, 2) for _ in range(2))
    one.tune(*texts(50, 0), *texts(20, 1))
    two.load_adapter(one.adapter())
    asked = [*texts(10, 2)[0], "", "unseen words"]
    assert_array_equal(one.soft_labels(asked, 2.0), two.soft_labels(asked, 2.0))
    again = teacher(config, 2)
    again.tune(*texts(50, 0), *texts(20, 1))
    assert_array_equal(again.soft_labels(asked, 1.0), one.soft_labels(asked, 1.0))
    with pytest.raises(ValueError, match=r"adapter (is|lacks)"):
        one.load_adapter({})


@given(seed=st.integers(0, 99), temperature=st.floats(0.1, 20))
def test_a_temperature_softens_and_keeps_the_order(seed, temperature):
    logits = np.random.default_rng(seed).normal(0, 5, (4, 3))
    soft, plain = softened(logits, temperature), softened(logits, 1.0)
    assert_allclose(soft.sum(axis=1), 1)
    assert_array_equal(soft.argmax(axis=1), plain.argmax(axis=1))
    assert ((soft.max(axis=1) <= plain.max(axis=1) + 1e-12) == (temperature >= 1)).all() or temperature == 1


@given(n_rows=st.integers(1, 40), n_classes=st.integers(2, 4), seed=st.integers(0, 99))
def test_held_out_numbers_agree_with_sklearn(n_rows, n_classes, seed):
    rng = np.random.default_rng(seed)
    probs, labels = rng.dirichlet(np.ones(n_classes), n_rows), rng.integers(0, n_classes, n_rows)
    loss, accuracy, *macro = held_out(probs, labels)
    answers = probs.argmax(axis=1)
    assert loss == pytest.approx(log_loss(labels, probs, labels=range(n_classes)))
    assert accuracy == pytest.approx(accuracy_score(labels, answers))
    precision, recall, f1, _ = precision_recall_fscore_support(labels, answers, average="macro", zero_division=0)
    assert macro == pytest.approx([f1, precision, recall])


def test_nothing_to_learn_from_or_to_measure_on_is_an_error():
    with pytest.raises(ValueError, match="no training texts"):
        teacher(TeacherConfig(), 2).tune([], np.zeros(0, int), *texts(5, 0))
    with pytest.raises(ValueError, match="no held-out texts"):
        teacher(TeacherConfig(), 2).tune(*texts(5, 0), [], np.zeros(0, int))
    with pytest.raises(ValueError, match="temperature is 0"):
        softened(np.zeros((1, 2)), 0)
