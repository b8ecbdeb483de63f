"""Whole runs as a user starts them: the command, Flower's SuperLink, Ray, and nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from recipes.load import load
from server.checkpoint import newest
from server.flower import LINK, Link, status, submit, superlink
from server.flower import environment as flower_environment
from server.ledger import lines, untimed

pytestmark = pytest.mark.slow

APP = Path(__file__).parents[2]
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
COPIED = ("server", "client", "strategies", "quantum", "teacher", "data", "recipes", "pyproject.toml", "LICENSE")
BREAKS = """

def train(who: Participant, assignment: Assignment) -> list[Report]:
    import os

    if (who.number, assignment.round) == (1, 2):
        raise RuntimeError("client 1 breaks in round 2")
    if (who.number, assignment.round) == (0, 3):
        os._exit(1)
    return unbroken(who, assignment)
"""


def qflock(*words, app=APP, cwd, **keys):
    """The command line of an app tree, started in another folder."""
    env = os.environ | {"PYTHONPATH": str(app), "COLUMNS": "200"}
    return subprocess.Popen(
        [*QFLOCK, *words], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keys
    )


def finished(process):
    """(exit code, stdout, stderr) of a command that ends by itself."""
    try:
        out, err = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise
    return process.returncode, out, err


def started_for(folder):
    """Processes whose environment names a folder: all that a run in it started, whoever is their parent now."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        try:
            if process.pid != os.getpid() and any(str(folder) in value for value in process.environ().values()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def gone(folder):
    """None of them is left, or becomes so in a moment (Ray's helpers notice by themselves that its head is gone)."""
    for _ in range(50):
        left = [process for process in started_for(folder) if process.is_running()]
        if not left:
            return []
        time.sleep(0.1)
    return [process.info["cmdline"][:3] for process in left]


def only_run(runs):
    (folder,) = runs.iterdir()
    return folder


def unhurried(folder, kinds=("prepare", "round", "score", "end")):
    return [untimed(line) for line in lines(folder) if line["kind"] in kinds]


def until(claim, seconds=90):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    """One finished run of smoke, with what the command said."""
    home = tmp_path_factory.mktemp("first")
    said = finished(qflock("run", "smoke", "--runs-dir", str(home / "runs"), cwd=home))
    return only_run(home / "runs"), said


def test_a_run_ends_well_leaves_its_files_and_no_process(smoke_run):
    folder, (code, out, err) = smoke_run
    assert code == 0, err
    assert str(folder) in out
    assert "Traceback" not in out + err
    assert load(str(folder / "recipe.yaml")) == load("smoke")
    assert json.loads((folder / "environment.json").read_text())["recipe_digest"] == load("smoke").digest()
    assert "completed" in (folder / "report.html").read_text()
    assert "run folder" in (folder / "logs" / "app.log").read_text()
    assert [line["kind"] for line in lines(folder)][-5:] == ["round", "round", "round", "score", "end"]
    assert newest(folder, load("smoke").digest()).round == 3
    assert gone(folder) == []


def test_the_same_recipe_writes_the_same_ledger_on_ray_and_in_one_process(smoke_run, tmp_path, run_here):
    code, _, err = finished(qflock("run", "smoke", cwd=tmp_path))
    assert code == 0, err
    again = only_run(tmp_path / "runs")
    assert unhurried(again) == unhurried(smoke_run[0])
    assert unhurried(run_here("here", {"recipe": "smoke"}, 2)) == unhurried(again)
    assert gone(again) == []


def test_flwr_run_by_hand_writes_that_ledger_too(smoke_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scratch = tmp_path / "by-hand"
    (scratch / "logs").mkdir(parents=True)
    env = flower_environment(scratch, load("smoke"))
    for name in ("QFLOCK_RUN", "QFLOCK_MEMORY"):
        env.pop(name)
    env |= {"QFLOCK_CACHE": str(tmp_path / "cache")}
    with superlink(scratch, env, simulated=True) as link:
        words = ["flwr", "run", str(APP), LINK, "--run-config", 'recipe="smoke"', "--format", "json"]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        run_id = str(json.loads(done.stdout[done.stdout.find("{") :])["run-id"])
        until(lambda: status(link, run_id)[0].startswith("finished"))
        assert status(link, run_id)[0] == "finished:completed"
    assert unhurried(only_run(tmp_path / "runs")) == unhurried(smoke_run[0])
    assert gone(tmp_path) == []


def test_a_failing_client_is_a_line_a_dead_process_ends_the_run_and_resume_finishes_it(tmp_path, run_here):
    app = tmp_path / "app"
    for name in COPIED:
        copy = shutil.copytree if (APP / name).is_dir() else shutil.copy
        copy(APP / name, app / name if (APP / name).is_dir() else app)
    visits = app / "client" / "round.py"
    sound = visits.read_text()
    assert "\ndef train(" in sound
    visits.write_text(sound.replace("\ndef train(", "\ndef unbroken(") + BREAKS)

    words = ["run", "smoke", "--clients", "5", "--set", "rounds=4"]
    code, _, err = finished(qflock(*words, app=app, cwd=tmp_path))
    folder = only_run(tmp_path / "runs")
    assert code == 1, err
    assert "process died" in err
    resume = re.search(r"qflock (resume) (\S+)\s*$", err)
    assert resume, err
    rounds = [line for line in lines(folder) if line["kind"] == "round"]
    assert [line["failed"] for line in rounds] == [{}, {"1": "RuntimeError: client 1 breaks in round 2"}]
    assert sorted(rounds[1]["arms"]["student"]["clients"]) == ["0", "2", "3", "4"]
    assert lines(folder)[-1]["state"] == "failed"
    assert gone(folder) == []

    visits.write_text(sound)
    code, out, err = finished(qflock(*resume.groups(), app=app, cwd=tmp_path))
    assert code == 0, err + out
    assert "round 4/4" in out
    assert gone(folder) == []

    def act(client, message):
        from strategies.messages import Refusal
        from strategies.wire import assigned, reply

        if client == 1 and assigned(message).kind == "train" and assigned(message).round == 2:
            return reply(Refusal(client=1, reason="RuntimeError: client 1 breaks in round 2"), message, "")
        return None

    uninterrupted = run_here("here", {"recipe": "smoke", "rounds": 4, "override": "clients=5"}, 5, act=act)
    assert unhurried(folder, ("round", "score", "end")) == unhurried(uninterrupted, ("round", "score", "end"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_leaves_no_process(number, tmp_path):
    process = qflock("run", "smoke", "--set", "rounds=1000", cwd=tmp_path)
    runs = tmp_path / "runs"
    try:
        until(lambda: runs.exists() and any(line["kind"] == "prepare" for line in lines(only_run(runs))))
        assert len(started_for(only_run(runs))) > 3  # or this test would not see those that stay
        process.send_signal(number)
        code, _, err = finished(process)
    finally:
        process.kill()
    assert code in (130, 143)
    assert "Traceback" not in err
    assert gone(only_run(runs)) == []


def test_flower_refuses_a_broken_app_in_one_line(tmp_path):
    from strategies.failure import RunFailedError

    recipe, folder = load("smoke"), tmp_path / "run"
    (folder / "flower").mkdir(parents=True)
    env = flower_environment(folder, recipe)
    with pytest.raises(RunFailedError, match=r"^Flower refused the run: ") as refused:
        submit(Link(LINK, env), {"recipe": recipe.as_json()}, 2)  # no SuperLink of that name
    assert "\n" not in str(refused.value)
