"""What the ledger holds for whoever reads it: what clients hold, how they answer, whether their updates agree."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import confusion_matrix
from sklearn.metrics.pairwise import cosine_similarity

from client.participant import Participant
from client.round import crossed
from recipes.load import load
from server.ledger import lines
from strategies.arm import close
from strategies.collect import scores
from strategies.faults import uncounted, unscored
from strategies.messages import Answer, Report, Score
from strategies.moves import cosine
from strategies.scored import scored
from strategies.state import ArmState
from strategies.wire import assigned, reply

ZERO = {"a": np.zeros(2, np.float32), "b": np.zeros((2, 1))}
FACTS = {
    **{"arm": "student", "examples": 5, "student_loss": 0.5, "student_accuracy": 0.5, "teacher_loss": 0.4},
    **{"teacher_accuracy": 0.5, "teacher_f1": 0.5, "maxiter": 9, "evaluations": 9, "shots": 0, "seconds": 0.1},
}


def reports(rows_CP):
    return [
        Report(client=client, arrays={"a": row[:2].astype(np.float32), "b": row[2:].reshape(2, 1)}, **FACTS)
        for client, row in enumerate(rows_CP)
    ]


def scored_by(client, matrix):
    facts = {"majority": 0.5, "logistic": None, "head": None, "shots": 0, "seconds": 0.0}
    rows = int(np.sum(matrix))
    return Score(
        client=client,
        examples=rows,
        accuracy={"student": 0.5},
        loss={"student": 0.5},
        confusion={"student": matrix},
        **facts,
    )


@given(rows_CP=arrays(float, st.tuples(st.integers(2, 5), st.just(4)), elements=st.integers(-3, 3).map(float)))
def test_the_cosine_is_the_mean_over_all_pairs_of_updates_that_moved(rows_CP):
    moved = rows_CP[np.abs(rows_CP).sum(1) > 0]
    found = cosine(ZERO, [report.arrays for report in reports(rows_CP)])
    if len(moved) < 2:
        assert found is None
        return
    table = cosine_similarity(moved)
    oracle = np.mean([table[i, j] for i, j in combinations(range(len(moved)), 2)])
    assert found == pytest.approx(oracle, abs=1e-9)


@given(rows_CP=arrays(float, (4, 4), elements=st.integers(1, 9).map(float)))
def test_the_order_of_the_reports_does_not_move_a_bit_of_a_rounds_line(rows_CP):
    said, recipe = reports(rows_CP), load("noop", ["aggregate.by=fedexp"])
    arms = [ArmState(arrays=ZERO) for _ in range(2)]
    one, other = (
        close(recipe, arm, sent, lambda arrays: (0.5, 0.5), (0,))
        for arm, sent in zip(arms, (said, said[::-1]), strict=True)
    )
    assert one == other
    for name in ZERO:
        assert arms[0].ahead[name].tobytes() == arms[1].ahead[name].tobytes()


@given(pairs=arrays(int, array_shapes(min_dims=1, max_dims=1).map(lambda s: (2, *s)), elements=st.integers(0, 3)))
def test_a_confusion_matrix_is_scikit_learns(pairs):
    labels, said = pairs
    assert crossed(labels, said, 4) == confusion_matrix(labels, said, labels=range(4)).tolist()


def test_pooled_matrices_count_every_clients_rows():
    line = scored([scored_by(0, [[3, 1], [0, 2]]), scored_by(1, [[1, 0], [5, 0]])], ["student"])
    assert line["arms"]["student"]["confusion"] == [[4, 1], [5, 2]]
    one = line["arms"]["student"]  # class 0: 4 hits of 9 answers and 5 rows, class 1: 2 of 3 and 7
    assert (one["precision"], one["recall"]) == pytest.approx((5 / 9, 19 / 35))
    assert one["f1"] == pytest.approx((8 / 14 + 4 / 10) / 2)
    assert line["clients"][1]["confusion"] == {"student": [[1, 0], [5, 0]]}


WRONG = {
    "is missing": None,
    "is no table": [1, 2],
    "is not square": [[1, 2]],
    "counts halves": [[1, 0.5], [1, 1]],
    "counts below zero": [[7, -1], [0, 0]],
    "counts yes as one": [[True, 2], [1, 1]],
    "counts other rows": [[5, 5], [5, 5]],
}


@pytest.mark.parametrize("matrix", WRONG.values(), ids=WRONG)
def test_a_confusion_matrix_that_is_none_makes_a_score_unusable(matrix):
    sound = scored_by(0, [[3, 1], [0, 2]])
    assert unscored(sound, ["student"]) is None
    fault = unscored(replace(sound, confusion={"student": matrix} if matrix else {}), ["student"])
    assert fault.startswith("student: its confusion matrix ")


@pytest.mark.parametrize("name", ["exact_loss", "shot_loss", "shot_spread"])
def test_a_loss_beside_the_executors_that_is_none_makes_a_score_unusable(name):
    said = unscored(replace(scored_by(0, [[6]]), **{name: {"student": float("nan")}}), ["student"])
    assert name.replace("_", " ") in said


def test_a_client_that_knows_other_classes_than_most_is_left_out():
    said = [(0, scored_by(0, [[3, 1], [0, 2]])), (1, scored_by(1, [[6]])), (2, scored_by(2, [[2, 2], [2, 0]]))]
    usable, failed = scores(said, ["student"])
    assert [score.client for score in usable] == [0, 2]
    assert failed == {1: "knows another number of classes than 2, which most clients know"}


def test_a_client_holds_every_row_once_by_part_class_and_domain():
    recipe = load("smoke", ["clients=3", "data.labelled=0.5", "data.rows=60"])
    for number in range(3):
        holds = Participant(recipe, number).holds()
        assert sum(holds["parts"].values()) == sum(holds["domains"].values()) == 60
        assert sum(holds["classes"].values()) == holds["parts"]["train"]
        assert uncounted(holds) is None


@pytest.mark.parametrize(
    "holds", [{"classes": 3}, {"classes": {"a": -1}}, {"classes": {"a": 1.5}}, {"parts": {"a": None}}]
)
def test_rows_that_are_no_counts_are_a_fault(holds):
    assert uncounted(holds).startswith("counts its ")


def test_the_ledger_says_what_everyone_holds_and_refuses_who_cannot_count(run_here):
    words = "features.buckets=64 data.rows=40 optimiser.maxiter=20"
    config = {"recipe": "smoke", "rounds": 1, "override": f"clients=3 {words}"}

    def lies(client, message):
        asked = assigned(message)
        if client != 1 or asked.stage or asked.kind != "prepare":
            return None
        return reply(
            Answer(client=1, examples=9, arrays={}, seconds=0.0, holds={"classes": {"a": -4}}),
            message,
            asked.recipe_digest,
        )

    hello, *_ = lines(run_here("run", config, 3, act=lies))
    assert sorted(hello["holds"]) == ["0", "2"]
    assert hello["holds"]["0"]["parts"]["train"] > 0
    assert list(hello["failed"].values()) == ["counts its classes as {'a': -4}"]
    (score,) = (line for line in lines(run_here("again", config, 3)) if line["kind"] == "score")
    for name, arm in score["arms"].items():
        matrix = np.array(arm["confusion"])
        assert np.trace(matrix) / matrix.sum() == pytest.approx(arm["accuracy"])
        assert matrix.sum() == sum(client["examples"] for client in score["clients"].values()), name


def test_scores_through_shots_say_the_exact_loss_too(run_here):
    words = "clients=2 features.buckets=64 data.rows=40 optimiser.maxiter=20 scored_by=executor executor=aer shots=64"
    (score,) = (
        line
        for line in lines(run_here("run", {"recipe": "smoke", "rounds": 1, "override": words}, 2))
        if line["kind"] == "score"
    )
    for client in score["clients"].values():
        assert client["exact_loss"].keys() == client["loss"].keys()
        assert client["exact_loss"]["student"] != client["loss"]["student"]
        assert client["exact_loss"]["twin"] == client["loss"]["twin"]
        assert client["shot_loss"].keys() == client["shot_spread"].keys() == {"student"}
        assert client["shot_loss"]["student"] > client["exact_loss"]["student"]  # few shots cost
        assert 0 < client["shot_spread"]["student"] < 0.1
