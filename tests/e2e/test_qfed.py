"""QFed as a user runs it: one client or several on Ray, then the exported network and its noise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.ledger import lines

pytestmark = pytest.mark.slow

APP = Path(__file__).parents[2]
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
QUICK = ("rounds=2", "optimiser.epochs=2", "student.generator.blocks=2", "student.twin=false")


def qflock(*words, cwd):
    env = os.environ | {"PYTHONPATH": str(APP), "COLUMNS": "200"}
    done = subprocess.run([*QFLOCK, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("clients", [1, 3])
def test_the_digits_are_run_exported_and_put_under_noise(clients, tmp_path):
    sets = [word for one in (*QUICK, "min_reports=1") for word in ("--set", one)]
    said = qflock("run", "qfed-digits", "--clients", str(clients), *sets, cwd=tmp_path)
    assert "student" in said
    (folder,) = (tmp_path / "runs").iterdir()
    last = [line for line in lines(folder) if line["kind"] == "round"][-1]
    assert last["bytes_up"] == clients * 4 * last["arms"]["student"]["parameters"]
    assert "ran without anything quantum" in qflock("export", str(folder), cwd=tmp_path)
    exported = json.loads((folder / "export" / "export.json").read_text())["networks"][0]
    assert exported["accuracy"] == last["arms"]["student"]["reference_accuracy"]
    assert "lost" in qflock("noise", str(folder), "--level", "shots", "--steps", "1", cwd=tmp_path)
