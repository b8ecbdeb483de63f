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

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

APP = Path(__file__).parents[2]
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
ROUNDS = 60  # a run trains on until its end has been arranged: this many it cannot finish meanwhile, on any machine
WORDS = [
    "sweep",
    "smoke",
    "--set",
    f"rounds={ROUNDS}",
    "--set",
    "features.reduction=pca",
    "--seeds",
    "2",
    "--jobs",
    "2",
]


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


def until(claim, process=None):
    """Waits for it; a sweep that ends meanwhile says why (Ray gives up when it cannot start within 30 s)."""
    end = time.monotonic() + 200
    while not claim():
        assert process is None or process.poll() is None, "".join(process.communicate())
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def trained(home):
    return sum(line["kind"] == "round" for path in home.glob("runs/*/*/rounds.jsonl") for line in lines(path.parent))


def completed(home):
    ends = [lines(path.parent)[-1] for path in home.glob("runs/*/*/rounds.jsonl") if lines(path.parent)]
    return [line for line in ends if line.get("state") == "completed"]


def test_a_sweep_that_is_interrupted_twice_is_finished_by_the_same_command(tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        before = trained(tmp_path)
        process = qflock(*WORDS, cwd=tmp_path)
        try:
            until(lambda before=before: trained(tmp_path) > before, process)
            process.send_signal(number)
            _, err = process.communicate(timeout=200)
        finally:
            process.kill()
        assert process.returncode in (130, 143)
        assert "Traceback" not in err
        assert len(completed(tmp_path)) < 2
        until(lambda: not mine(tmp_path))

    process = qflock(*WORDS, cwd=tmp_path)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, out + err
    assert f"goes on: rounds={ROUNDS} features.reduction=pca seed=" in out
    assert "student − twin" in out
    (sweep,) = (tmp_path / "runs").iterdir()
    runs = runs_in([sweep])
    assert [outcome(run).recipe for run in runs] == [
        load("smoke", [f"rounds={ROUNDS}", "features.reduction=pca", f"seed={seed}"]) for seed in (0, 1)
    ]
    assert len(list(sweep.glob("*/recipe.yaml"))) == 2
    assert (sweep / "compare.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    before = {run: [untimed(line) for line in lines(run)] for run in runs}

    process = qflock(*WORDS, cwd=tmp_path)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, "2 of 2 runs done" in out, "starts" in out) == (0, True, False)
    assert {run: [untimed(line) for line in lines(run)] for run in runs} == before
    until(lambda: not mine(tmp_path))
