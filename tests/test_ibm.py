"""The `ibm` executors on fake devices: the code that runs on a QPU, with another service behind it."""

import json
from contextlib import closing
from math import inf
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives.containers import BitArray
from qiskit.quantum_info import SparsePauliOp

from quantum import account
from quantum.account import Cloud, Fakes, opened
from quantum.executor import executor
from quantum.ibm import Site, confusion, counts_of, through
from quantum.journal import Journal
from quantum.paid import HardwareError
from quantum.price import executions, seconds
from quantum.ring import ring
from recipes.schema import HardwareConfig
from recipes.section import InputError

TOKEN = "not-a-real-token-0123456789"


def circuit_of_three():
    """Depth enough to be routed, no two qubits alike."""
    x = ParameterVector("x", 4)
    circuit = QuantumCircuit(3)
    circuit.ry(x[0], 0)
    circuit.ry(x[1], 1)
    circuit.cx(0, 2)
    circuit.rx(x[2] * x[1], 2)
    circuit.cx(2, 1)
    circuit.rz(x[3], 2)
    circuit.h(2)
    return circuit


ROWS = np.random.default_rng(5).uniform(-3, 3, (6, 4))


def site(folder, visit="run/client-0/train-1", **hardware):
    return Site(folder=folder, visit=visit, spend_seconds=60.0, hardware=HardwareConfig(**hardware))


def local(folder, seed=1, mitigate=False, device="manila", shots=400, **hardware):
    return executor(f"ibm-local:{device}", shots=shots, seed=seed, mitigate=mitigate, site=site(folder, **hardware))


def exact():
    return executor("exact", shots=1, seed=0).probabilities(circuit_of_three(), ROWS)


@pytest.mark.parametrize("hardware", [{}, {"mode": "batch"}, {"decoupling": "XY4"}, {"twirling": "both"}], ids=str)
def test_every_option_runs_and_gives_nearly_the_exact_probabilities(tmp_path, hardware):
    with closing(local(tmp_path, **hardware)) as run:
        found = run.probabilities(circuit_of_three(), ROWS)
    assert_allclose(found.sum(axis=1), 1)
    assert 0.5 * abs(found - exact()).sum(axis=1).mean() < 0.12  # noise, and 400 shots


def test_a_ring_goes_to_a_backend_with_its_angles_free(tmp_path):
    circuit = ring(3, 2).circuit
    rows = np.random.default_rng(6).uniform(-3, 3, (1, circuit.num_parameters))
    known = executor("exact", shots=1, seed=0).probabilities(circuit, rows)
    with closing(local(tmp_path, shots=4000)) as run:
        assert abs(run.probabilities(circuit, rows) - known).sum() < 0.5  # a device that errs


def test_equal_seeds_give_equal_counts_and_a_call_never_repeats_the_shots_of_another(tmp_path):
    first, again, other = (local(tmp_path / str(at), seed=seed) for at, seed in enumerate((1, 1, 2)))
    drawn = [first.probabilities(circuit_of_three(), ROWS) for _ in range(2)]
    assert_allclose(again.probabilities(circuit_of_three(), ROWS), drawn[0], atol=0)
    assert not np.array_equal(*drawn)
    assert not np.array_equal(other.probabilities(circuit_of_three(), ROWS), drawn[0])


def test_mitigation_comes_nearer_to_the_truth(tmp_path):
    distances = []
    for mitigate in (False, True):
        run = local(tmp_path / str(mitigate), mitigate=mitigate, shots=4000)
        distances.append(abs(run.probabilities(circuit_of_three(), ROWS) - exact()).sum())
    assert distances[1] < 0.7 * distances[0]


def test_expectations_go_through_the_same_jobs(tmp_path):
    run = local(tmp_path, mitigate=True, shots=4000)
    observables = [SparsePauliOp("IIZ"), SparsePauliOp("XIZ")]
    known = executor("exact", shots=1, seed=0).expectations(circuit_of_three(), observables, ROWS)
    assert_allclose(run.expectations(circuit_of_three(), observables, ROWS), known, atol=0.2)
    assert len(Journal(tmp_path).entries()) == 1  # one basis, one job


def test_a_visit_that_is_repeated_reads_its_results_and_runs_nothing(tmp_path, monkeypatch):
    first = local(tmp_path)
    drawn = [first.probabilities(circuit_of_three(), ROWS * scale) for scale in (1, 0.5)]
    monkeypatch.setattr(Fakes, "submit", None)
    again = local(tmp_path)
    assert_allclose([again.probabilities(circuit_of_three(), ROWS * scale) for scale in (1, 0.5)], drawn, atol=0)
    monkeypatch.undo()
    assert len(Journal(tmp_path).entries()) == 2
    local(tmp_path, visit="run/client-0/train-2").probabilities(circuit_of_three(), ROWS)
    local(tmp_path, twirling="gates").probabilities(circuit_of_three(), ROWS)
    assert len(Journal(tmp_path).entries()) == 4


@given(st.integers(1, 17), st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_counts_are_those_of_qiskit_whatever_the_number_of_qubits(n_qubits, rows, shots, seed):
    draws = np.random.default_rng(seed)
    bits = BitArray.from_bool_array(draws.integers(2, size=(rows, shots, n_qubits)).astype(bool))
    counts = counts_of(bits, n_qubits)
    for row in range(len(counts)):
        assert {state: count for state, count in enumerate(counts[row]) if count} == bits.get_int_counts(row)


def test_confusion_is_read_off_the_two_calibration_states():
    held_0, held_1 = np.kron([0.9, 0.1], [0.8, 0.2]), np.kron([0.3, 0.7], [0.4, 0.6])
    assert_allclose(confusion(np.stack([held_0, held_1])), [[[0.8, 0.4], [0.2, 0.6]], [[0.9, 0.3], [0.1, 0.7]]])


def test_input_that_cannot_run_is_refused_before_any_job(tmp_path):
    with pytest.raises(InputError, match=r"manilla.*manila"):
        executor("ibm-local:manilla", shots=10, seed=0)
    wide = QuantumCircuit(6)
    with pytest.raises(InputError, match="fake_manila has 5 qubits and the circuit needs 6"):
        local(tmp_path).probabilities(wide, np.zeros((1, 0)))
    with pytest.raises(InputError, match=r"1,000,000 shots are 6,000,000 executions; IBM takes at most 5,000,000"):
        local(tmp_path, shots=1_000_000).probabilities(circuit_of_three(), ROWS)
    assert not Journal(tmp_path).entries()


def test_jobs_without_a_site_leave_nothing_behind():
    run = executor("ibm-local:manila", shots=50, seed=0)
    run.probabilities(circuit_of_three(), ROWS)
    folder = run._run.site.folder
    assert any(folder.iterdir())
    run.close()
    assert not folder.exists()


@pytest.mark.slow
def test_a_large_device_runs_through_the_same_code(tmp_path):
    run = local(tmp_path, device="fez", decoupling="XpXm", mitigate=True)
    assert 0.5 * abs(run.probabilities(circuit_of_three(), ROWS) - exact()).sum(axis=1).mean() < 0.12


class PaidFakes(Fakes):
    """Fake devices that cost what IBM says, and remember their jobs and what they were asked for."""

    costs = True

    def __init__(self):
        super().__init__(batch=False)
        self.jobs, self.asked = {}, []

    def backend(self, name, n_qubits):
        return super().backend("manila" if name == "least-busy" else name, n_qubits)

    def submit(self, backend, pubs, options):
        job = super().submit(backend, pubs, options)
        self.asked.append(options)
        self.jobs[job.job_id()] = job
        return job

    def find(self, job_id):
        return self.jobs.get(job_id)


def test_a_paid_job_carries_its_name_and_a_time_limit_and_reserves_its_price(tmp_path):
    service = PaidFakes()
    run = through(service, "ibm:least-busy", 400, 0, True, site(tmp_path))
    run.probabilities(circuit_of_three(), ROWS)
    (key,) = Journal(tmp_path).entries()
    (asked,) = service.asked
    price = seconds(1, executions(6, 400, twirled=False, calibrated=True))
    assert asked["environment"]["job_tags"] == ["qflock", key]
    assert asked["max_execution_time"] == np.ceil(1.5 * price)
    assert "simulator" not in asked
    lines = [json.loads(line) for line in (tmp_path / "jobs.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == ["backend", "intent", "submitted", "done", "settled"]
    assert lines[1]["seconds"] == pytest.approx(price)


def test_the_backend_that_a_client_began_on_is_the_one_it_stays_on(tmp_path):
    through(PaidFakes(), "ibm:least-busy", 50, 0, False, site(tmp_path)).probabilities(circuit_of_three(), ROWS)

    class Busy(PaidFakes):
        def backend(self, name, n_qubits):
            assert name == "fake_manila"
            return super().backend(name, n_qubits)

    later = through(Busy(), "ibm:least-busy", 50, 0, False, site(tmp_path, visit="run/client-0/train-2"))
    later.probabilities(circuit_of_three(), ROWS)
    assert Journal(tmp_path).backend() == "fake_manila"


def test_a_qpu_is_not_reached_for_without_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(account, "service_of", None)
    for place in (None, Site(folder=tmp_path, visit="")):
        with pytest.raises(HardwareError, match=r"may spend no QPU seconds: .*--spend SECONDS.*QFLOCK_SPEND"):
            executor("ibm:least-busy", shots=10, seed=0, site=place)


class FakeService:
    """QiskitRuntimeService as far as we ask it."""

    made: ClassVar[list] = []  # (channel, token, instance) of each
    saved_instance = None
    plans: ClassVar = {"free": "open", "dear": "pay-as-you-go"}
    limits: ClassVar = {"usage_remaining_seconds": 123.0}

    def __init__(self, channel=None, token=None, instance=None):
        self.made.append((channel, token, instance))
        self.instance = instance or self.saved_instance

    def active_account(self):
        return {"token": TOKEN, "instance": self.instance} if self.instance else {"token": TOKEN}

    def instances(self):
        return [{"crn": f"crn:{name}", "name": name, "plan": plan} for name, plan in self.plans.items()]

    def usage(self):
        return self.limits


@pytest.fixture
def library(monkeypatch):
    """The library, with a fake service; nothing here reaches a network."""
    service = type("Service", (FakeService,), {"made": []})
    monkeypatch.setattr("qiskit_ibm_runtime.QiskitRuntimeService", service)
    opened.cache_clear()
    yield service
    opened.cache_clear()


def token_file(folder, *lines):
    file = folder / "token"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_token_alone_means_the_open_instance(library, tmp_path):
    assert opened(token_file(tmp_path, TOKEN)).instance == "crn:free"
    assert library.made[-1] == ("ibm_quantum_platform", TOKEN, "crn:free")


def test_a_paid_instance_is_used_only_when_it_is_named(library, tmp_path, caplog):
    assert opened(token_file(tmp_path, TOKEN, "dear")).instance == "dear"
    assert "plan pay-as-you-go: its QPU seconds are charged for" in caplog.text
    assert TOKEN not in caplog.text
    opened.cache_clear()
    library.plans = {"dear": "pay-as-you-go"}
    with pytest.raises(
        HardwareError, match=r"has no Open instance\. To use a paid one, name it: dear \(pay-as-you-go\)"
    ):
        opened(token_file(tmp_path, TOKEN))
    library.saved_instance = "crn:dear"
    assert opened(None).instance == "crn:dear"


def test_an_instance_that_the_account_does_not_have_is_named(library, tmp_path):
    with pytest.raises(HardwareError, match="no instance crn:other; it has free, dear"):
        opened(token_file(tmp_path, TOKEN, "crn:other"))


@pytest.mark.parametrize(
    ("usage", "remaining"),
    [
        ({"usage_remaining_seconds": 42}, 42.0),
        ({"usage_remaining_seconds": 42, "usage_limit_reached": True}, 0.0),
        ({"usage_consumed_seconds": 7}, inf),
    ],
)
def test_what_remains_is_what_the_service_says(library, usage, remaining):
    library.limits = usage
    assert Cloud(library(), batch=False).remaining() == remaining


def test_without_an_account_the_error_says_how_to_get_one(monkeypatch):
    from qiskit_ibm_runtime.accounts import AccountNotFoundError

    def nobody(**keys):
        raise AccountNotFoundError("Unable to find account.")

    monkeypatch.setattr("qiskit_ibm_runtime.QiskitRuntimeService", nobody)
    opened.cache_clear()
    with pytest.raises(HardwareError, match=r"^no IBM account on this machine: .*save_account.*QFLOCK_IBM_TOKEN_FILE$"):
        opened(None)


def test_an_error_never_shows_the_token(monkeypatch, tmp_path):
    def unreachable(channel, token, instance):
        raise ConnectionError(f"max retries exceeded with key {token}")

    monkeypatch.setattr("qiskit_ibm_runtime.QiskitRuntimeService", unreachable)
    opened.cache_clear()
    with pytest.raises(HardwareError, match=r"cannot be reached .*ConnectionError.*check the network") as caught:
        opened(token_file(tmp_path, TOKEN))
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("lines", "said"), [((), "has 0 words"), ((TOKEN, "an instance"), "has 3 words")])
def test_a_token_file_of_another_form_is_refused(library, tmp_path, lines, said):
    with pytest.raises(HardwareError, match=said) as caught:
        opened(token_file(tmp_path, *lines))
    assert TOKEN not in str(caught.value)
    with pytest.raises(HardwareError, match=r"cannot be read \(FileNotFoundError\)"):
        opened(tmp_path / "nowhere")


def test_a_backend_that_the_instance_does_not_have_is_named_with_those_it_has():
    from qiskit.providers.exceptions import QiskitBackendNotFoundError

    class Service:
        def backend(self, name):
            raise QiskitBackendNotFoundError("no")

        def backends(self):
            return [Fakes(batch=False).backend(name, 1) for name in ("manila", "lima")]

    with pytest.raises(InputError, match="ibm:ibm_nowhere for 3 qubits; this instance has fake_lima, fake_manila"):
        Cloud(Service(), batch=False).backend("ibm_nowhere", 3)
