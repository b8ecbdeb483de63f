"""Which arms a recipe has, what they came to, and what may be said of it, with run folders that no Flower made."""

import csv
import io
import json
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from recipes.load import load
from recipes.section import InputError
from server.ablation import FULL, PLAIN, WITHOUT, ablation, arms
from server.effects import CLAIM, MEASURES, WORK, as_csv, as_markdown, claim, effects, fewer, sentences, show, table
from server.outcome import outcome
from server.tables import markdown

PARTS = {
    "regulation": ["regulate.law=adaptive"],
    "selection": ["select.by=power-of-choice", "select.candidates=40"],
    "distillation": ["distil.weight=0.5", "distil.proximal=0.01", "aggregate.tau=1"],
}
BARE = ["regulate.law=none", "select.by=everyone", "select.percent=10"]  # smoke without any part
ALL = [*BARE, *(change for part in PARTS.values() for change in part)]
FEDERATED = [*ALL, "teacher.federate=exact", "teacher.rounds=2", "teacher.merged_rank=4"]


def recipes(overrides):
    return {name: load("smoke", changes) for name, changes in arms("smoke", overrides).items()}


@pytest.mark.parametrize("kept", [some for size in (1, 2, 3) for some in combinations(PARTS, size)], ids=" ".join)
def test_every_arm_has_the_parts_that_its_name_says_and_full_is_the_recipe(kept):
    overrides = [*BARE, *(change for part in kept for change in PARTS[part])]
    found = recipes(overrides)
    assert found[FULL] == load("smoke", overrides)
    assert found[PLAIN] == load("smoke", BARE)
    assert list(found)[0 :: max(1, len(found) - 1)] == [PLAIN, FULL]
    for name, recipe in found.items():
        parts = kept if name == FULL else {part for part in PARTS if part in name}
        assert recipe == load("smoke", [*BARE, *(change for part in parts for change in PARTS[part])])


@pytest.mark.parametrize("changes", [[], ["distil.weight=0"], ["distil.labels=0"], ["aggregate.tau=1"]], ids=str)
def test_nothing_teaches_in_arms_without_distillation_also_not_by_js(changes):
    for name, overrides in arms("qd-llm-topic", changes).items():
        distil = load("qd-llm-topic", overrides).distil
        assert distil.teaches == (name == FULL)
        assert name == FULL or distil.labels == 1


@pytest.mark.parametrize("recipe", ["llm-qfl-reviews", "llm-qfl-genomic"])
def test_the_committed_ablations_have_the_arms_that_they_had(recipe):
    """When distillation was taken out by these three alone."""
    before = ["distil.weight=0", "distil.proximal=0", "aggregate.tau=0"]
    for name, overrides in arms(recipe, []).items():
        if name not in (FULL, "distillation only"):
            kept = [change for change in overrides if change not in WITHOUT["distillation"]]
            assert load(recipe, [*kept, *before]).digest() == load(recipe, overrides).digest()


def test_the_papers_recipe_has_six_arms():
    assert list(recipes(ALL)) == [
        "plain",
        "regulation only",
        "selection only",
        "regulation + selection (10%)",
        "distillation only",
        "full",
    ]


def test_arms_that_do_not_ask_a_teacher_do_not_federate_one():
    federated = {name: recipe.teacher.federate for name, recipe in recipes(FEDERATED).items()}
    assert [name for name, word in federated.items() if word == "none"] == ["plain", "selection only"]


def test_no_arm_stops_early_unless_it_is_asked_to():
    assert load("llm-qfl-reviews", []).stop.epsilon > 0
    assert {load("llm-qfl-reviews", changes).stop.epsilon for changes in arms("llm-qfl-reviews", []).values()} == {0}
    asked = arms("llm-qfl-reviews", ["stop.epsilon=0.1"]).values()
    assert {load("llm-qfl-reviews", changes).stop.epsilon for changes in asked} == {0.1}


def test_a_recipe_with_nothing_to_take_out_is_one_line():
    with pytest.raises(
        InputError, match=r"^smoke has nothing to take out: it has no regulation, no sel.*distillation$"
    ):
        arms("smoke", BARE)


def test_an_ablation_is_a_sweep_whose_runs_are_named_after_their_arms(tmp_path):
    sweep = ablation("smoke", ALL, range(3, 5), tmp_path)
    assert [run.label for run in sweep.runs] == [
        f"{name} seed={seed}" for seed, name in product((3, 4), arms("smoke", ALL))
    ]
    assert [run.recipe.seed for run in sweep.runs] == [3] * 6 + [4] * 6
    assert sweep.folder.name.startswith("smoke-ablation-")
    assert sweep.folder == ablation("smoke", ALL, range(9), tmp_path).folder


# Three rounds with reference losses 1, 1/2, 1/3, so plain ends at 1/3: an arm of two rounds never gets there.
SPENT = {PLAIN: 10, FULL: 6}


@pytest.fixture
def ablated(tmp_path, run_of):
    """An ablation over three seeds; `rounds` and `rho` of the full arm may differ."""

    def run(full_rounds=(3, 3, 3), rho=1.2, overrides=ALL, missing=()):
        sweep = ablation("smoke", overrides, range(len(full_rounds)), tmp_path / "runs")
        outcomes = []
        for run in sweep.runs:
            name, _, seed = run.label.rpartition(" seed=")
            if (name, int(seed)) in missing:
                continue
            folder = run_of(
                *(sweep.folder / run.label, run.recipe, {"student": 0.8 + int(seed) / 100, "twin": 0.7}),
                rounds=full_rounds[int(seed)] if name == FULL else 3,
                evaluations=lambda number, name=name, seed=seed: SPENT.get(name, 8) + int(seed),
                rho=lambda number, name=name: rho * (number > 1) if name == FULL else 0.9,
            )
            outcomes.append(outcome(folder))
        return effects(sweep, outcomes)

    return run


def lines(results):
    return {(line["arm"], line["model"]): line for line in results["arms"]}


def test_the_work_to_plains_loss_is_counted_to_the_first_round_that_is_as_good_as_plain_was_at_the_end(ablated):
    found = lines(ablated())
    assert found[PLAIN, "student"][WORK] == [30, 33, 36]
    assert found[FULL, "student"][WORK] == [18, 21, 24]
    assert found[FULL, "student"]["rounds"] == [3, 3, 3]


def test_a_run_that_was_there_early_is_counted_to_there(tmp_path, run_of):
    run = outcome(run_of(tmp_path / "run", load("smoke"), evaluations=lambda number: number * 10))
    assert [run.reaches("student", loss) for loss in (2, 1, 0.6, 0.5, 1 / 3, 0.3)] == [10, 10, 30, 30, 60, None]


def test_a_seed_that_never_reaches_plains_loss_is_said_and_no_mean_hides_it(ablated):
    results = ablated(full_rounds=(3, 2, 3))
    assert lines(results)[FULL, "student"][WORK] == [18, None, 24]
    assert "| reached in 2 of 3 after 18 and 24 |" in markdown(table(results))
    (said, *_) = sentences(results)
    assert said == (
        "Work: full student reaches the loss at which plain student ends in 2 of 3 seeds; where it does, it takes "
        "40% fewer and 33% fewer evaluations: the paper's 30% less work is not shown."
    )
    never = ablated_line([None] * 3)
    assert claim(never, ablated_line([10] * 3)).endswith("in 0 of 3 seeds: the paper's 30% less work is not shown.")


def test_a_loss_that_is_shown_to_be_above_plains_is_said(ablated):
    results = ablated()
    assert not any(sentence.startswith("Loss: ") for sentence in sentences(results))
    found = lines(results)
    full, plain = found[FULL, "student"], found[PLAIN, "student"]
    plain["loss"], full["loss"] = [0.2, 0.3, 0.2], [0.31, 0.4, 0.29]
    (said,) = [sentence for sentence in sentences(results) if sentence.startswith("Loss: ")]
    assert said == "Loss: full student ends 0.100 nats above plain student (95% interval 0.075 to 0.125)."


def ablated_line(work):
    return {"model": "student", WORK: work}


@given(work=st.lists(st.tuples(st.integers(1, 100), st.integers(1, 100)), min_size=1, max_size=6))
def test_a_claim_says_no_more_than_the_interval_of_the_savings(work):
    ours, plain = zip(*work, strict=True)
    said = claim(ablated_line(ours), ablated_line(plain))
    saved = [1 - own / base for own, base in work]
    mean = sum(saved) / len(saved)
    assert said.count("Work: ") == 1
    assert fewer(mean) in said
    assert ("fewer evaluations" in said, "more evaluations" in said) == (mean >= 0.005, mean <= -0.005)
    if len(work) < 3:
        assert "say nothing of the paper's 30% less." in said
        return
    spread = (sum((one - mean) ** 2 for one in saved) / (len(saved) - 1)) ** 0.5
    if spread < 1e-12:
        assert said.endswith("without a spread between them nothing more can be said.")
        return
    half = t.ppf(0.975, len(saved) - 1) * spread / len(saved) ** 0.5
    low, high = mean - half, mean + half
    if min(abs(low), abs(high), abs(low - CLAIM), abs(high - CLAIM)) < 1e-9:
        return  # which side of a bound it is on is a matter of rounding
    assert ("is reached" in said) == (low > CLAIM)
    assert ("more work is shown" in said) == (high < 0)
    assert (": a saving is shown" in said) == (0 < low < CLAIM)
    assert ("is excluded" in said) == (low < CLAIM and 0 < high < CLAIM)


def test_regulation_that_never_acts_is_called_inert_and_only_in_the_arms_that_have_it(ablated):
    inert, acts = ablated(rho=0.8), sentences(ablated(overrides=[*ALL, "name=other"]))
    assert sum(sentence.startswith("Regulation inert: ") for sentence in sentences(inert)) == 1
    cells = {line["arm"]: line for line in inert["arms"] if line["model"] == "student"}
    assert (cells[FULL]["behind"], cells[FULL]["compared"]) == ([0, 0, 0], [2, 2, 2])
    text = markdown(table(inert))
    assert "inert: 0 of 6" in text
    assert "inert" not in text.split("| regulation only |")[0]
    assert not any("inert" in sentence for sentence in acts)


def test_differences_are_paired_with_plain_by_seed(ablated):
    results = ablated()
    rows = list(csv.DictReader(io.StringIO(as_csv(results))))
    assert len(rows) == 6 * 2 * (len(MEASURES) + 2)
    row = next(row for row in rows if (row["arm"], row["model"], row["measure"]) == (FULL, "student", "evaluations"))
    assert {key: float(row[key]) for key in ("mean", "less_plain", "less_low", "less_high", "seed_2")} == {
        "mean": 21,
        "less_plain": -12,
        "less_low": -12,
        "less_high": -12,
        "seed_2": 24,
    }
    assert "| − plain | student | 0.0% | 0.000 | −12 | −12 |" in as_markdown(results)


def test_only_seeds_that_every_arm_has_finished_are_shown(ablated):
    assert ablated(missing={("selection only", 1)})["seeds"] == [0, 2]
    nothing = ablated(overrides=[*ALL, "name=none"], missing={(PLAIN, seed) for seed in range(3)})
    assert nothing == {"seeds": [], "arms": []}


def test_an_ablation_refuses_a_run_that_was_to_have_teachers_and_had_none(tmp_path, run_of):
    sweep = ablation("smoke", ALL, range(1), tmp_path / "runs")
    lacks = {"teacher_loss": lambda _: None, "note": lambda _: "disk full"}
    outcomes = [outcome(run_of(sweep.folder / run.label, run.recipe, **lacks)) for run in sweep.runs]
    with pytest.raises(InputError, match=r"plain seed=0: no client had a teacher \(disk full\); mend that, delete"):
        effects(sweep, outcomes)


def test_what_was_found_is_printed_and_written_beside_the_runs(tmp_path, run_of, capsys):
    sweep = ablation("smoke", ALL, range(3), tmp_path / "runs")
    outcomes = [outcome(run_of(sweep.folder / run.label, run.recipe)) for run in sweep.runs]
    show(sweep, outcomes)
    printed = capsys.readouterr().out
    results = effects(sweep, outcomes)
    assert (sweep.folder / "ablation.md").read_text() == as_markdown(results)
    assert (sweep.folder / "ablation.csv").read_text() == as_csv(results)
    assert all(sentence in " ".join(printed.split()) for sentence in sentences(results))
    assert all(column in printed for column in ("accuracy", "shots", "bytes", "rounds", "ρ > 1"))
    page = (sweep.folder / "ablation.html").read_text()
    assert all(f">{name}: student − plain</th>" in page or name == PLAIN for name in arms("smoke", ALL))
    assert (sweep.folder / "ablation.png").read_bytes().startswith(b"\x89PNG")
    show(sweep, outcomes[:1])
    assert capsys.readouterr().out == ""


def test_the_command_skips_what_is_done_and_shows_the_table(tmp_path, run_of, capsys, monkeypatch):
    from server.cli import command

    sweep = ablation("smoke", ALL, range(3), tmp_path)
    for run in sweep.runs:
        run_of(sweep.folder / run.label, run.recipe)
    monkeypatch.setattr("server.jobs.started", lambda *what: pytest.fail("a finished run was started"))
    sets = [word for change in ALL for word in ("--set", change)]
    command(["ablate", "smoke", *sets, "--seeds", "3", "--runs-dir", str(tmp_path)], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "18 of 18 runs done" in printed
    assert "what each part does, seeds 0, 1, 2" in printed
    assert not (sweep.folder / "compare.csv").exists()


def test_the_results_survive_a_file(ablated):
    results = ablated()
    assert as_markdown(json.loads(json.dumps(results))) == as_markdown(results)


def test_every_part_is_taken_out_by_changes_that_the_schema_knows():
    for changes in WITHOUT.values():
        assert load("smoke", list(changes))
