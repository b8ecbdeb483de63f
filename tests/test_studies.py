"""The committed studies: what is written to a results file, and what a reader is told of it."""

import json
import signal
from dataclasses import replace
from itertools import product

import pytest

from bench import ablation as ablation_study
from bench import llm_qfl, qfed_study, sensitivity
from bench.tables import TABLES
from recipes.load import load, sweep_of
from recipes.section import InputError
from server.ablation import ablation
from server.outcome import outcome
from server.sweep import grid


@pytest.fixture
def recipe(tmp_path):
    """A recipe of all three parts."""
    path = tmp_path / "whole.yaml"
    path.write_text("extends: smoke\nselect: {by: alignment}\ndistil: {weight: 0.5}\n")
    return str(path)


@pytest.fixture
def sensed(tmp_path, run_of, recipe):
    """A study of two λ, two μ and two ε over three seeds, with a loss for each."""

    def run(loss):
        def runs(settings):
            for setting in settings:
                for seed in range(3):
                    one = load(recipe, [*setting, f"seed={seed}"])
                    folder = run_of(tmp_path / "runs" / one.digest(), one)
                    lower(folder, loss(one.distil.weight, one.distil.proximal) + seed / 100)
                    yield outcome(folder)

        guided = [[f"distil.weight={w}", f"distil.proximal={p}"] for w in (0.5, 0.0) for p in (0.1, 0.0)]
        stopped = [[f"stop.epsilon={e}"] for e in (0.05, 0.001)]
        return json.loads(json.dumps(sensitivity.measured(recipe, list(runs(guided)), list(runs(stopped)))))

    return run


def lower(folder, loss):
    """Another reference loss at the end of a run."""
    ledger = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    last = [line for line in ledger if line["kind"] == "round"][-1]
    for arm in last["arms"].values():
        arm["reference_loss"] = loss
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ledger))


def test_the_setting_with_the_lowest_loss_is_named_with_what_the_seeds_allow(sensed):
    results = sensed(lambda weight, proximal: 0.5 - 0.1 * weight + proximal)
    assert [(cell["weight"], cell["proximal"]) for cell in results["guidance"]] == [
        (0, 0),
        (0, 0.1),
        (0.5, 0),
        (0.5, 0.1),
    ]
    assert results["guidance"][2]["loss"] == pytest.approx([0.45, 0.46, 0.47])
    text = TABLES["sensitivity"](results)
    assert "| λ | μ = 0 | μ = 0.1 |" in text
    assert "| 0.5 | 0.460 · 80.0% (lowest) | 0.560 · 80.0% |" in text
    assert text.count("(lowest)") == 1
    assert "| 0.001 | 3.0 | 21 |" in text
    assert "The lowest mean loss is at λ = 0.5 and μ = 0; it is " in text
    assert f"Recipe `whole` ({results['recipe_digest']}), seeds 0 to 2, qflock 0.1.0 abc." in text


def test_when_no_teaching_is_best_the_study_says_so(sensed):
    results = sensed(lambda weight, proximal: 0.5 + weight + proximal)
    assert sensitivity.note(results).startswith("No λ or μ lowers the mean loss below that of neither, 0.510. Recipe")


def test_the_heat_map_is_a_picture_and_the_same_numbers_draw_the_same_bytes(sensed, tmp_path):
    results = sensed(lambda weight, proximal: 0.5 - 0.1 * weight + proximal)
    first, second = (tmp_path / name for name in ("a.png", "b.png"))
    for path in (first, second):
        sensitivity.heat(results, path)
    assert first.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert first.read_bytes() == second.read_bytes()


def test_the_ablation_in_the_readme_is_the_one_on_the_terminal_with_its_source(tmp_path, run_of, recipe):
    sweep = ablation(recipe, [], range(3), tmp_path / "runs")
    outcomes = [outcome(run_of(sweep.folder / run.label, run.recipe)) for run in sweep.runs]
    results = json.loads(json.dumps(ablation_study.measured(recipe, sweep, outcomes)))
    assert (results["recipe_digest"], results["seeds"]) == (load(recipe).digest(), [0, 1, 2])
    assert str(tmp_path) not in json.dumps(results)
    text = TABLES["ablation-llm-qfl-reviews"](results)
    assert "| regulation + selection (50%) | twin |" in text
    assert "Work: to the loss at which plain student ends, full student takes as many evaluations" in text
    assert text.endswith(f"Recipe `whole` ({results['recipe_digest']}), seeds 0 to 2, qflock 0.1.0 abc.")


def test_the_shipped_sensitivity_study_carries_every_weight_and_pull():
    combinations = grid(sweep_of(sensitivity.RECIPE))
    found = {(one.distil.weight, one.distil.proximal) for one in (load(sensitivity.RECIPE, c) for c in combinations)}
    assert found == set(product((0, 0.1, 0.5, 1), (0, 0.01, 0.1)))


def test_a_study_of_a_recipe_without_such_a_sweep_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench.sensitivity", "--recipe", "smoke"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(InputError, match=r"^smoke must carry a sweep of distil.weight and distil.proximal"):
            sensitivity.main()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_recipe_of_the_llm_qfl_study_is_one_line_with_its_twin_and_what_the_seeds_allow(tmp_path, run_of, recipe):
    outcomes = []
    for seed in range(3):
        one = load(recipe, [f"seed={seed}"])
        scores = {"student": 0.80 + seed / 100, "twin": 0.70 + seed / 100 + seed / 1000}
        outcomes.append(outcome(run_of(tmp_path / str(seed), one, scores, teacher_accuracy=lambda _: 0.6)))
    row = json.loads(json.dumps(llm_qfl.measured(recipe, [], outcomes[::-1])))
    assert row["seeds"] == [0, 1, 2]
    assert row["accuracy"]["student"] == pytest.approx([0.80, 0.81, 0.82])
    assert row["taught"] == "tiny"
    assert row["teacher"] == [0.6] * 3
    bare = run_of(tmp_path / "bare", load(recipe), teacher_loss=lambda _: None, note=lambda _: "disk full")
    with pytest.raises(InputError, match=r"bare: no client had a teacher \(disk full\); mend that, delete the folder"):
        llm_qfl.measured(recipe, [], [*outcomes, outcome(bare)])
    text = TABLES["llm-qfl"]({"rows": [row]})
    assert "| 81.0% | 71.1% | **+9.9 (+9.7 to +10.1)** |" in text
    assert "qflock 0.1.0 abc." in text


def test_every_row_of_the_llm_qfl_studies_is_a_recipe():
    for rows in llm_qfl.STUDIES.values():
        for name, changes in rows:
            assert load(name, changes).name == name


def test_a_setting_of_qfed_is_one_line_with_what_travels_and_a_figure_beside_it(tmp_path, run_of):
    changes = ["clients=5", "rounds=2"]
    outcomes = []
    for seed in range(2):
        one = load("qfed-scale", [*changes, f"seed={seed}"])
        scores = {"student": 0.80 + seed / 100, "twin": 0.82}
        outcomes.append(outcome(run_of(tmp_path / str(seed), one, scores, 2, parameters=1497)))
    row = json.loads(json.dumps(qfed_study.measured("qfed-scale", changes, outcomes[::-1])))
    assert (row["weights"], row["parameters"], row["work"]) == ([6690], 1497, [5, 2, 2])
    assert len(row["by_round"]) == 2
    text = TABLES["qfed-scale"]({"rows": [row]})
    assert "| qfed-scale clients=5 rounds=2 | 80.5% | 82.0% | −1.5 |" in text
    assert "| 1,497 | 6,690 | 5,988 | 5 × 2 × 2 | 2 |" in text
    assert "![accuracy by round](results/qfed-scale.png)" in text
    qfed_study.draw([row], tmp_path / "a" / "scale.png")
    assert (tmp_path / "a" / "scale.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_figure_s_curves_are_told_apart_by_whole_numbers_and_a_colour_each():
    rows = [{"recipe": "qfed-noniid", "changes": ['aggregate.mean="line"', f"data.alpha={a}"]} for a in (0.1, 0.5)]
    assert qfed_study.labels(rows) == ['mean="line" alpha=0.1', 'mean="line" alpha=0.5']
    assert qfed_study.labels([*rows, {"recipe": "qfed-central", "changes": []}])[1:] == [
        'qfed-noniid mean="line" alpha=0.5',
        "qfed-central",
    ]
    most = max(map(len, qfed_study.studies().values()))
    assert len(set(qfed_study.TELLING)) >= most


def hetero(tmp_path, run_of, name, pooled, of_the_small, seed=0):
    """A row of three clients of a cnn and two of another network, which may be worse."""
    changes = [f"student.generator.targets=[cnn, cnn, cnn, {name}, {name}]"]
    folder = run_of(
        tmp_path / f"{name}{seed}",
        load("qfed-hetero", [*changes, f"seed={seed}"]),
        {"student": pooled, "twin": pooled},
        parameters=1497,
    )
    ledger = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    score = next(line for line in ledger if line["kind"] == "score")
    score["clients"] = {
        str(client): {"examples": 100 * (client + 1), "accuracy": {"student": right, "twin": 0.8}}
        for client, right in enumerate([0.9, 0.9, 0.8, of_the_small, of_the_small - 0.1])
    }
    (folder / "rounds.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in ledger))
    return json.loads(json.dumps(qfed_study.measured("qfed-hetero", changes, [outcome(folder)])))


def test_a_small_network_that_breaks_is_seen_and_where_it_begins_is_said(tmp_path, run_of):
    alike = hetero(tmp_path, run_of, "cnn", 0.84, 0.8)
    slightly, broken = hetero(tmp_path, run_of, "cnn-7", 0.825, 0.8), hetero(tmp_path, run_of, "cnn-4", 0.81, 0.2)
    assert broken["networks"]["student"]["cnn"] == pytest.approx([(90 + 180 + 240) / 600])
    assert broken["networks"]["student"]["cnn-4"] == pytest.approx([(80 + 50) / 900])
    text = TABLES["qfed-hetero"]({"rows": [alike, slightly, broken]})
    assert "| cnn 78.7% · 80.0% |" in text
    assert "| cnn 85.0% · 80.0%, cnn-4 14.4% · 80.0% |" in text
    said = "Points lost beside one network for all: other channels cnn-7 1.5, cnn-4 3.0, first over 2: cnn-4."
    assert said in text
    assert "cnn-7 1.5, first over 2: none." in TABLES["qfed-hetero"]({"rows": [alike, slightly]})


def test_make_qfed_runs_what_the_recipes_promise():
    rows = [(recipe, *changes) for study in qfed_study.studies().values() for recipe, changes, _ in study]
    assert ("qfed-fashion", "student.generator.by=full") in rows  # QFed's about 86%
    assert ("qfed-digits",) in rows
    assert ("qfed-noniid", "data.partition=shards") in rows
    assert ("qfed-noniid", "distil.proximal=0.01") in rows
    assert {recipe for recipe, *_ in rows} >= {"qfed-central", "qfed-resnet", "qfed-hetero", "qfed-mapping"}


def test_every_row_of_the_qfed_studies_is_a_recipe_whose_circuit_has_its_twin_beside_it():
    for name, rows in qfed_study.studies().items():
        for recipe, changes, seeds in rows:
            found = load(recipe, changes)
            assert seeds >= 1
            assert found.student.twin or name == "qfed-controls" or recipe == "qfed-fashion"


def test_a_study_that_is_given_again_runs_only_what_its_results_file_lacks(monkeypatch, tmp_path):
    ran = []

    def measured(recipe, changes, outcomes):
        ran.append(changes)
        digest = replace(load(recipe, changes), seed=0).digest()
        return {"recipe_digest": digest, "seeds": [0], "changes": changes, "accuracy": len(ran)}

    monkeypatch.setattr(qfed_study, "measured", measured)
    monkeypatch.setattr(qfed_study, "finish", lambda *_: [])
    monkeypatch.setattr(qfed_study, "draw", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["x", "--only", "qfed-digits", "--results", str(tmp_path)])

    def again(*settings):
        rows = [("qfed-digits", changes, 1) for changes in settings]
        monkeypatch.setattr(qfed_study, "studies", lambda: {"qfed-digits": rows})
        qfed_study.main()
        return json.loads((tmp_path / "qfed-digits.json").read_text())["rows"]

    again([], ["rounds=3"])
    assert ran == [[], ["rounds=3"]]
    rows = again(["select.candidates=100"], ["rounds=3"], ["rounds=4"])  # the first is the same recipe in other words
    assert ran[2:] == [["rounds=4"]]
    assert [(row["changes"], row["accuracy"]) for row in rows] == [
        (["select.candidates=100"], 1),
        (["rounds=3"], 2),
        (["rounds=4"], 3),
    ]


@pytest.mark.parametrize(("by", "said"), [("circuit", "4,550 to 6,690"), ("small", ""), ("full", "")])
def test_a_network_that_is_trained_itself_is_written_by_nobody(by, said):
    assert qfed_study.written({"by": by, "weights": [4550, 5386, 6690]}) == said
