"""What a client keeps of its teacher, when it loads one, and the labels that nobody may see."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from client import round as visits
from client.lessons import attend, path
from client.participant import participant
from recipes.load import load
from strategies.messages import Assignment
from teacher.tiny import TinyTeacher

SMALL = ["features.buckets=64", "data.rows=60", "optimiser.maxiter=18", "regulate.cap=25", "clients=3"]


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """`alone(*overrides)`: client 1 of a recipe, with a memory of its own."""
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))
    participant.cache_clear()
    return lambda *overrides: participant(load("smoke", [*SMALL, *overrides]).as_json(), 1)


def ask(number=1, **keys):
    return Assignment(kind="train", run="run", recipe_digest="", round=number, **keys)


def test_a_teacher_is_loaded_only_when_there_is_something_new_to_ask(alone, monkeypatch):
    who = alone("teacher.federate=average", "distil.weight=1")
    made = []
    new = who.new_teacher
    monkeypatch.setattr(who, "new_teacher", lambda: made.append(1) or new())
    own, sent, _ = attend(who, ask(1))
    assert [one.examples for one in sent] == [len(who.share.train)]
    other = {name: -array for name, array in sent[0].arrays.items()}
    attend(who, ask(2, teacher=other, teacher_round=1))
    assert len(made) == 2
    taught, sent, note = attend(who, ask(3, teacher_round=1))
    assert (len(made), sent, note) == (2, [], "")
    assert taught.loss > own.loss
    assert_allclose(taught.soft.sum(axis=1), 1)
    assert len(taught.soft) == len(who.share.train)


def test_frozen_factors_stay_at_home_and_come_back_with_the_average(alone, monkeypatch):
    """A teacher with a LoRA pair, whose A is the same wherever it is made."""

    class Pair(TinyTeacher):
        def __init__(self, n_classes):
            self.pair = {"layer/A": np.full((2, 3), 7.0, np.float32), "layer/B": np.zeros((3, 2), np.float32)}
            super().__init__(n_classes)

        def adapter(self):
            return super().adapter() | self.pair

        def load_adapter(self, adapter):
            self.pair |= {name: adapter[name] for name in self.pair if name in adapter}
            super().load_adapter({name: adapter[name] for name in ("weight", "bias")})

    made = []
    who = alone("teacher.federate=ffa", "teacher.rounds=2")
    monkeypatch.setattr(who, "new_teacher", lambda: made.append(Pair(who.n_classes)) or made[-1])
    _, (sent,), _ = attend(who, ask(1))
    assert set(sent.arrays) == {"weight", "bias", "layer/B"}
    moved = sent.arrays | {"layer/B": np.ones((3, 2), np.float32)}
    _, (again,), _ = attend(who, ask(2, teacher=moved, teacher_round=1))
    assert_array_equal(again.arrays["layer/B"], 1)
    assert_array_equal(made[-1].pair["layer/A"], 7)


def test_lost_lessons_are_noted_and_the_own_teacher_speaks_again(alone):
    who = alone("teacher.federate=average", "distil.weight=1")
    own, (sent,), _ = attend(who, ask(1))
    attend(who, ask(2, teacher={name: -array for name, array in sent.arrays.items()}, teacher_round=1))
    path(who, "run", 1).unlink()
    kept, _, note = attend(who, ask(3, teacher_round=1))
    assert note == "what the teacher of round 1 said was lost or is of other rows, its own one teaches"
    assert (kept.loss, kept.accuracy) == (own.loss, own.accuracy)


def test_hidden_labels_are_gone_from_all_that_a_client_holds(alone):
    full, tenth = alone("data.labelled=1"), alone("data.labelled=0.1", "distil.weight=1")
    rows, few, hidden = full.share.train, tenth.share.train, tenth.share.unlabelled
    assert few.texts + hidden.texts == rows.texts
    assert len(few) == int(np.ceil(0.1 * len(rows)))
    assert_array_equal(few.labels, rows.labels[: len(few)])
    assert not hidden.labels.size
    assert not len(full.share.unlabelled)
    for part in ("validation", "test"):
        assert getattr(tenth.share, part).texts == getattr(full.share, part).texts
    lessons, _, _ = attend(tenth, ask(1))
    oracle, validation = TinyTeacher(2), tenth.share.validation
    oracle.tune(few.texts, few.labels, validation.texts, validation.labels)
    assert_array_equal(lessons.soft, oracle.soft_labels(rows.texts, 2.0))


@pytest.mark.parametrize(("weight", "used"), [(0, 4), (1, 36)])
def test_a_report_counts_the_rows_that_the_student_was_fitted_on(weight, used, alone):
    who = alone("data.labelled=0.1", f"distil.weight={weight}")
    shared = {}
    for stage in who.stages:
        arrays = stage.initial(0)
        for _ in range(stage.exchanges):
            here = shared | {f"{stage.name}/{key}": array for key, array in arrays.items()}
            arrays = stage.merge(arrays, [who.statistics(stage.name, here)], [4])
        shared |= {f"{stage.name}/{key}": array for key, array in arrays.items()}
    arms = {name: arm.initial(0) for name, arm in who.arms.items()}
    reports = visits.train(who, ask(1, shared=shared, arms=arms))
    assert [(report.arm, report.examples) for report in reports] == [("student", used), ("twin", used)]
    assert all(report.divergence > 0 for report in reports)


def test_damaged_lessons_are_named_and_empty_ones_are_learned_again(alone):
    who = alone("distil.weight=1")
    own, *_ = attend(who, ask(1))
    path(who, "run", 0).write_bytes(b"")
    assert_array_equal(attend(who, ask(2))[0].soft, own.soft)
    whole = path(who, "run", 0).read_bytes()
    for torn in (whole[: len(whole) // 2], b"not an archive"):
        path(who, "run", 0).write_bytes(torn)
        with pytest.raises(ValueError, match=r"lessons-0000.npz is damaged .*; delete it, and this client asks its"):
            attend(who, ask(2))


def test_lessons_about_other_rows_are_learned_again(alone, monkeypatch):
    who = alone("distil.weight=1")
    attend(who, ask(1))
    validation, dealt = who.share.validation, who.share.train
    first, second, *others = dealt.texts
    for rows in (replace(dealt, texts=[second, first, *others]), replace(dealt, labels=1 - dealt.labels)):
        monkeypatch.setattr(who, "share", replace(who.share, train=rows))
        oracle = TinyTeacher(2)
        oracle.tune(rows.texts, rows.labels, validation.texts, validation.labels)
        assert_array_equal(attend(who, ask(2))[0].soft, oracle.soft_labels(rows.texts, 2.0))


def test_lessons_that_do_not_say_of_which_rows_they_are_stay(alone):
    """As those of a run that an earlier version began."""
    who = alone("distil.weight=1")
    own, *_ = attend(who, ask(1))
    with np.load(path(who, "run", 0)) as kept:
        np.savez(path(who, "run", 0), soft=1 - kept["soft"], beliefs=kept["beliefs"])
    assert_array_equal(attend(who, ask(2))[0].soft, 1 - own.soft)


def test_words_are_counted_in_all_texts_and_the_reduction_is_trained_on_labelled_rows(alone):
    full, tenth = alone("data.labelled=1"), alone("data.labelled=0.1")
    for key, array in full.statistics("encoder", {}).items():
        assert_array_equal(tenth.statistics("encoder", {})[key], array)
    seen = []
    tenth.stages[1].local = lambda arrays, rows, labels: seen.append((len(rows), len(labels))) or {}
    tenth.statistics("reduction", {f"encoder/{key}": array for key, array in full.statistics("encoder", {}).items()})
    assert seen == [(4, 4)]
