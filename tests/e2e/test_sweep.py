"""A sweep as a user gives it: interrupted twice, given again, finished, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from recipes.load import load
from server.ledger import lines, untimed
from server.outcome import outcome
from server.sweep import runs_in

pytestmark = pytest.mark.processes

APP = Path(__file__).parents[2]
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
WORDS = ["sweep", "smoke", "--set", "rounds=10", "--seeds", "2", "--jobs", "2"]


def qflock(*words, cwd):
    env = os.environ | {"PYTHONPATH": str(APP)}
    return subprocess.Popen(
        [*QFLOCK, *words], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def mine(folder):
    """Processes that a sweep in this folder started, whoever is their parent now."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.environ().values(), *process.cmdline(), process.cwd()]
            if process.pid != os.getpid() and any(str(folder) in word for word in words):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def until(claim, seconds=120):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def trained(home):
    return sum(line["kind"] == "round" for path in home.glob("runs/*/*/rounds.jsonl") for line in lines(path.parent))


def test_a_sweep_that_is_interrupted_twice_is_finished_by_the_same_command(tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        before = trained(tmp_path)
        process = qflock(*WORDS, cwd=tmp_path)
        try:
            until(lambda before=before: trained(tmp_path) > before)
            process.send_signal(number)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode in (130, 143)
        assert "Traceback" not in err
        until(lambda: not mine(tmp_path), seconds=10)

    process = qflock(*WORDS, cwd=tmp_path)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    assert "goes on: rounds=10 seed=" in out
    assert "student − twin" in out
    (sweep,) = (tmp_path / "runs").iterdir()
    runs = runs_in([sweep])
    assert [outcome(run).recipe for run in runs] == [load("smoke", ["rounds=10", f"seed={seed}"]) for seed in (0, 1)]
    assert len(list(sweep.glob("*/recipe.yaml"))) == 2
    assert (sweep / "compare.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    before = {run: [untimed(line) for line in lines(run)] for run in runs}

    process = qflock(*WORDS, cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "2 of 2 runs done" in out, "starts" in out) == (0, True, False)
    assert {run: [untimed(line) for line in lines(run)] for run in runs} == before
    until(lambda: not mine(tmp_path), seconds=10)
