"""The registry of claims: sound, and every number of ours measured, not written down."""

import json
import re
from dataclasses import replace
from functools import cache
from shlex import split
from statistics import fmean

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bench.systems import SYSTEMS, about
from recipes.load import load, shipped
from recipes.section import InputError
from server.cli import command
from server.verify import (
    MEASURES,
    NOT,
    REPRODUCED,
    STUDIES,
    UNMEASURED,
    UNPUBLISHED,
    Claim,
    accuracies,
    claims,
    measured,
    short,
    studied,
    verify,
)

COUNTED = [one for one in claims() if one.measure and not {"run", "central"} & one.measure.keys()]
KNOWN_NOT = {  # where a paper contradicts itself, its code, or what we measured
    "evaluations saved by the full method": pytest.approx(-0.05, abs=0.35),
    "the same for the 4 classes of the thematic task": 9299,
    "share of the student in the parameters of its teacher's adapter, the smallest": 9275 / 29_500_000,
    "mean accuracy of the full method over tables 4 to 6": pytest.approx(0.8239, abs=5e-5),
}


@cache
def said(words):
    return CliRunner().invoke(command, split(words)[1:], env={"COLUMNS": "200"}).output


def claim(**said):
    return Claim(paper="p", claim="c", source="s", command="qflock verify", **said)


def test_a_verdict_is_about_the_tolerance_and_more_accuracy_is_as_good():
    assert claim(published=10).verdict(10.0) == REPRODUCED
    assert claim(published=10).verdict(11.0) == NOT
    assert claim(published=0.84, tolerance=0.01, at_least=True).verdict(0.83) == REPRODUCED
    assert claim(published=0.84, tolerance=0.01, at_least=True).verdict(0.95) == REPRODUCED
    assert claim(published=0.84, tolerance=0.01, at_least=True).verdict(0.829) == NOT
    assert claim(published=0.84).verdict(None) == UNMEASURED
    assert claim().verdict(0.5) == UNPUBLISHED


@pytest.mark.parametrize("one", COUNTED, ids=lambda one: one.claim)
def test_counts_and_formulas_are_reproduced_but_where_a_paper_contradicts_itself(one, tmp_path):
    ours, seeds = measured(one.measure, tmp_path)
    assert (seeds is None) == ("saved" not in one.measure)
    if one.claim in KNOWN_NOT:
        assert one.verdict(ours) == NOT
        assert ours == KNOWN_NOT[one.claim]
        assert one.note
    else:
        if split(one.command)[1:2] in (["plan"], ["draw"]):
            assert re.search(rf"(?<![\d.,]){re.escape(short(one.published))}(?!,?\d|\.\d)", said(one.command))
        assert one.verdict(ours) == (UNPUBLISHED if one.published is None else REPRODUCED)


def test_every_paper_is_there_and_every_claim_has_a_source_and_a_command_that_exists():
    found = claims()
    assert len({one.paper for one in found}) == 3
    assert len({(one.paper, one.claim) for one in found}) == len(found)
    known = get_command(command).commands
    for one in found:
        words = split(one.command)
        assert one.source
        assert words[0] in ("qflock", "make", "arithmetic")
        assert words[:2] != ["qflock", "verify"]  # which is what asks
        if {"mean", "ratio"} & one.measure.keys():  # of numbers that are all the paper's
            assert one.note.startswith("ours is the paper's own arithmetic, ")
        if words[0] == "qflock":
            assert words[1] in known
        if words[1:] and words[1] in ("run", "plan", "sweep"):
            overrides = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
            assert words[2] in shipped()
            load(words[2], [override.replace("BACKEND", "brisbane") for override in overrides])
        assert set(one.measure) <= {"run", *MEASURES}


def test_an_accuracy_is_the_mean_over_the_seeds_of_the_unchanged_recipe(tmp_path, run_of):
    recipe = load("smoke")
    assert accuracies(tmp_path, "smoke") == []
    assert measured({"run": {"recipe": "smoke"}}, tmp_path) == (None, None)
    run_of(tmp_path / "a", recipe, {"student": 0.8, "twin": 0.7})
    run_of(tmp_path / "b", replace(recipe, seed=3), {"student": 0.6, "twin": 0.9})
    run_of(tmp_path / "changed", replace(recipe, rounds=7), {"student": 0.1, "twin": 0.1})
    run_of(tmp_path / "going", replace(recipe, seed=4), {"student": 0.1, "twin": 0.1}, end="")
    assert measured({"run": {"recipe": "smoke"}}, tmp_path) == (pytest.approx(0.7), 2)
    assert sorted(accuracies(tmp_path, "smoke", "twin")) == [0.7, 0.9]
    assert accuracies(tmp_path, "smoke", "logistic") == [0.75, 0.75]
    assert accuracies(tmp_path, "smoke", "head") == []
    assert accuracies(tmp_path, "smoke", set=["rounds=7"]) == [0.1]


def test_a_finished_run_that_has_no_score_is_passed_over(tmp_path, run_of):
    run_of(tmp_path / "a", load("smoke"), {"student": 0.8, "twin": 0.7})
    ledger = run_of(tmp_path / "b", replace(load("smoke"), seed=3), {"student": 0.6}) / "rounds.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if json.loads(line)["kind"] != "score"))
    assert accuracies(tmp_path, "smoke") == [0.8]


def test_a_finished_run_that_cannot_be_read_is_passed_over_and_said_once(tmp_path, run_of, caplog):
    run_of(tmp_path / "a", load("smoke"), {"student": 0.8, "twin": 0.7})
    for seed, (key, other) in enumerate((('"evaluations"', '"x"'), ('"arms"', '"x"')), start=3):
        ledger = run_of(tmp_path / str(seed), replace(load("smoke"), seed=seed)) / "rounds.jsonl"
        ledger.write_text(ledger.read_text().replace(key, other))
    for _ in range(2):
        assert accuracies(tmp_path, "smoke") == [0.8]
    said = [one.getMessage() for one in caplog.records]
    assert [one.partition(" is damaged")[0] for one in said] == [
        f"passed over: {tmp_path / str(seed) / 'rounds.jsonl'}" for seed in (3, 4)
    ]


def test_an_accuracy_in_one_place_is_that_of_its_study(tmp_path, monkeypatch):
    rows = {"student: 11 qubits": [{"accuracy": 0.7}, {"accuracy": 0.9}], "linear twin: without": [{"accuracy": 0.1}]}
    (tmp_path / "qdllm.json").write_text(json.dumps({"corpora": {"topic": {"rows": rows}}}))
    monkeypatch.setattr("server.verify.STUDIES", tmp_path)
    assert measured({"central": {"corpus": "topic"}}, tmp_path) == (pytest.approx(0.8), 2)
    assert measured({"central": {"corpus": "senti"}}, tmp_path) == (None, None)


def test_the_readme_and_this_table_say_the_same_of_a_system(tmp_path):
    ours = {about(one): measured(one.measure, tmp_path) for one in claims() if about(one)}
    seen = 0
    for row in SYSTEMS:
        arms = row.arms(STUDIES)
        if row.recipe in ours and arms.get("student"):
            assert ours[row.recipe] == (pytest.approx(fmean(arms["student"])), len(arms["student"]))
            seen += 1
    assert seen


def test_an_accuracy_that_was_not_run_here_is_that_of_a_committed_study(tmp_path, run_of, monkeypatch):
    row = {"recipe": "smoke", "changes": ["rounds=7"], "accuracy": {"student": [0.5, 0.7]}}
    (tmp_path / "study.json").write_text(json.dumps({"rows": [{"arm": "other"}, row]}))
    monkeypatch.setattr("server.verify.STUDIES", tmp_path)
    assert accuracies(tmp_path, "smoke") == []
    assert accuracies(tmp_path, "smoke", set=["rounds=7"]) == [0.5, 0.7]
    assert accuracies(tmp_path, "smoke", "twin", ["rounds=7"]) == []
    run_of(tmp_path / "a", replace(load("smoke"), rounds=7), {"student": 0.9})
    assert accuracies(tmp_path, "smoke", set=["rounds=7"]) == [0.9]


def test_an_accuracy_is_asked_of_arms_that_its_recipe_has():
    for one in claims():
        asked = one.measure.get("run")
        if asked and asked.get("row") == "twin":
            assert load(asked["recipe"], asked.get("set", [])).student.twin


def test_the_table_has_a_row_a_claim_and_says_theirs_and_ours(tmp_path):
    sheet = verify(tmp_path)
    assert [row[1] for row in sheet.rows] == [one.claim for one in claims()]
    text = sheet.markdown()
    assert "| 9,275 | 9,299 |  | not reproduced |" in text
    assert "| 1,497 | 1,497 |  | reproduced |" in text
    of_tweets = next(row for row in sheet.rows if row[1] == "accuracy on TweetEval's sentiment")
    assert of_tweets[4] == len(studied(STUDIES, "llm-qfl-tweets", [])["student"])


def test_the_committed_runs_of_qfed_by_clients_are_claims():
    study = json.loads((STUDIES / "qfed-scale.json").read_text())
    kept = {tuple(row["changes"]): fmean(row["accuracy"]["student"]) for row in study["rows"]}
    asked = [one for one in claims() if one.measure.get("run", {}).get("recipe") == "qfed-scale"]
    assert {tuple(one.measure["run"]["set"]): measured(one.measure, STUDIES)[0] for one in asked} == kept


def test_a_setting_that_no_recipe_has_is_one_line():
    with pytest.raises(InputError, match="what\\.not is not a key of a recipe"):
        measured({"setting": {"recipe": "smoke", "key": "what.not"}}, None)


def test_a_seed_that_never_gets_there_counts_with_all_that_it_spent(tmp_path, monkeypatch):
    work = "work to plain's loss"
    arms = [
        {"arm": "plain", "model": "student", "evaluations": [100, 100], work: [100, 50]},
        {"arm": "full", "model": "student", "evaluations": [90, 80], work: [60, None]},
        {"arm": "full", "model": "twin", "evaluations": [1, 1], work: [1, 1]},
    ]
    (tmp_path / "study.json").write_text(json.dumps({"arms": arms}))
    monkeypatch.setattr("server.verify.STUDIES", tmp_path)
    assert measured({"saved": {"study": "study"}}, tmp_path) == (pytest.approx((0.4 - 0.6) / 2), 2)
    assert measured({"saved": {"study": "none"}}, tmp_path) == (None, None)
