"""Every law of the registry: the numbers of its docstring, and what no law may do."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.regulator import LAWS, regulate
from recipes.schema import RegulateConfig

GROWS = [law for law in LAWS if law != "twoway"]
BUDGET = st.integers(1, 500)
LOSS = st.floats(1e-6, 9)


def config(law, cap=100, step_cap=100):
    return RegulateConfig(law=law, cap=cap, step_cap=step_cap)


EXAMPLES = {  # m = 10 at ρ = 1.5, 3 and, for the law that looks there, 0.5
    "none": {1.5: 10, 3.0: 10, 0.5: 10},
    "incremental": {1.5: 15, 3.0: 30, 0.5: 10},
    "dynamic": {1.5: 12, 3.0: 20, 0.5: 10},  # ⌊10·2.5/2⌋ = ⌊12.5⌋
    "logarithmic": {1.5: 19, 3.0: 23, 0.5: 10},  # ln 2.5 = 0.916, ln 4 = 1.386
    "adaptive": {1.5: 15, 3.0: 30, 0.5: 10},
    "hybrid": {1.5: 22, 3.0: 22, 0.5: 10},  # the step cap is 12 here
    "twoway": {1.5: 15, 3.0: 30, 0.5: 5},
}


def test_every_law_has_its_worked_example():
    assert EXAMPLES.keys() == LAWS.keys()


@pytest.mark.parametrize("law", EXAMPLES)
@pytest.mark.parametrize("rho", [1.5, 3.0, 0.5])
def test_worked_examples(law, rho):
    assert regulate(config(law, step_cap=12), 10, rho * 0.5, 0.5).maxiter == EXAMPLES[law][rho]


@pytest.mark.parametrize("law", GROWS)
@given(m=BUDGET, student=LOSS, teacher=LOSS, cap=BUDGET, step_cap=BUDGET)
def test_a_law_never_takes_budget_away_nor_lets_it_grow_past_the_cap(law, m, student, teacher, cap, step_cap):
    assert m <= regulate(config(law, cap, step_cap), m, student, teacher).maxiter <= max(m, cap)


@pytest.mark.parametrize("law", GROWS)
@given(m=BUDGET, teacher=LOSS, ahead=st.floats(0, 1))
def test_a_student_that_beats_its_teacher_keeps_its_budget(law, m, teacher, ahead):
    assert regulate(config(law), m, teacher * ahead, teacher).maxiter == m


@given(m=BUDGET, student=LOSS, teacher=LOSS, cap=BUDGET)
def test_twoway_is_the_ratio_itself_and_always_leaves_one_evaluation(m, student, teacher, cap):
    found = regulate(config("twoway", cap), m, student, teacher).maxiter
    assert found == min(max(1, math.floor(m * (student / teacher))), max(m, cap))
    assert student > teacher or found <= m


@pytest.mark.parametrize("law", LAWS)
@given(m=BUDGET, teacher=LOSS, losses=st.tuples(LOSS, LOSS))
def test_a_worse_student_never_gets_less(law, m, teacher, losses):
    better, worse = sorted(losses)
    assert regulate(config(law), m, better, teacher).maxiter <= regulate(config(law), m, worse, teacher).maxiter


@pytest.mark.parametrize("law", [law for law in LAWS if law not in ("none", "logarithmic")])
def test_a_perfect_teacher_asks_for_the_whole_cap(law):
    assert regulate(config(law, cap=70), 10, 0.5, 0.0).maxiter == 70


@given(m=BUDGET, rho=st.floats(1, 50))
def test_incremental_and_adaptive_are_the_same_law_but_for_one_rounding(m, rho):
    assert abs(LAWS["incremental"](m, rho, 1) - LAWS["adaptive"](m, rho, 1)) <= 1


@pytest.mark.parametrize("law", LAWS)
@given(m=BUDGET, student=LOSS, teacher=LOSS, cap=BUDGET)
def test_what_was_asked_for_and_the_ratio_are_told_beside_what_is_allowed(law, m, student, teacher, cap):
    found = regulate(config(law, cap), m, student, teacher)
    assert found.rho == student / teacher
    assert found.maxiter == min(found.requested, max(m, cap))
    assert found.requested == (LAWS[law](m, found.rho, 100) if found.rho > 1 or law == "twoway" else m)


def test_a_law_that_explodes_is_held_at_its_cap_and_says_so():
    found = regulate(config("adaptive", cap=50), 10, 4.0, 0.001)
    assert (found.requested, found.maxiter) == (40_000, 50)
    assert found.held_back("adaptive") == "adaptive asked for 40000 evaluations at ρ 4e+03, capped at 50"
