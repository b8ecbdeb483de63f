"""What `qflock plan` says of teachers, regulation, averages and the end."""

import pytest
from rich.console import Console

from quantum.arms import student
from recipes.load import from_run_config, load
from server.ledger import lines
from server.plan import averaging, fits, priced, regulation, steps, stopping, teaching, writes
from strategies.selection import SELECTORS

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


@pytest.mark.parametrize("rules", ["invite", "admit"])
@pytest.mark.parametrize("by", SELECTORS)
def test_the_bytes_and_evaluations_of_a_plan_are_those_of_the_run_also_where_a_rule_invites(by, rules, run_here):
    changes = "clients=3 rounds=3 student.generator.by=hash student.twin=false optimiser.epochs=1 optimiser.batch=64 "
    config = {"recipe": "qfed-digits", "override": f"{changes}select.by={by} select.rules={rules}"}
    recipe = from_run_config(config)
    rounds = [line for line in lines(run_here("run", config, 3)) if line["kind"] == "round"]
    visits = [said for line in rounds for said in line["arms"]["student"]["clients"].values()]
    assert len(visits) == (3 + 2 * 2 if rules == "invite" and by != "everyone" else 9)
    console = Console(width=300)
    with console.capture() as said:
        console.print(priced(recipe))
    evaluations = sum(visit["evaluations"] for visit in visits)
    assert f"at most {evaluations:,} an arm" in said.get()
    assert f" {sum(line['bytes_up'] for line in rounds):,} in all" in said.get()


def test_a_plan_says_how_many_steps_there_are_and_whether_they_are_few():
    recipe = load("qd-llm-reviews")  # 8 rounds of 4 epochs in batches of 64, at 0.003
    assert steps(recipe, 1200) == "76 of Adam a client and round, 608 in all"
    few = "few: a number moves by hardly 0.19: raise optimiser.epochs or lower optimiser.batch"
    assert steps(recipe, 120) == f"8 of Adam a client and round, 64 in all; {few}"


def test_a_plan_of_qfed_scale_counts_one_client_of_five_from_round_2_on():
    said = ["clients=5", "select.by=uniform", "select.rules=invite", "select.percent=20", "student.twin=false"]
    assert fits(load("qfed-scale", said)) == 5 + 19 * 1
    assert fits(load("qfed-scale", said), beside=2) == 3 + 19 * 1


def words(changes):
    return [word for change in changes for word in ("--set", change)]
