"""The tables of both READMEs are what bench/results says."""

import json

import pytest

from bench import reviews
from bench.tables import DIGESTS, PAGES, RESULTS, TABLES, named, rendered
from recipes.load import load
from recipes.section import InputError
from server.outcome import outcome

RUN_AGAIN = "run: make tables"


def test_the_readmes_show_the_committed_results():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert rendered(text, RESULTS) == text, RUN_AGAIN


def test_every_committed_result_that_can_be_drawn_has_its_place_in_a_readme():
    assert sorted(name for page in PAGES for name in named(page.read_text(encoding="utf-8"))) == sorted(
        [*DIGESTS, *(name for name in TABLES if (RESULTS / f"{name}.json").exists())]
    )


def studies():
    """(file, what it says of one shipped recipe) of all committed results."""
    for path in sorted(RESULTS.glob("*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        corpora = results.get("corpora", {}).values()
        for row in [results, *results.get("rows", []), *corpora]:
            if {"recipe", "recipe_digest"} <= row.keys():
                yield pytest.param(row, id=f"{path.stem} {row['recipe']}{row.get('changes', '')}")


@pytest.mark.parametrize("row", list(studies()))
def test_a_committed_study_is_of_the_shipped_recipe(row):
    recipe = load(row["recipe"], row.get("changes", []))
    assert row["recipe_digest"] == recipe.digest(), f"it has changed; run: {row['command']}"
    assert "dirty" not in row["commit"]


def test_the_table_of_qd_llm_is_among_the_committed_studies():
    """With its digests under its corpora."""
    measured = json.loads((RESULTS / "qdllm.json").read_text(encoding="utf-8"))["corpora"]
    assert {f"qdllm qd-llm-{corpus}{one['changes']}" for corpus, one in measured.items()} <= {
        row.id for row in studies()
    }


def test_a_number_that_changes_changes_the_text_and_rendering_twice_changes_nothing(tmp_path):
    results = json.loads((RESULTS / "reviews.json").read_text(encoding="utf-8"))
    results["rows"][0]["mean"] += 0.01
    (tmp_path / "reviews.json").write_text(json.dumps(results))
    text = "before\n<!-- table: reviews -->\nold | stuff\n<!-- /table -->\nafter\n"
    once = rendered(text, tmp_path)
    assert once == rendered(once, tmp_path) != rendered(text, RESULTS)
    assert once.startswith("before\n<!-- table: reviews -->\n| arm |")
    assert once.endswith("\n<!-- /table -->\nafter\n")
    assert "old" not in once


def test_a_table_without_numbers_is_one_line(tmp_path):
    for name in ("reviews", "nothing"):
        with pytest.raises(InputError, match=rf"^a README.md has a table {name}, but there is no {name}.json"):
            rendered(f"<!-- table: {name} -->\n<!-- /table -->", tmp_path)


def test_the_results_file_says_what_its_numbers_depend_on(tmp_path, run_of):
    outcomes = [
        outcome(
            run_of(
                tmp_path / str(seed),
                load("llm-qfl-reviews", [f"seed={seed}"]),
                {"student": 0.8 + seed / 100, "twin": 0.8},
            )
        )
        for seed in range(3)
    ]
    results = json.loads(json.dumps(reviews.measured(outcomes)))
    assert (results["commit"], results["seeds"]) == ("0.1.0 abc", [0, 1, 2])
    assert results["recipe_digest"] == load("llm-qfl-reviews").digest()
    assert results["rows"][0]["values"] == pytest.approx([0.8, 0.81, 0.82])
    assert results["difference"]["reading"].startswith("student against twin: ")
    assert results["difference"]["reading"][1:] in reviews.note(results)
    assert str(tmp_path) not in json.dumps(results)
