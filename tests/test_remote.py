"""Where a run's ledger goes on a SuperLink of others, and what is shown when that is another machine."""

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from recipes.load import load
from recipes.section import InputError
from server import remote
from server.flower import Link
from server.folder import current_folder, new_folder
from server.ledger import lines
from server.remote import Elsewhere, followed, going_on, told_to
from strategies.failure import RunFailedError
from strategies.messages import FLOWER
from strategies.wire import check_flower

LINK = Link("lab", {})
STARTED = "\x1b[92mINFO \x1b[0m:      run folder /srv/runs/one on far\n"


@pytest.fixture
def recipe():
    return load("noop")


@pytest.fixture
def _unlaunched(monkeypatch, tmp_path):
    monkeypatch.delenv("QFLOCK_RUN", raising=False)
    monkeypatch.setenv("QFLOCK_RUNS", str(tmp_path / "there"))


@pytest.mark.usefixtures("_unlaunched")
def test_a_folder_that_the_superlinks_machine_has_is_the_runs_own(recipe, tmp_path):
    folder = new_folder(recipe, tmp_path / "here")
    assert current_folder(recipe, str(folder)) == folder
    assert not (tmp_path / "there").exists()


@pytest.mark.usefixtures("_unlaunched")
def test_a_folder_of_another_machine_becomes_one_of_that_name_and_stays_it(recipe, tmp_path):
    first = current_folder(recipe, "/on/my/desk/one")
    assert first == tmp_path / "there" / "one"
    assert current_folder(recipe, "/on/my/desk/one") == first
    assert current_folder(recipe, "one") == first


@pytest.mark.usefixtures("_unlaunched")
def test_without_a_folder_every_run_has_a_new_one(recipe, tmp_path):
    assert len({current_folder(recipe, "") for _ in range(3)}) == 3


def test_what_a_launcher_says_counts_most(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_RUN", str(tmp_path))
    assert current_folder(recipe, "/on/my/desk/one") == tmp_path


def test_a_run_that_is_named_goes_on_only_with_its_own_recipe_and_only_until_it_is_complete(tmp_path, run_here):
    small = "clients=2 rounds=1"
    new_folder(load("noop", small.split()), tmp_path, "one")
    with pytest.raises(InputError, match=r"one is a run of recipe \w+, not of \w+: go on with its own recipe$"):
        run_here("one", {"recipe": "noop", "override": f"{small} seed=1", "run": "one"}, 2)
    folder = run_here("one", {"recipe": "noop", "override": small, "run": "one"}, 2)
    with pytest.raises(InputError, match="is complete"):
        run_here("one", {"recipe": "noop", "override": small, "run": "one"}, 2)
    assert [line["kind"] for line in lines(folder)] == ["prepare", "round", "score", "end"]


@pytest.fixture
def far(tmp_path, monkeypatch, recipe):
    """`far(*answers)`: what following a run on another machine returns and shows; Flower answers in turn."""
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(remote, "ASK_SECONDS", -1.0)

    def follow(*answers, log, late=""):
        (tmp_path / "app.log").write_text(log)
        said = f"sleep 1; printf '{late}' >> '{tmp_path / 'app.log'}'" if late else "true"
        stream = subprocess.Popen(["sh", "-c", said])
        turns = iter(answers)
        monkeypatch.setattr(remote, "status", lambda link, run_id: next(turns))
        console = Console(record=True, width=200)
        here = followed(recipe, tmp_path, Elsewhere(LINK, "7", tmp_path / "app.log", stream), console)
        assert not here
        return console.export_text()

    return follow


def test_of_a_run_on_another_machine_its_log_is_shown_once_and_where_its_ledger_is(far):
    answers = [("running", ""), ("running", ""), ("finished:completed", "")]
    shown = far(*answers, log=f"one\n{STARTED}two\n")
    assert [line.strip() for line in shown.splitlines()] == [
        "one",
        "INFO :      run folder /srv/runs/one on far",
        "two",
        "completed; its ledger is on far, in /srv/runs/one",
    ]


def test_what_is_said_last_is_waited_for_after_flower_calls_the_run_finished(far):
    shown = far(("finished:completed", ""), log="one\n", late=STARTED)
    assert shown.strip().endswith("completed; its ledger is on far, in /srv/runs/one")


def test_the_log_of_a_run_flows_into_its_file_while_it_goes_on(tmp_path, monkeypatch):
    flwr = tmp_path / "flwr"
    flwr.write_text(f"#!{sys.executable}\nimport sys, time\nprint('said', *sys.argv[1:])\ntime.sleep(60)\n")
    flwr.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    log = tmp_path / "app.log"
    with told_to(log, Link("lab", dict(os.environ)), "7") as stream:
        for _ in range(300):
            if log.read_text().endswith("\n"):
                break
            time.sleep(0.1)
        assert stream.poll() is None
        assert log.read_text() == "said log 7 lab --stream\n"


def test_a_run_that_fails_there_says_why_and_where_its_ledger_is(far):
    why = re.escape("Flower says finished:failed: boom; its ledger is on far, in /srv/runs/one")
    with pytest.raises(RunFailedError, match=f"^{why}$"):
        far(("finished:failed", "boom"), log=STARTED)
    with pytest.raises(RunFailedError, match=r"boom; it wrote no ledger$"):
        far(("finished:failed", "boom"), log="")


@pytest.mark.parametrize("said", ["", '{"link": "lab"', '["lab"]', '{"link": "lab"}'])
def test_a_damaged_note_of_the_flower_run_is_one_line_that_says_what_it_was(tmp_path, said):
    (tmp_path / "flower.json").write_text(said)
    with pytest.raises(InputError, match=r"^\S+flower.json is damaged. .* `flwr list lab` .* delete the file"):
        going_on(tmp_path, LINK)


def test_a_superlink_that_falls_silent_is_not_followed_for_ever(far, monkeypatch):
    monkeypatch.setattr(remote, "LOST_SECONDS", -1.0)
    with pytest.raises(RunFailedError, match=r"^lab has not answered for -1 s; "):
        far(("running", ""), ("unknown", "unavailable"), log=STARTED)


def test_another_flower_is_named_with_its_version_and_ours_with_the_series_of_the_packaging(monkeypatch):
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["tool"]["flwr"]["app"]["flwr-version-target"].rpartition(".")[0] == FLOWER
    check_flower("this node")
    for version in ("1.4.1", "1.410.0", "2.41.0"):
        monkeypatch.setattr("strategies.wire.__version__", version)
        with pytest.raises(
            RunFailedError, match=rf"^this node runs Flower {re.escape(version)}, all others {FLOWER}: "
        ):
            check_flower("this node")
