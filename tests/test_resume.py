"""Whether a run can go on: whatever is wrong with its folder is one line that says what to do."""

import json

import numpy as np
import pytest

from recipes.load import load
from recipes.section import InputError
from server import checkpoint
from server.folder import new_folder, run_name
from server.ledger import SCHEMA, Ledger, lines
from server.resume import unfinished
from strategies.state import ArmState, State

RECIPE = load("smoke")


@pytest.fixture
def run(tmp_path):
    """The folder of a run that was killed in round 3: two rounds in its ledger, and their checkpoints."""
    folder = new_folder(RECIPE, tmp_path / "runs")
    ledger = Ledger(folder)
    ledger.append({"kind": "prepare", "stage": "", "clients": [0, 1], "failed": {}, "seconds": {}})
    for number in (1, 2):
        ledger.append({"kind": "round", "round": number, "arms": {}, "failed": {}, "seconds": {}})
        arms = {"student": ArmState(arrays={"theta": np.full(3, number, np.float32)})}
        checkpoint.save(folder, State(round=number, arms=arms), RECIPE.digest())
    return folder


@pytest.fixture
def refused():
    """The one line that a folder is refused with."""

    def said(folder):
        with pytest.raises(InputError) as refusal:
            unfinished(folder)
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    return said


def again(run):
    return f"qflock run {run / 'recipe.yaml'}"


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_killed_run_goes_on_with_its_own_recipe(run):
    assert unfinished(run) == RECIPE


def test_a_torn_last_line_is_dropped_since_its_round_is_repeated(run):
    with (run / "rounds.jsonl").open("a") as file:
        file.write('{"schema": 1, "kind": "round", "round": 3, "arms": {"stud')
    assert unfinished(run) == RECIPE
    Ledger(run).rewind(2)
    assert (run / "rounds.jsonl").read_text().endswith("}\n")
    assert [line["kind"] for line in lines(run)] == ["prepare", "round", "round"]


def test_a_run_that_was_killed_before_its_first_line_begins_anew(tmp_path):
    folder = new_folder(RECIPE, tmp_path)
    assert unfinished(folder) == RECIPE
    assert checkpoint.newest(folder, RECIPE.digest()) is None


def test_a_failed_run_goes_on(run):
    Ledger(run).append({"kind": "end", "state": "failed", "reason": "no more clients", "seconds": {}})
    assert unfinished(run) == RECIPE


def test_a_finished_run_does_not_go_on(run, refused):
    Ledger(run).append({"kind": "end", "state": "completed", "reason": "rounds", "seconds": {}})
    assert refused(run) == f"{run} is complete; run its recipe again with: {again(run)}"


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_an_empty_folder_and_none_at_all_are_no_run(name, tmp_path, refused):
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / name) == f"{tmp_path / name} is not a run folder: it has no recipe.yaml"


def test_an_edited_recipe_is_refused_also_before_the_first_checkpoint(run, tmp_path, refused):
    for folder in (run, new_folder(RECIPE, tmp_path)):
        edit(folder / "recipe.yaml", "rounds: 3", "rounds: 5")
        line = refused(folder)
        assert line.startswith(f"{folder / 'recipe.yaml'} is not as the run began: its digest is ")
        assert f"it was {RECIPE.digest()}. Undo what was edited" in line
        assert line.endswith(again(folder))


def test_a_half_written_recipe_is_refused(run, refused):
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text[: text.index("rounds:")])
    assert "is not as the run began" in refused(run)
    (run / "recipe.yaml").write_text("rounds: [3")
    assert refused(run).startswith("recipe.yaml line 1: not valid YAML")


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_a_ledger_of_another_schema_is_refused(schema, run, refused):
    edit(run / "rounds.jsonl", f'"schema": {SCHEMA}', f'"schema": {schema}')
    line = f"{run / 'rounds.jsonl'} has schema {schema}, this qflock reads {SCHEMA}: run again with: {again(run)}"
    assert refused(run) == line


@pytest.mark.parametrize("text", ["{\n", "\x00\x00\n", "not a ledger\n", "\xff\n"])
def test_a_ledger_with_a_damaged_line_in_its_middle_is_refused(text, run, refused):
    path = run / "rounds.jsonl"
    path.write_bytes(text.encode("latin-1") + path.read_bytes())
    line = refused(run)
    assert line.startswith(f"{path} is damaged (")
    assert line.endswith(f"run again with: {again(run)}")


def test_a_ledger_that_lacks_what_its_checkpoint_has_seen_is_refused(run, refused):
    kept = (run / "rounds.jsonl").read_text().splitlines(keepends=True)
    for lost in (kept[:2], [kept[0], kept[2]], []):
        (run / "rounds.jsonl").write_text("".join(lost))
        line = f"{run} has a checkpoint of round 2, and its ledger lacks rounds before that: put rounds.jsonl back, "
        assert refused(run) == f"{line}or start a new run with: {again(run)}"
    (run / "rounds.jsonl").unlink()
    assert "its ledger lacks rounds" in refused(run)


@pytest.mark.parametrize("changes", [{"schema": checkpoint.SCHEMA + 1}, {"recipe_digest": "0123456789ab"}])
def test_a_checkpoint_of_another_schema_or_recipe_is_refused(changes, run, refused):
    file = run / "checkpoints" / "round-0002" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert refused(run).startswith(f"{file.parent} ")
    assert refused(run).endswith(f": run again with: {again(run)}")


def test_a_renamed_run_is_still_the_run_that_its_clients_remember(run):
    name = run.name
    moved = run.rename(run.with_name("the-good-one"))
    assert unfinished(moved) == RECIPE
    assert run_name(moved) == name
    (moved / "environment.json").unlink()
    assert run_name(moved) == "the-good-one"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_environment_is_one_line(text, run, refused):
    (run / "environment.json").write_text(text)
    line = refused(run)
    assert line.startswith(f"{run / 'environment.json'} is damaged (")
    assert line.endswith(f": put it back, or start a new run with: {again(run)}")
