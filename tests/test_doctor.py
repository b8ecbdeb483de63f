"""What the doctor says of machines that lack something."""

import os
import re
import subprocess
import sys

import pytest

from quantum.account import NoAccountError
from quantum.paid import HardwareError
from recipes.load import shipped
from server import doctor
from server.cli import command
from server.doctor import CHECKS, examined
from server.folder import APP


def only(check):
    (found,) = check()
    return found


def test_every_check_says_something_and_what_does_not_work_has_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "nothing" / "here"))
    monkeypatch.delenv("QFLOCK_DATA", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr("quantum.account.cloud", lambda batch: (_ for _ in ()).throw(NoAccountError("none")))
    rows = examined().rows
    assert len(rows) >= len(CHECKS)
    for what, state, found, fix in rows:
        assert found, what
        assert (state == "works") == (fix == ""), what
    states = {what: state for what, state, _, _ in rows}
    assert states["Docker"] == states["IBM account"] == states["smollm2"] == states["corpora"] == "optional"


def test_another_flower_is_wrong_and_none_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda package: "1.40.2")
    assert (only(doctor.flower).state, only(doctor.flower).fix) == ("wrong", "pip install 'flwr[simulation]==1.41.*'")
    monkeypatch.setattr(doctor, "installed", lambda package: None)
    assert only(doctor.flower).state == only(doctor.simulator).state == only(doctor.tensors).state == "missing"


@pytest.mark.parametrize(
    ("check", "package", "mended"),
    [
        (doctor.flower, "flwr", "pip install --force-reinstall 'flwr[simulation]==1.41.*'"),
        (doctor.simulator, "ray", "pip install --force-reinstall ray, or --on processes"),
        (doctor.tensors, "torch", "make clean setup, or pip install --force-reinstall torch"),
    ],
)
def test_a_package_that_is_there_and_cannot_be_imported_is_wrong(check, package, mended, monkeypatch, tmp_path):
    (tmp_path / f"{package}.py").write_text("raise OSError('libcudart.so.12: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found, *_ = check()
    assert (found.state, found.fix) == ("wrong", mended)
    assert found.found.endswith(": its import fails: OSError: libcudart.so.12: no such file (code 1)")
    (tmp_path / f"{package}.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    found, *_ = check()
    assert found.found.endswith(": its import fails: no reason given (code -4)")


def test_an_import_that_does_not_end_is_wrong(monkeypatch, tmp_path):
    (tmp_path / "ray.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "IMPORT_SECONDS", 0.5)
    assert only(doctor.simulator).found.endswith(": its import did not end within 0 s")


def test_an_ibm_library_that_cannot_be_imported_is_no_trouble_of_the_network(monkeypatch):
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)
    found = only(doctor.quantum_account)
    assert (found.state, found.fix) == ("wrong", "pip install --force-reinstall qiskit-ibm-runtime")
    assert found.found.startswith("qiskit-ibm-runtime: its import fails: ModuleNotFoundError: ")


def test_the_doctor_can_be_asked_where_flower_is_broken(tmp_path):
    (tmp_path / "flwr.py").write_text("raise ImportError('no way')")
    words = [sys.executable, "-c", "import server.doctor"]
    subprocess.run(words, cwd=APP, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=True)


def test_a_docker_engine_that_is_silent_or_dead_is_told_apart(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")

    def ran(code, out, err):
        return lambda words, **_: subprocess.CompletedProcess(words, code, out, err)

    monkeypatch.setattr(doctor.subprocess, "run", ran(0, "29.1\n", ""))
    assert [(one.state, one.found) for one in doctor.docker()] == [
        ("works", "engine 29.1"),
        ("works", "docker compose"),
    ]
    monkeypatch.setattr(doctor.subprocess, "run", ran(1, "", "permission denied\n"))
    found = only(doctor.docker)
    assert (found.found, found.fix) == (
        "no engine answers: permission denied",
        "sudo usermod -aG docker $USER, then log in again",
    )
    monkeypatch.setattr(doctor.subprocess, "run", ran(1, "", "Is the docker daemon running?\n"))
    assert only(doctor.docker).fix == "sudo systemctl start docker"

    def silent(words, **options):
        raise subprocess.TimeoutExpired(words, 1)

    monkeypatch.setattr(doctor.subprocess, "run", silent)
    assert only(doctor.docker).state == "wrong"


@pytest.mark.parametrize(("older", "state"), [("/bin/docker-compose", "works"), (None, "optional")])
def test_an_engine_without_its_plugin_needs_the_older_compose(older, state, monkeypatch):
    def ran(words, **_):
        return subprocess.CompletedProcess(words, int("compose" in words), "29.1\n", "no such command")

    monkeypatch.setattr(doctor.shutil, "which", lambda name: older if name == "docker-compose" else f"/bin/{name}")
    monkeypatch.setattr(doctor.subprocess, "run", ran)
    engine, compose = doctor.docker()
    assert engine.state == "works"
    assert (compose.what, compose.state, compose.fix == "") == ("Docker Compose", state, older is not None)
    assert compose.found == (older or "this Docker has no Compose; nodes in containers need it")


def test_every_command_of_ours_in_a_remedy_is_one_and_its_recipe_is_shipped(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr("quantum.account.cloud", lambda batch: (_ for _ in ()).throw(NoAccountError("none")))
    ours = [line for *_, fix in examined().rows for line in re.findall(r"qflock \S+ \S+", fix)]
    assert len(ours) == 3
    for line in ours:
        _, name, recipe = line.split()
        assert name in [(one.name or one.callback.__name__) for one in command.registered_commands]
        assert recipe in shipped()


def test_too_little_memory_or_disk_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "ROOM_GB", 1e9)
    monkeypatch.setattr(doctor, "MEMORY_GB", 1e9)
    _, cache, runs = found = list(doctor.room())
    assert [one.state for one in found] == ["wrong"] * 3
    assert ("QFLOCK_CACHE" in cache.fix, "--runs-dir" in cache.fix) == (True, False)
    assert ("QFLOCK_CACHE" in runs.fix, "--runs-dir" in runs.fix) == (False, True)


@pytest.mark.parametrize(("error", "state"), [(NoAccountError("none"), "optional"), (HardwareError("no way"), "wrong")])
def test_an_ibm_account_that_is_not_there_is_no_fault_and_one_that_fails_is(monkeypatch, error, state):
    def cloud(batch):
        raise error

    monkeypatch.setattr("quantum.account.cloud", cloud)
    assert only(doctor.quantum_account).state == state


def test_an_ibm_account_that_works_has_its_plan_and_what_is_left_and_no_token(monkeypatch):
    class Service:
        def active_account(self):
            return {"token": "very secret", "instance": "crn:free"}

        def instances(self):
            return [{"crn": "crn:free", "name": "mine", "plan": "open"}]

        def usage(self):
            return {"usage_remaining_seconds": 600}

    monkeypatch.setattr("quantum.account.opened", lambda file: Service())
    assert only(doctor.quantum_account).found == "instance mine, plan open, 600 QPU seconds left"
