"""Grouping, pairing, reading and writing of run folders that no Flower made."""

import csv
import io
import json
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recipes.load import load
from recipes.section import InputError
from server.compare import Pair, compare, points, reading
from server.outcome import outcome
from server.statistics import difference
from server.tables import WRITERS, as_csv, as_html, as_markdown, show, terminal

SMOKE = load("smoke")
BASE = {0: (0.80, 0.70), 1: (0.82, 0.74), 2: (0.84, 0.73), 3: (0.79, 0.71), 4: (0.81, 0.72)}
OTHER = {0: (0.70, 0.70), 1: (0.73, 0.71), 2: (0.72, 0.76), 7: (0.1, 0.1)}


@pytest.fixture
def outcomes(tmp_path, run_of):
    """Five seeds of smoke, and four of smoke without regulation, three of them the same seeds."""
    found = []
    for law, runs in (("adaptive", BASE), ("none", OTHER)):
        for seed, (student, twin) in runs.items():
            recipe = load("smoke", [f"seed={seed}", f"regulate.law={law}"])
            folder = run_of(tmp_path / f"{law}-{seed}", recipe, {"student": student, "twin": twin})
            found.append(outcome(folder))
    return found


def test_runs_are_grouped_by_recipe_and_named_by_what_differs(outcomes):
    comparison = compare(outcomes)
    assert [(group.label, list(group.runs)) for group in comparison.groups] == [
        ("smoke", [0, 1, 2, 3, 4]),
        ("regulate.law=none", [0, 1, 2, 7]),
    ]
    assert comparison.base == "regulate.law=adaptive"
    assert [(row.group, row.arm) for row in comparison.rows][:4] == [
        ("smoke", "student"),
        ("smoke", "twin"),
        ("smoke", "logistic"),
        ("smoke", "majority"),
    ]


def test_differences_are_paired_by_seed_and_only_on_seeds_that_both_have(outcomes):
    pairs = {pair.label: pair.found for pair in compare(outcomes).pairs}
    assert list(pairs) == [
        "smoke: student − twin",
        "regulate.law=none: student − twin",
        "regulate.law=none: student − smoke",
        "regulate.law=none: twin − smoke",
    ]
    assert pairs["smoke: student − twin"] == difference(*zip(*BASE.values(), strict=True))
    both = [(OTHER[seed][0], BASE[seed][0]) for seed in (0, 1, 2)]
    assert pairs["regulate.law=none: student − smoke"] == difference(*zip(*both, strict=True))


def test_runs_of_two_corpora_stand_beside_each_other_and_are_not_paired(tmp_path, run_of):
    recipes = [load("smoke"), load("smoke", ["data.corpus=reviews"])]
    found = compare([outcome(run_of(tmp_path / str(n), recipe)) for n, recipe in enumerate(recipes)])
    assert [pair.label for pair in found.pairs] == ["smoke: student − twin", "data.corpus=reviews: student − twin"]
    (said,) = found.unpaired
    assert said == "data.corpus=reviews is of another corpus than smoke: nothing is paired between them."
    assert said in as_markdown(found)
    assert said in as_html(found)


def test_rows_that_are_others_under_the_same_name_are_not_paired(outcomes):
    first, second = (replace(one, corpus=digest) for one, digest in zip(outcomes[4:6], ("aa", "bb"), strict=True))
    assert compare([first, replace(second, corpus="aa")]).unpaired == []
    assert compare([first, second]).unpaired


@pytest.mark.parametrize("width", [80, 200])
def test_no_label_is_lost_on_a_narrow_console(width, outcomes):
    console = Console(width=width, file=io.StringIO())
    console.print(terminal(compare(outcomes), width))
    text = console.file.getvalue()
    assert "regulate.law=none" in text
    assert ("evaluations" in text) == (width == 200)
    assert "…" not in text


def test_a_row_holds_what_the_ledgers_say(outcomes):
    row = compare(outcomes[:5]).rows[0]
    assert row.accuracy.mean == pytest.approx(sum(student for student, _ in BASE.values()) / 5)
    assert (row.loss, row.evaluations, row.bytes, row.seconds) == (pytest.approx(1 / 3), 21, 39, 2.5)


def test_the_order_of_the_runs_of_a_group_changes_nothing(outcomes):
    runs = outcomes[:5]
    texts = {as_csv(compare(list(order))) for order in permutations(runs)}
    assert len(texts) == 1


def test_an_arm_that_stopped_early_keeps_its_last_value(tmp_path, run_of):
    folder = run_of(tmp_path / "run", SMOKE)
    text = (folder / "rounds.jsonl").read_text().splitlines()
    last = json.loads(text[3])
    del last["arms"]["twin"]
    (folder / "rounds.jsonl").write_text("\n".join([*text[:3], json.dumps(last), *text[4:]]) + "\n")
    found = outcome(folder)
    assert found.trace("twin", "reference_loss") == [1, 0.5, 0.5]
    assert found.evaluations("twin") == 14


def said(ours, theirs):
    return reading(Pair("student", "twin", difference(ours, theirs)))


def test_a_reading_claims_what_the_intervals_allow():
    zeros = [0.0] * 5
    assert said([0.9], [0.8]) == (
        "student against twin: +10.0 points on 1 seed; fewer than 3 give no interval, so nothing is shown."
    )
    assert said([0.04, 0.05, 0.06, 0.05, 0.05], zeros) == (
        "student is better than twin by 5.0 points (95% interval +4.1 to +5.9; 5 seeds)."
    )
    assert said([-0.04, -0.05, -0.06, -0.05, -0.05], zeros).startswith("student is worse than twin by 5.0 points (")
    assert said([0.04, -0.05, 0.02, 0.01, -0.03], zeros) == (
        "student against twin: no difference shown (95% interval −4.8 to +4.4 points); "
        "5 seeds would show one of 6.2 points four times in five."
    )
    assert "no difference shown (95% interval −" in said([0.01, 0.05, 0.09], [0.0] * 3)  # all three are above 0
    assert "scored the same on each of 5 seeds" in said(zeros, zeros)
    assert "differed by the same +1.0 points" in said([0.01] * 5, zeros)


@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_better_and_worse_are_said_only_when_zero_is_outside_the_interval(pairs):
    found = difference(*zip(*pairs, strict=True))
    words = reading(Pair("student", "twin", found))
    claims = "better" in words or "worse" in words
    assert claims == found.shown
    if claims:
        assert found.t_interval[0] * found.t_interval[1] > 0
    assert words.count(". ") == 0  # one sentence
    assert words.endswith(".")


def test_csv_markdown_and_png_hold_every_group_and_arm(outcomes, tmp_path):
    comparison = compare(outcomes)
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [row["kind"] for row in rows] == ["accuracy"] * 8 + ["difference"] * 4
    assert float(rows[0]["mean"]) == comparison.rows[0].accuracy.mean
    assert all(None not in row and None not in row.values() for row in rows)
    text = as_markdown(comparison)
    assert "| regulate.law=none | twin | 4 |" in text
    assert text.count("- ") >= len(comparison.pairs)
    show(comparison, {kind: tmp_path / f"compare.{kind}" for kind in WRITERS})
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (tmp_path / "compare.md").read_text() == text


def test_bytes_and_seconds_are_said_to_be_the_whole_runs_which_has_several_arms(outcomes):
    comparison = compare(outcomes[:5])
    student, twin = comparison.rows[:2]
    assert (student.arm, twin.arm) == ("student", "twin")
    assert (student.bytes, student.seconds) == (twin.bytes, twin.seconds)
    assert "| evaluations | bytes of the run | seconds of the run |" in as_markdown(comparison)
    assert {"run_bytes", "run_seconds"} < set(as_csv(comparison).splitlines()[0].split(","))
    console = Console(width=140, file=io.StringIO())
    console.print(terminal(comparison, 140))
    assert console.file.getvalue().count("of the run") == 2
    assert "…" not in console.file.getvalue()


def test_the_page_of_a_comparison_has_its_tables_curves_and_wins(outcomes):
    comparison = compare(outcomes)
    text = as_html(comparison)
    for part in ("reading", "accuracy", "differences", "rounds", "runs"):
        assert f'<section id="{part}"' in text
    assert "http" not in text
    assert text.count('<svg role="img" aria-label="') == 5  # losses and accuracies of two groups, and differences
    first = comparison.pairs[0].found
    assert (first.won, first.lost) == (5, 0)
    last = comparison.pairs[-1].found
    assert (last.won, last.lost) == (1, 1)  # of three seeds, one the same
    assert "<td>5</td><td>5</td><td>0</td><td>+8.8</td>".replace("+8.8", points(first.mean)) in text
    assert all(str(outcome.folder) in text for outcome in outcomes)


def test_a_loss_that_was_no_number_leaves_the_page_its_other_curves(outcomes, tmp_path):
    ledger = outcomes[0].folder / "rounds.jsonl"
    ledger.write_text(ledger.read_text().replace('"reference_loss": 1.0', '"reference_loss": null'))
    text = as_html(compare([outcome(one.folder) for one in outcomes]))
    assert text.count('<svg role="img" aria-label="') == 5


def test_what_is_no_finished_run_is_one_line(tmp_path, run_of):
    def refused(folder):
        with pytest.raises(InputError) as wrong:
            outcome(folder)
        assert "\n" not in str(wrong.value)
        return str(wrong.value)

    assert refused(tmp_path) == f"{tmp_path} is not a run folder: it has no recipe.yaml"
    going = run_of(tmp_path / "going", SMOKE, rounds=2, end="")
    assert refused(going) == f"{going} has not ended (2 rounds so far). Go on with: qflock resume {going}"
    failed = run_of(tmp_path / "failed", SMOKE, rounds=1, end="failed")
    assert refused(failed) == f"{failed} failed: as the test says. Go on with: qflock resume {failed}"
    older = run_of(tmp_path / "older", SMOKE)
    ledger = older / "rounds.jsonl"
    sound = ledger.read_text()
    ledger.write_text(sound.replace('"schema": 1', '"schema": 7'))
    assert "has schema 7, this qflock reads 1: run again with: qflock run" in refused(older)
    ledger.write_text("[]\n")
    assert "has schema None" in refused(older)
    ledger.write_text(sound.replace("{", "", 1))
    assert "is damaged" in refused(older)
    ledger.write_text(sound)
    (older / "recipe.yaml").write_text("what_was_that: 3\n")
    assert refused(older).startswith(f"{older} has a recipe that cannot be read: recipe.yaml: what_was_that is not a")


def gone(*path):
    """A change that takes a value out of lines of one kind."""

    def change(line):
        for key in path[1:-1]:
            line = line[key]
        del line[path[-1]]

    return path[0], change


GAPS = {
    "(no evaluations of client 0 in round 1)": gone("round", "arms", "student", "clients", "0", "evaluations"),
    "(no rho of client 0 in round 1)": gone("round", "arms", "student", "clients", "0", "rho"),
    "(no reference_loss of the student in round 1)": gone("round", "arms", "student", "reference_loss"),
    "(no first round of the twin)": gone("round", "arms", "twin"),
    "(no accuracy of the student)": gone("score", "arms", "student", "accuracy"),
    "(no accuracy of the twin)": ("score", lambda line: line["arms"]["twin"].update(accuracy=None)),
    "(line 1)": gone("prepare", "kind"),
    "(line 2)": gone("round", "round"),
    "(line 5)": ("score", lambda line: line["arms"].update({"../x": {}})),
    "(no first round of the student)": ("round", lambda line: line.clear()),
    "has not ended": gone("end", "kind"),
    "failed: as the test says": gone("end", "state"),
}


@pytest.mark.parametrize("said", GAPS)
def test_a_ledger_without_what_is_compared_is_one_line(said, tmp_path, run_of):
    folder, (kind, change) = run_of(tmp_path / "run", SMOKE), GAPS[said]
    lines = [json.loads(text) for text in (folder / "rounds.jsonl").read_text().splitlines()]
    for line in [line for line in lines if line["kind"] == kind]:
        change(line)
    lines = [line for line in lines if line]
    if kind == "end" and "kind" not in lines[-1]:
        lines[-1]["kind"] = "other"
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError) as wrong:
        outcome(folder)
    assert str(folder) in str(wrong.value)
    assert said in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_ledger_without_its_times_took_no_time(tmp_path, run_of):
    ledger = run_of(tmp_path / "run", SMOKE) / "rounds.jsonl"
    ledger.write_text(ledger.read_text().replace('"seconds"', '"times"'))
    assert outcome(ledger.parent).seconds == 0


def test_a_loss_that_was_no_number_at_the_end_is_blank(tmp_path, run_of):
    ledger = run_of(tmp_path / "run", SMOKE) / "rounds.jsonl"
    ledger.write_text(ledger.read_text().replace('"reference_loss": 0.5', '"reference_loss": null'))
    assert outcome(ledger.parent).reaches("student", 0.4) == 21
    ledger.write_text(re.sub('"reference_loss": [0-9.]+', '"reference_loss": null', ledger.read_text()))
    found = compare([outcome(ledger.parent)])
    assert "nan" not in as_csv(found) + as_markdown(found)
    assert as_html(found)


def test_a_ledger_that_may_not_be_read_or_is_nested_without_end_is_one_line(tmp_path, run_of, monkeypatch):
    folder = run_of(tmp_path / "run", SMOKE)
    (folder / "rounds.jsonl").write_text("[" * 10**5 + "\n")
    with pytest.raises(InputError, match="is damaged"):
        outcome(folder)
    for method in ("read_text", "is_file"):
        monkeypatch.setattr(Path, method, refused)
        with pytest.raises(InputError, match=r"run.* cannot be read \(Permission denied\): give it to this user"):
            outcome(folder)


def refused(path, *_, **__):
    raise PermissionError(13, "Permission denied", str(path))


def test_the_same_recipe_and_seed_twice_is_one_line(tmp_path, run_of):
    twice = [outcome(run_of(tmp_path / name, replace(SMOKE, seed=3))) for name in "ab"]
    with pytest.raises(InputError, match="are the same recipe and seed, so the same numbers: drop one"):
        compare(twice)
