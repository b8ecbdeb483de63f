"""A whole run of one round, in this process, with every student, optimiser and executor."""

import pytest

from quantum.arms import STUDENTS
from quantum.optimise import OPTIMISERS
from recipes.load import from_run_config
from server.ledger import lines, untimed
from server.plan import priced

ROWS = 40  # of a client; three fifths are trained on
SMALL = f"features.buckets=64 data.rows={ROWS} optimiser.maxiter=45 regulate.law=none rounds=1 threads=1"
RUNS = {
    "qcnn, softmax": "student.kind=qcnn student.readout=softmax",
    "reupload, adam": "student.kind=reupload optimiser.kind=adam",
    "shots, shift": "executor=shots optimiser.kind=shift",
    "aer, cobyla, scored too": "executor=aer shots=64 scored_by=executor",
    "qcnn, depolarizing, spsa": "student.kind=qcnn executor=depolarizing:0.01 shots=64 optimiser.kind=spsa",
    "reupload, noisy, spsa": "student.kind=reupload executor=noisy:manila shots=64 optimiser.kind=spsa",
}


def config_of(changes):
    return {"recipe": "smoke", "override": f"{SMALL} {changes}"}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_run_trains_and_counts_its_shots(changes, run_here):
    recipe = from_run_config(config_of(changes))
    priced(recipe)
    first = lines(run_here("run", config_of(changes), 2))
    (round_,) = (line for line in first if line["kind"] == "round")
    score = next(line for line in first if line["kind"] == "score")
    for arm, part in round_["arms"].items():
        for client in part["clients"].values():
            assert 0 < client["evaluations"] <= recipe.optimiser.maxiter
            shots = 0 if arm == "twin" or recipe.executor == "exact" else recipe.shots
            assert client["shots"] == client["evaluations"] * client["examples"] * shots
    assert round_["arms"]["student"]["reference_loss"] < 5
    scored = recipe.scored_by == "executor"
    assert [client["shots"] for client in score["clients"].values()] == [
        client["examples"] * recipe.shots * scored for client in score["clients"].values()
    ]


@pytest.mark.parametrize("name", ["shots, shift", "reupload, adam"])
def test_a_run_repeats_to_the_bit_with_its_shots(name, run_here):
    folders = [run_here(where, config_of(RUNS[name]), 2) for where in ("first", "second")]
    first, second = ([untimed(line) for line in lines(folder)] for folder in folders)
    assert first == second


def test_every_student_and_optimiser_is_in_a_run():
    said = " ".join(RUNS.values()) + " student.kind=vqc optimiser.kind=cobyla student.kind=noop"
    assert all(f"student.kind={kind}" in said for kind in STUDENTS)
    assert all(f"optimiser.kind={kind}" in said for kind in OPTIMISERS)
