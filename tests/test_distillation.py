"""The studies of QD-LLM: what their rows are, and what a reader is told of them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench import distillation
from bench.distillation import STUDIES, measured, note, table
from recipes.load import load, sweep_of
from server.outcome import outcome
from server.sweep import grid


def every_row():
    for study, rows in STUDIES.items():
        for row in rows:
            yield pytest.param(study, row, id=f"{study} {row.label}")


@pytest.mark.parametrize(("study", "row"), list(every_row()))
def test_every_row_is_a_recipe_of_a_layered_student(study, row):
    recipe = load(row.recipe, list(row.changes))
    assert recipe.student.kind == "layered"
    assert recipe.clients == (1 if study != "federated" or "one place" in row.label else int(row.label.split()[1]))


@pytest.mark.parametrize("corpus", distillation.CORPORA)
def test_what_has_no_teacher_takes_as_many_steps_as_what_has_one(corpus):
    rows = [load(row.recipe, list(row.changes)) for row in STUDIES["transfer"] if row.label.startswith(corpus)]
    alone, taught, unlabelled, other, whole = rows
    assert [one.data.labelled for one in rows] == [0.1, 0.1, 0.1, 0.1, 1.0]
    assert [one.teacher.kind for one in rows] == ["none", "lora", "lora", "lora", "none"]
    assert (unlabelled.distil.labels, other.data.public_rows) == (0, 3000)
    assert alone.optimiser.epochs * alone.data.labelled == pytest.approx(taught.optimiser.epochs)
    assert whole.optimiser == taught.optimiser


def test_the_study_of_scale_is_its_recipes_own_sweep():
    assert [list(row.changes) for row in STUDIES["scale"]] == grid(sweep_of("qd-llm-scale"))
    assert {row.recipe for row in STUDIES["scale"]} == {"qd-llm-scale"}


@pytest.mark.parametrize("corpus", distillation.FIVE)
def test_feddf_has_a_row_beside_it_that_differs_in_nothing_else(corpus):
    rows = {row.label: load(row.recipe, list(row.changes)) for row in STUDIES["federated"]}
    fused, averaged = (rows[f"{corpus}: 5 clients, {what}"] for what in ("FedDF", "public rows, FedAvg"))
    assert (fused.aggregate.by, averaged.aggregate.by) == ("feddf", "fedavg")
    assert replace(fused, aggregate=averaged.aggregate) == averaged
    assert averaged.data.public_rows == 300


@pytest.fixture
def study(tmp_path, run_of):
    """Three rows of one corpus over three seeds, the second the best on validation rows and the third on test rows."""

    def run(name):
        found = []
        for number, row in enumerate(STUDIES[name][:3]):
            outcomes = []
            for seed in range(3):
                clients = {
                    "student_accuracy": lambda _, n=number: (0.7, 0.8, 0.6)[n],
                    "teacher_accuracy": lambda _: 0.9,
                }
                accuracies = {"student": 0.7 + (seed + 5 * number) / 100, "twin": 0.7}
                recipe = load(row.recipe, [*row.changes, f"seed={seed}"])
                outcomes.append(outcome(run_of(tmp_path / f"{number}-{seed}", recipe, accuracies, **clients)))
            found.append(measured(row, outcomes))
        return json.loads(json.dumps({"schema": 1, "study": name, "rows": found}))

    return run


def cells(results):
    drawn = table(results)
    return [[column.header, *column.cells] for column in drawn.columns]


def test_a_row_is_compared_with_the_first_of_its_corpus_and_validation_chooses(study):
    results = study("ablation")
    said = {head: rest for head, *rest in cells(results)}
    assert said["student"] == ["71.0%", "76.0%", "81.0%"]
    assert said["− first of its corpus, points"] == ["", "+5.0 (+5.0 to +5.0)", "+10.0 (+10.0 to +10.0)"]
    assert said["published"] == ["73.9%", "82.0%", "81.6%"]
    assert said["macro F1"] == ["0.710", "0.760", "0.810"]
    assert "Highest on validation rows: topic: KL." in note(results)
    assert "qflock 0.1.0 abc." in note(results)


def test_a_row_that_js_alone_teaches_shows_its_teacher(study):
    results = study("ablation")
    assert STUDIES["ablation"][2].label == "topic: JS"
    said = {head: rest for head, *rest in cells(results)}
    assert said["teacher"] == ["", "90.0%", "90.0%"]


def test_a_study_that_the_paper_has_not_stands_alone(study):
    results = study("choices")
    assert "published" not in [head for head, *_ in cells(results)]
    assert np.mean(results["rows"][1]["validation"]) == pytest.approx(0.8)
