"""Runs on a QPU: refused before anything starts, stopped without a loss, and paid once. No test reaches a network."""

import json
from math import inf

import numpy as np
import pytest
import typer.testing

from client.site import allowance
from quantum.account import Fakes
from quantum.paid import HardwareError
from recipes.load import load
from recipes.section import InputError, RecipeError
from server.cli import command
from server.ledger import lines
from server.price import afford, price, spent_in
from strategies.failure import RunFailedError

SMALL = ["data.rows=20", "features.buckets=32", "optimiser.kind=spsa", "optimiser.maxiter=4", "regulate.law=none"]
SMALL += ["shots=64", "student.qubits=2", "student.reps=1", "student.twin=false", "rounds=2", "scored_by=executor"]
QPU = [*SMALL, "executor=ibm:least-busy", "hardware.queue_seconds=0.2"]


class Held:
    """A job of a fake device that stays in the queue until it is released."""

    def __init__(self, job, tag, held):
        self.job, self.tag, self.held = job, tag, held
        self.job_id, self.result, self.error_message = job.job_id, job.result, job.error_message

    def status(self):
        return "QUEUED" if self.held else self.job.status()

    def metrics(self):
        return {"usage": {"qpu_charge_time_seconds": 2.0, "status": "complete"}}


class QueueingFakes(Fakes):
    """A service on fake devices that charges two seconds a job; the jobs numbered in `stuck` wait in the queue."""

    costs = True

    def __init__(self, stuck=()):
        super().__init__(batch=False)
        self.stuck, self.jobs = stuck, []

    def backend(self, name, n_qubits):
        return super().backend("manila", n_qubits)

    def submit(self, backend, pubs, options):
        _, tag = options["environment"]["job_tags"]
        seeded = options | {"simulator": {"seed_simulator": int(tag[:7], 16)}}
        self.jobs.append(Held(super().submit(backend, pubs, seeded), tag, len(self.jobs) + 1 in self.stuck))
        return self.jobs[-1]

    def find(self, job_id):
        return next((job for job in self.jobs if job.job_id() == job_id), None)

    def tagged(self, tag):
        return [job for job in self.jobs if job.tag == tag]

    def release(self):
        for job in self.jobs:
            job.held = False


class Remaining:
    """An account, as far as a plan asks it."""

    def __init__(self, seconds):
        self.seconds = seconds

    def remaining(self):
        return self.seconds


@pytest.mark.parametrize(
    ("asked", "clients", "granted", "may"),
    [(60, 3, "20", 20), (60, 3, "5", 5), (60, 3, None, 0), (0, 3, "100", 0), (60, 3, "-1", 0)],
)
def test_a_client_spends_what_the_run_asks_and_its_node_grants(monkeypatch, asked, clients, granted, may):
    monkeypatch.delenv("QFLOCK_SPEND", raising=False)
    if granted is not None:
        monkeypatch.setenv("QFLOCK_SPEND", granted)
    assert allowance(asked, clients) == may


def test_a_grant_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("QFLOCK_SPEND", "much")
    with pytest.raises(InputError, match="QFLOCK_SPEND is 'much'; it must be a number"):
        allowance(60, 3)


@pytest.mark.slow
def test_a_plan_counts_the_jobs_that_a_run_really_submits(monkeypatch, run_here):
    service = QueueingFakes()
    folder = finished(monkeypatch, run_here, service, "run")
    due = price(load("smoke", QPU))
    for client in folder.glob("memory/*/client-*"):
        results = [np.load(file)["counts"].sum() for file in client.glob("qpu/*.npz")]
        assert len(results) == due.jobs
        assert 0.9 * due.executions <= sum(results) <= due.executions


def test_a_run_is_refused_unless_its_spend_and_the_service_cover_it(monkeypatch):
    recipe = load("smoke", QPU)
    due = price(recipe)
    monkeypatch.setattr("quantum.account.cloud", lambda batch: Remaining(inf))
    afford(recipe, due.spend, 0.0)
    with pytest.raises(InputError, match=rf"it runs on a QPU, and no --spend allows that: .*needs --spend {due.spend}"):
        afford(recipe, 0, 0.0)
    with pytest.raises(InputError, match=f"--spend {due.spend - 1} is too little"):
        afford(recipe, due.spend - 1, 0.0)
    monkeypatch.setattr("quantum.account.cloud", lambda batch: Remaining(due.seconds))
    with pytest.raises(InputError, match=r"IBM says that .* s remain in this instance"):
        afford(recipe, due.spend, 0.0)
    afford(recipe, due.spend, due.seconds)  # half of it is paid for
    with pytest.raises(InputError, match="executor exact costs nothing; leave --spend out"):
        afford(load("smoke"), 5, 0.0)


def test_without_an_account_a_run_ends_before_it_starts(monkeypatch):
    def nobody(batch):
        raise HardwareError("no IBM account on this machine: save one")

    monkeypatch.setattr("quantum.account.cloud", nobody)
    with pytest.raises(InputError, match="executor ibm:least-busy: no IBM account on this machine"):
        afford(load("smoke", QPU), 10_000, 0.0)


def test_more_executions_than_a_job_may_have_are_refused_by_the_plan():
    with pytest.raises(InputError, match="IBM takes at most 5,000,000 a job: lower shots"):
        price(load("smoke", [*QPU, "shots=5000000"]))


def test_the_command_refuses_a_qpu_without_spend_and_starts_nothing(tmp_path):
    words = ["run", "smoke", "--runs-dir", str(tmp_path / "runs")]
    for change in QPU:
        words += ["--set", change]
    done = typer.testing.CliRunner().invoke(command, words)
    assert isinstance(done.exception, InputError)
    assert "no --spend allows that" in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_the_plan_shows_the_price():
    words = ["plan", "smoke"] + [word for change in QPU for word in ("--set", change)]
    said = " ".join(typer.testing.CliRunner().invoke(command, words).output.split())
    assert "QPU seconds" in said
    assert "needs --spend" in said


def test_options_of_hardware_without_hardware_are_refused():
    with pytest.raises(RecipeError, match=r"hardware\.twirling is \"gates\"; executor aer has no twirling: leave"):
        load("smoke", ["executor=aer", "hardware.twirling=gates"])


def config(spend=2000, changes=QPU):
    return {"recipe": "smoke", "rounds": 0, "override": " ".join(changes), "spend": spend}


def finished(monkeypatch, run_here, service, name, spend=2000):
    monkeypatch.setenv("QFLOCK_SPEND", "1000")
    monkeypatch.setattr("quantum.ibm.cloud", lambda batch: service)
    monkeypatch.setattr("quantum.paid.FIRST_POLL_SECONDS", 0.001)
    monkeypatch.setattr("quantum.paid.LONGEST_POLL_SECONDS", 0.01)
    return run_here(name, config(spend), 2)


def told(folder):
    """The ledger without what a clock says."""
    kept = [line for line in lines(folder) if line["kind"] in ("round", "score")]
    return json.dumps(
        [{key: value for key, value in line.items() if key != "seconds"} for line in kept], sort_keys=True
    )


def test_a_run_that_a_queue_stopped_goes_on_and_pays_for_every_job_once(monkeypatch, run_here):
    whole = QueueingFakes()
    unstopped = finished(monkeypatch, run_here, whole, "run")
    expected, paid = told(unstopped), len(whole.jobs)
    (unstopped.parent / "run").rename(unstopped.parent / "before")

    service = QueueingFakes(stuck={2, 6})  # the second job, and one of the second round
    said = []
    for _ in range(4):
        try:
            folder = finished(monkeypatch, run_here, service, "run")
            break
        except RunFailedError as error:
            said.append(str(error))
            service.release()
    assert said
    assert all("still queued after" in line and "resuming the run adopts it" in line for line in said)
    assert len(service.jobs) == paid
    assert told(folder) == expected


def test_a_run_that_has_spent_its_share_stops_and_goes_on_with_more(monkeypatch, run_here):
    service = QueueingFakes()
    due = price(load("smoke", QPU))
    with pytest.raises(RunFailedError, match=r"client 0: .*QPU seconds are used.*larger --spend"):
        finished(monkeypatch, run_here, service, "run", spend=due.seconds)
    before = len(service.jobs)
    assert 0 < before < 2 * due.jobs
    folder = finished(monkeypatch, run_here, service, "run")
    assert len(service.jobs) == 2 * due.jobs
    assert spent_in(folder) == pytest.approx(2.0 * len(service.jobs))


def test_a_node_that_grants_nothing_stops_the_run(monkeypatch, run_here):
    monkeypatch.delenv("QFLOCK_SPEND", raising=False)
    monkeypatch.setattr("quantum.ibm.cloud", None)
    with pytest.raises(RunFailedError, match=r"client 0: this client may spend no QPU seconds.*QFLOCK_SPEND"):
        run_here("run", config(), 2)


@pytest.mark.slow
def test_a_federation_on_a_fake_device_writes_the_same_ledger_twice(run_here):
    changes = [*SMALL, "executor=ibm-local:manila", "mitigate=true", "rounds=1"]
    first, again = (told(run_here(name, config(0, changes), 2)) for name in ("one", "two"))
    assert first == again
    assert '"shots": 0' not in json.loads(first)[0]["arms"]["student"]["clients"]
