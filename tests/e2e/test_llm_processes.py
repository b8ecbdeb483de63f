"""An LLM recipe on real Flower processes: the ledger of a simulation, and an LLM that only round 1 needs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from server.ledger import lines, untimed

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

APP = Path(__file__).parents[2]


def started(home, recipe, *words):
    """`qflock run` in a folder, with a cache of its own, so that it tunes its own teachers."""
    home.mkdir()
    env = os.environ | {"PYTHONPATH": str(APP), "QFLOCK_CACHE": str(home / "cache")}
    command = [sys.executable, "-c", "from server.cli import main; main()", "run", str(recipe), *words]
    out = subprocess.STDOUT
    return subprocess.Popen(command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=out, text=True)


def ended(run, home):
    """The ledger of a run that ended well."""
    said, _ = run.communicate(timeout=250)
    assert run.returncode == 0, said
    (folder,) = (home / "runs").iterdir()
    return lines(folder)


def rounds(home):
    return [line for folder in (home / "runs").glob("*") for line in lines(folder) if line["kind"] == "round"]


def test_processes_write_the_ledger_of_a_simulation_and_need_the_llm_in_round_1_only(tiny_llm, tmp_path):
    model = tiny_llm("llama", 7)  # of this test alone, as it goes away
    teacher = {"kind": "lora", "model": str(model), "layers": 2, "epochs": 1, "max_tokens": 16, "dtype": "float32"}
    recipe = {"clients": 2, "rounds": 3, "teacher": teacher, "distil": {"weight": 1}, "regulate": {"law": "adaptive"}}
    recipe |= {"data": {"rows": 40, "reference_rows": 20}, "features": {"buckets": 64, "steps": 1}}
    (tmp_path / "llm.yaml").write_text(yaml.safe_dump(recipe | {"optimiser": {"maxiter": 18}}))
    simulated = ended(started(tmp_path / "sim", tmp_path / "llm.yaml"), tmp_path / "sim")
    home = tmp_path / "processes"
    run = started(home, tmp_path / "llm.yaml", "--on", "processes")
    try:
        until = time.monotonic() + 200
        while not rounds(home):
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
        model.rename(tmp_path / "away")  # round 2 may just have begun; round 3 has not
        found = ended(run, home)
    finally:
        run.terminate()
    assert [untimed(line) for line in found] == [untimed(line) for line in simulated]
    assert all(line["failed"] == {} for line in found if "failed" in line)
    assert [sorted(line["seconds"]["tuning"]) for line in found if line["kind"] == "round"] == [["0", "1"], [], []]
    notes = {said["note"] for line in found if line["kind"] == "round" for said in clients(line)}
    assert not any("teacher" in note for note in notes)


def clients(line):
    return [said for arm in line["arms"].values() for said in arm["clients"].values()]
