"""What `qflock plan` says of teachers, regulation, averages and the end."""

import pytest

from quantum.arms import student
from recipes.load import load
from server.plan import averaging, regulation, stopping, teaching, writes

SAID = {
    (): (
        teaching,
        "tiny; tuned on 100% of a client's training rows; nothing distilled",
    ),
    ("teacher.federate=ffa", "teacher.rounds=2", "distil.weight=0.5", "distil.proximal=0.1", "data.labelled=0.1"): (
        teaching,
        "tiny; tuned on 10% of a client's training rows; federated (ffa, 2 rounds); "
        "distilled with ν 1, λ 0.5, κ 0 at T 2; "
        "proximal μ 0.1",
    ),
    ("regulate.law=none",): (regulation, "none: maxiter 20 in every round"),
    ("regulate.cap=10",): (
        regulation,
        "adaptive: maxiter 20, from round 2 on m′(ρ) where ρ > 1, in a client-round whose student is behind its "
        "teacher, cap 20; a run counts them",
    ),
    ("aggregate.tau=2", "aggregate.mean=circular"): (averaging, "fedavg, τ 2, angles on the circle"),
    ("aggregate.by=median",): (averaging, "median"),
    ("rounds=3",): (stopping, "3 rounds"),
    ("stop.epsilon=0.01", "stop.delta=0"): (
        stopping,
        "3 rounds, or |ΔL|/L < 0.01 or the student within 0 nats of its teacher for 2 rounds",
    ),
}


@pytest.mark.parametrize(("overrides", "said"), SAID.items(), ids=[" ".join(key) or "as it is" for key in SAID])
def test_a_plan_says_in_words_what_the_recipe_means(overrides, said):
    words, line = said
    assert words(load("smoke", overrides)) == line


def test_a_plan_says_whether_a_generator_has_fewer_numbers_or_more():
    for chunk, said in ((1, "(74.9% fewer)"), (1000, "(62.0% more)")):
        recipe = load("qfed-digits", [f"student.generator.chunk={chunk}"])
        assert said in writes(recipe.student.generator, student(recipe.student, 10))


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ((), "optimiser.learning_rate or student.generator.gain"),
        (("student.generator.by=full", "student.twin=false"), "optimiser.learning_rate"),
    ],
)
def test_a_learning_rate_that_leaves_no_number_is_one_line_which_names_what_to_lower(changes, keys, told):
    code, said = told("plan", "qfed-digits", "--set", "optimiser.learning_rate=1e30", *words(changes))
    assert code == 2
    assert said.splitlines()[-1].startswith("error: the loss is nan in epoch 1 of a fit")
    assert said.endswith(f"; lower {keys}\n")
    assert said.count("\n") == 1


def words(changes):
    return [word for change in changes for word in ("--set", change)]
