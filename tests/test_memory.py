"""What a client remembers: whole or not at all, and a round can be repeated with the same bits."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import round as visits
from client.memory import Memory, path, recall, remember
from client.participant import participant
from recipes.load import load
from strategies.messages import Assignment

MEMORY = Memory(maxiter=12, student_loss={"student": 0.7})
RECIPE = load("smoke", ["features.buckets=64", "data.rows=40", "optimiser.maxiter=18", "regulate.cap=25"])


@pytest.fixture(autouse=True)
def _memory_here(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))


@given(
    memory=st.builds(
        Memory,
        maxiter=st.integers(),
        student_loss=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    ),
    number=st.integers(0, 10000),
)
def test_a_memory_comes_back_to_the_bit(memory, number):
    remember(memory, "run", 3, number)
    assert recall("run", 3, number) == memory


def test_every_run_client_and_round_has_its_own():
    places = {path(run, client, number) for run in "ab" for client in (1, 2) for number in (1, 2)}
    assert len(places) == 8
    remember(MEMORY, "a", 1, 1)
    assert recall("a", 1, 1) == MEMORY
    assert recall("a", 1, 2) is recall("a", 2, 1) is recall("b", 1, 1) is None


def test_a_write_that_breaks_off_leaves_what_was_there(monkeypatch):
    remember(MEMORY, "run", 0, 1)
    whole = Path.write_bytes

    def torn(self, content):
        whole(self, content[: len(content) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(OSError, match="disk full"):
        remember(replace(MEMORY, maxiter=99), "run", 0, 1)
    with pytest.raises(OSError, match="disk full"):
        remember(MEMORY, "run", 0, 2)
    assert recall("run", 0, 1) == MEMORY
    assert recall("run", 0, 2) is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"schema": 99}, "has schema 99, this qflock reads 3: start a new run"),
        ({"schema": 1, "maxiter": None}, "has schema 1, this qflock reads 3: start a new run"),
        (
            {"round": 2},
            "holds the memory of {'run': 'run', 'client': 0, 'round': 2}; delete it, and this client starts anew",
        ),
        (
            {"run": "x"},
            "holds the memory of {'run': 'x', 'client': 0, 'round': 1}; delete it, and this client starts anew",
        ),
    ],
)
def test_a_memory_of_another_version_run_or_round_is_refused(changes, line):
    remember(MEMORY, "run", 0, 1)
    file = path("run", 0, 1)
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"^{re.escape(f'{file} {line}')}$"):
        recall("run", 0, 1)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 3}', '{"schema": 3, "surprise": 1}', "\x00\x00"])
def test_a_damaged_memory_is_one_line_and_an_empty_one_is_none(content):
    remember(MEMORY, "run", 0, 1)
    file = path("run", 0, 1)
    file.write_text(content)
    with pytest.raises(ValueError, match=r"is damaged \([^\n]+\); delete it, and this client starts anew$"):
        recall("run", 0, 1)
    file.write_text("")  # what a power cut leaves
    assert recall("run", 0, 1) is None


@pytest.fixture(scope="module")
def client():
    """Client 1 of a small recipe, with agreed features and the arrays of round 1."""
    who = participant(RECIPE.as_json(), 1)
    shared = {}
    for stage in who.stages:
        shared |= {f"{stage.name}/{key}": array for key, array in stage.initial(0).items()}
        for _ in range(stage.exchanges):
            answer = who.statistics(stage.name, shared)
            mine = {key.partition("/")[2]: a for key, a in shared.items() if key.startswith(f"{stage.name}/")}
            merged = stage.merge(mine, [answer], [len(who.share.train)])
            shared |= {f"{stage.name}/{key}": array for key, array in merged.items()}
    return who, shared, {name: arm.initial(0) for name, arm in who.arms.items()}


def visit(client, number, memory_round, run="run", arms=("student", "twin")):
    who, shared, arrays = client
    assignment = Assignment(
        kind="train",
        run=run,
        recipe_digest="",
        round=number,
        memory_round=memory_round,
        shared=shared,
        arms={name: arrays[name] for name in arms},
    )
    return visits.train(who, assignment)


def untimed(reports):
    """Reports as plain values without their times, arrays as bytes."""
    arrays = [{name: array.tobytes() for name, array in report.arrays.items()} for report in reports]
    return [vars(replace(report, seconds=0.0, arrays={})) for report in reports], arrays


def test_starting_from_a_named_round_repeats_the_same_bits(client):
    visit(client, 1, 0)
    second = visit(client, 2, 1)
    visit(client, 3, 2)
    assert untimed(visit(client, 2, 1)) == untimed(second)
    assert all(not report.note for report in second)


def test_both_arms_get_the_budget_that_the_student_s_loss_asks_for(client):
    first, second = visit(client, 1, 0), visit(client, 2, 1)
    assert [report.maxiter for report in first] == [18, 18]
    rho = first[0].student_loss / first[0].teacher_loss
    assert first[0].arm == "student"
    assert [report.maxiter for report in second] == [18 if rho <= 1 else min(25, int(18 * rho))] * 2
    assert recall("run", 1, 2).maxiter == second[0].maxiter


def test_a_lost_memory_is_noted_and_the_client_starts_anew(client):
    first = visit(client, 1, 0)
    visit(client, 2, 1)
    path("run", 1, 2).unlink()
    third = visit(client, 3, 2)
    assert [report.note for report in third] == ["memory of round 2 was lost, started anew"] * 2
    assert [report.maxiter for report in third] == [18, 18]
    assert [report.teacher_loss for report in third] == [report.teacher_loss for report in first]


def test_an_arm_that_is_not_asked_keeps_what_is_remembered_of_it(client):
    first = {report.arm: report for report in visit(client, 1, 0)}
    visit(client, 2, 1, arms=("student",))
    kept = recall("run", 1, 2)
    assert kept.student_loss["twin"] == first["twin"].student_loss


def test_a_report_holds_finite_float32_arrays_within_its_budget(client):
    for report in visit(client, 1, 0):
        assert 0 < report.evaluations <= report.maxiter
        assert report.shots == 0
        assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in report.arrays.values())
