"""What the doctor says of machines that lack something."""

import subprocess

import pytest

from quantum.account import NoAccountError
from quantum.paid import HardwareError
from server import doctor
from server.doctor import CHECKS, examined


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


def test_a_docker_engine_that_is_silent_or_dead_is_told_apart(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")

    def ran(code, out, err):
        return lambda words, **_: subprocess.CompletedProcess(words, code, out, err)

    monkeypatch.setattr(doctor.subprocess, "run", ran(0, "29.1\n", ""))
    assert (only(doctor.docker).state, only(doctor.docker).found) == ("works", "engine 29.1")
    monkeypatch.setattr(doctor.subprocess, "run", ran(1, "", "permission denied\n"))
    assert only(doctor.docker).found == "no engine answers: permission denied"

    def silent(words, **options):
        raise subprocess.TimeoutExpired(words, 1)

    monkeypatch.setattr(doctor.subprocess, "run", silent)
    assert only(doctor.docker).state == "wrong"


def test_too_little_memory_or_disk_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "ROOM_GB", 1e9)
    monkeypatch.setattr(doctor, "MEMORY_GB", 1e9)
    assert [one.state for one in doctor.room()] == ["wrong"] * 3


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
