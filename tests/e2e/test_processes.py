"""A run on real Flower processes: the same ledger as anywhere, also when a node is killed in the middle of a round.

Anywhere: the ledger is held against one made in this process, and so is that of a Ray simulation in test_simulation.py.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from server.ledger import lines, untimed

pytestmark = pytest.mark.processes

APP = Path(__file__).parents[2]
CHANGES = ("rounds=2", "on_loss=repeat")


def started_for(folder):
    """Processes of a run, by the folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("QFLOCK_RUN") == str(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def family_of_node(folder, client):
    """A SuperNode and all that it has started."""
    for process in started_for(folder):
        words = " ".join(process.cmdline())
        if "supernode.py" in words and f"partition-id={client} " in words:
            return [process, *process.children(recursive=True)]
    raise AssertionError(f"no node is client {client}")


def test_a_node_killed_in_a_round_changes_no_bit_of_the_ledger(tmp_path, run_here):
    sets = [word for change in CHANGES for word in ("--set", change)]
    words = [sys.executable, "-c", "from server.cli import main; main()", "run", "smoke", "--on", "processes"]
    run = subprocess.Popen(
        [*words, "--clients", "3", "--runs-dir", str(tmp_path / "runs"), *sets],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(APP)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until = time.monotonic() + 200
        while not (found := list((tmp_path / "runs").glob("*"))) or not any(
            line["kind"] == "round" for line in lines(found[0])
        ):
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.1)
        (folder,) = found  # round 2 is on its way
        for process in family_of_node(folder, 1):
            process.kill()
        said, _ = run.communicate(timeout=250)
    finally:
        run.terminate()
    assert run.returncode == 0, said
    assert "client 1: its node ended with code -9, started anew" in said
    assert started_for(folder) == []
    here = run_here("here", {"recipe": "smoke", "override": " ".join(("clients=3", *CHANGES))}, 3)
    assert [untimed(line) for line in lines(folder)] == [untimed(line) for line in lines(here)]
