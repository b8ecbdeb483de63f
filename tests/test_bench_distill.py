"""The peers' training step is ours, and what was asked for is said to be met or not."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bench import distill
from bench.peer import PEERS
from quantum.guidance import Guidance
from quantum.readout import softmax


@pytest.fixture(scope="module")
def gates():
    sys.path.insert(0, str(PEERS))
    import gates

    sys.path.remove(str(PEERS))
    assert Path(gates.__file__).parent == PEERS
    return gates


@settings(max_examples=20, derandomize=True)
@given(seed=st.integers(0, 999), rows=st.integers(1, 5), classes=st.integers(2, 4))
def test_the_loss_and_slope_that_peers_get_are_guidances(gates, seed, rows, classes):
    rng = np.random.default_rng(seed)
    logits, labels, soft = rng.normal(size=(rows, classes)), rng.integers(0, classes, rows), rng.random((rows, classes))
    soft /= soft.sum(1, keepdims=True)
    loss, slope = gates.distilled_slope(logits, labels, soft)
    guidance = Guidance(soft, weight=2.0, temperature=2.0, labels=0.5, shannon=0.5)
    p = softmax(logits)
    wanted, by_log_p = guidance.of(p, labels)
    assert loss == pytest.approx(wanted)
    assert_allclose(slope, by_log_p - p * by_log_p.sum(1, keepdims=True), atol=1e-9)


def test_all_sides_get_the_same_unit_rows(gates):
    x, labels, soft = gates.taught_rows(6, 4, 3)
    assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-6)
    assert_allclose(soft.sum(1), 1)
    assert labels.max() < 3
    assert all(np.array_equal(a, b) for a, b in zip((x, labels, soft), gates.taught_rows(6, 4, 3), strict=True))


def test_what_was_asked_for_is_met_or_not():
    cells = {
        name: {"epoch_seconds": seconds, "peak_mb": 300.0, "agree": name != "MindQuantum"}
        for name, seconds in (("ours", 10.0), ("TorchQuantum", 70.0), ("MindQuantum", 400.0))
    }
    results = {"cells": cells, "teacher": {"seconds": 100.0, "again": 0.01}, "milliseconds": 0.3, "not_run": {}}
    results |= {"asked": distill.compared(results), "commit": "abc", "load": 1.0, "machine": {"cpu": "a cpu"}}
    results["asked_of"] = {"rows": 640, "batches": 2, "turns": 1, "texts": 100}
    assert [one["met"] for one in results["asked"]] == [True, False, True, True, False]
    assert "TorchQuantum at least 8 times slower: 7, NOT met" in distill.note(results)
    assert list(distill.table(results).columns[-1].cells) == ["yes", "yes", "NO"]


def test_the_teacher_answers_once(tiny_llm, monkeypatch):
    monkeypatch.setattr(distill, "TeacherConfig", lambda **more: TEACHER(model=str(tiny_llm()), layers=2, **more))
    found = distill.answers(20)
    assert 0 < found["again"] < found["seconds"]


TEACHER = distill.TeacherConfig
