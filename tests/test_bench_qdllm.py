"""The table of QD-LLM: its measures against scikit-learn's, its rivals on an easy task, its published rows."""

import numpy as np
import pytest
from sklearn.metrics import classification_report

from bench import qdllm
from bench.rivals import RIVALS, Task
from quantum.arms import student
from recipes.schema import StudentConfig

SMALL = (
    *("data.corpus=synthetic", "data.rows=0", "data.reference_rows=100", "features={encoder: tfidf, buckets: 64}"),
    *("student.qubits=3", "student.reps=2", "rounds=2"),
)


@pytest.fixture
def memory(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))


def test_every_method_stands_in_the_table_with_the_papers_measures(memory):
    results = qdllm.measure(["reviews"], 1, SMALL, lambda line: None)
    found = results["corpora"]["reviews"]["rows"]
    assert {*qdllm.ARMS.values(), *RIVALS} <= set(found)
    assert [name for name in found if name.startswith("teacher")] == ["teacher: tiny"]
    drawn = qdllm.table(results, "reviews")
    assert drawn.row_count == len(found)  # and nothing published of reviews
    assert "student less twin" in qdllm.note(results)
    assert "HiTIN" in qdllm.note(results)
    for rows in found.values():
        assert 0.4 < rows[0]["accuracy"] <= 1
    terms = found[qdllm.ARMS["student"]][0]["terms"]
    assert set(terms) == {"ce", "kl", "js"}


def test_the_measures_are_scikit_learns_macro_means():
    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet((1, 1, 1), 50), rng.integers(0, 3, 50)
    found = qdllm.row(probs, labels, 10, 2.0, 0.1)
    report = classification_report(labels, probs.argmax(1), output_dict=True, zero_division=0)
    assert found["accuracy"] == pytest.approx(report["accuracy"])
    for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert found[ours] == pytest.approx(report["macro avg"][theirs])
    assert (found["per_parameter"], found["per_second"]) == (found["accuracy"] / 10, found["accuracy"] / 2)
    assert found["milliseconds"] == pytest.approx(2.0)


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_learns_and_repeats_itself(name):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    texts = [" ".join(rng.choice(["good", "fine", "so"] if y else ["bad", "poor", "so"], 6)) for y in labels]
    x = rng.normal(size=(400, 5)) + np.outer(2 * labels - 1, [1.0, 0, 0, 0, 0])
    config = StudentConfig(kind="layered", readout="dense", entanglement="circular", qubits=4, reps=2)
    task = Task(texts[:300], x[:300], labels[:300], texts[300:], x[300:], 2, student(config, 2, columns=5), 0)
    answer, again = RIVALS[name](task), RIVALS[name](task)
    assert np.array_equal(answer.probs, again.probs)
    assert np.allclose(answer.probs.sum(1), 1)
    assert (answer.probs.argmax(1) == labels[300:]).mean() > 0.6
    if name.startswith("MLP"):
        assert answer.parameters == pytest.approx(task.student.parameters, rel=0.1)


@pytest.mark.parametrize(("corpus", "ours"), [("thematic", "0.8581"), ("emotion", "0.8012"), ("hiding", "0.8123")])
def test_the_published_rows_are_the_papers_means(corpus, ours):
    rows = {one["method"]: one["accuracy"] for one in qdllm.published(corpus)}
    assert list(rows) == ["TinyBERT", "MiniLLM", "DistilBERT", "PKD", "Ours"]
    assert rows["Ours"] == ours
