"""Jobs are paid once: whatever ends the process, wherever; and never beyond what may be spent."""

import os
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum.journal import Journal
from quantum.paid import RETRIES, HardwareError, Request, Till

KEY = "a" * 64
RESULT = {"counts": np.array([[3, 5]], dtype=np.uint32)}


class Crash(BaseException):
    """The process ends here."""


class FakeJob:
    """A job at the service: it goes through its states, one a look, and is charged when it ends."""

    def __init__(self, number, tag, states, error="", seconds=3.0, settles=True):
        self.number, self.tag, self.states, self.error = number, tag, list(states), error
        self.seconds, self.settles, self.fetched = seconds, settles, 0

    def job_id(self):
        return f"job-{self.number}"

    def status(self):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def result(self):
        self.fetched += 1
        return RESULT

    def error_message(self):
        return self.error

    def metrics(self):
        if not self.settles:
            return {"usage": {"qpu_charge_time_seconds": None, "status": "pending"}}
        return {"usage": {"qpu_charge_time_seconds": self.seconds, "status": "complete"}}


class FakeIbm:
    """The service: it outlives the processes that ask it. `script` says what becomes of its next jobs."""

    costs = True

    def __init__(self, script=(), remaining=600.0):
        self.script, self.left = list(script), remaining
        self.all, self.options = [], []
        self.numbers = count(1)
        self.lost = self.deaf = False

    def submit(self, backend, pubs, options):
        if self.deaf:
            raise ConnectionError("no route to host")
        facts = self.script.pop(0) if self.script else {"states": ["QUEUED", "RUNNING", "DONE"]}
        facts = facts | {"seconds": min(facts.get("seconds", 3.0), options.get("max_execution_time", 3.0))}
        job = FakeJob(next(self.numbers), options["environment"]["job_tags"][1], **facts)
        self.all.append(job)
        self.options.append(options)
        if self.lost:  # the service has it, and the answer does not arrive
            raise TimeoutError("no answer")
        return job

    def find(self, job_id):
        return next((job for job in self.all if job.job_id() == job_id), None)

    def tagged(self, tag):
        return [job for job in reversed(self.all) if job.tag == tag]

    def remaining(self):
        return self.left

    def close(self):
        pass


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("quantum.paid.LONGEST_POLL_SECONDS", 0.0001)
    monkeypatch.setattr("quantum.paid.FIRST_POLL_SECONDS", 0.0001)


def request(key=KEY, seconds=2.0):
    options = {"environment": {"job_tags": ["qflock", key]}}
    return Request(key, "backend", [], options, seconds, lambda result: result)


def till(service, folder, limit=100.0, queue_seconds=900.0):
    return Till(service, Journal(folder), limit, queue_seconds)


def same(arrays):
    return np.array_equal(arrays["counts"], RESULT["counts"])


def test_a_request_is_one_job_and_then_none(tmp_path):
    service = FakeIbm()
    assert same(till(service, tmp_path).run(request()))
    assert same(till(service, tmp_path).run(request()))
    assert len(service.all) == 1
    assert service.all[0].fetched == 1
    assert Journal(tmp_path).spent() == 3.0


STEPS = ["intent", "submitted", "done", "settled"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after", "torn"])
def test_a_crash_at_any_line_of_the_journal_costs_nothing(tmp_path, monkeypatch, step, when):
    service, write = FakeIbm(), Journal.write

    def crashing(self, name, **facts):
        if name != step:
            return write(self, name, **facts)
        if when == "before":
            raise Crash
        write(self, name, **facts)
        if when == "torn":
            os.truncate(self.file, self.file.stat().st_size - 5)
        raise Crash

    monkeypatch.setattr(Journal, "write", crashing)
    with pytest.raises(Crash):
        till(service, tmp_path).run(request())
    monkeypatch.setattr(Journal, "write", write)
    assert same(till(service, tmp_path).run(request()))
    assert same(till(service, tmp_path).run(request("b" * 64)))  # and the account goes on
    assert len(service.all) == 2
    assert Journal(tmp_path).spent() == 6.0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_around_the_result_file_costs_nothing(tmp_path, monkeypatch, when):
    service, keep = FakeIbm(), Journal.keep

    def crashing(self, key, arrays):
        if when == "after":
            keep(self, key, arrays)
        raise Crash

    monkeypatch.setattr(Journal, "keep", crashing)
    with pytest.raises(Crash):
        till(service, tmp_path).run(request())
    monkeypatch.setattr(Journal, "keep", keep)
    assert same(till(service, tmp_path).run(request()))
    assert len(service.all) == 1
    assert Journal(tmp_path).spent() == 3.0


def test_a_job_whose_id_never_arrived_is_found_by_its_tag(tmp_path):
    service = FakeIbm()
    service.lost = True
    with pytest.raises(HardwareError, match="cannot submit a job"):
        till(service, tmp_path).run(request())
    service.lost = False
    assert same(till(service, tmp_path).run(request()))
    assert len(service.all) == 1


def test_a_lost_disk_does_not_pay_again(tmp_path):
    service = FakeIbm()
    till(service, tmp_path / "one").run(request())
    assert same(till(service, tmp_path / "two").run(request()))
    assert len(service.all) == 1
    assert Journal(tmp_path / "two").spent() == 3.0


@settings(max_examples=15)
@given(cut=st.floats(0, 1), seconds=st.lists(st.floats(2, 5), min_size=1, max_size=2), results=st.booleans())
def test_a_journal_cut_anywhere_still_pays_for_every_request_once(tmp_path_factory, cut, seconds, results):
    folder, service = tmp_path_factory.mktemp("jobs"), FakeIbm()
    ask = [request(f"{number:064d}", price) for number, price in enumerate(seconds)]
    for one in ask:
        till(service, folder).run(one)
    file = folder / "jobs.jsonl"
    os.truncate(file, int(cut * file.stat().st_size))
    if not results:
        for result in folder.glob("*.npz"):
            result.unlink()
    for one in ask:
        assert same(till(service, folder).run(one))
    assert len(service.all) == len(ask)
    till(service, folder).run(request())  # settles what is not
    assert Journal(folder).spent() == 3.0 * (len(ask) + 1)


def test_a_queue_that_is_too_long_pauses_and_the_job_is_adopted(tmp_path):
    service = FakeIbm([{"states": ["QUEUED"]}])
    with pytest.raises(HardwareError, match=r"job-1 still queued after 0 s\. It stays queued: resuming the run adopts"):
        till(service, tmp_path, queue_seconds=0.01).run(request())
    assert Journal(tmp_path).spent() == 2.0  # reserved
    service.all[0].states = ["QUEUED", "RUNNING", "DONE"]
    assert same(till(service, tmp_path).run(request()))
    assert len(service.all) == 1
    assert Journal(tmp_path).spent() == 3.0


def test_a_job_that_runs_is_waited_for_beyond_the_queue_timeout(tmp_path):
    service = FakeIbm([{"states": ["RUNNING"] * 30 + ["DONE"]}])
    assert same(till(service, tmp_path, queue_seconds=0.001).run(request()))


SYSTEM = {"states": ["ERROR"], "error": "Job has failed:\nError code 5203; Failed to run job.", "seconds": 0.0}
USER = {"states": ["ERROR"], "error": "Error code 6000; Too many shots given (2 > 1).", "seconds": 1.5}


def test_what_the_system_failed_is_tried_again_for_nothing(tmp_path):
    service = FakeIbm([SYSTEM] * RETRIES)
    assert same(till(service, tmp_path).run(request()))
    assert len(service.all) == RETRIES + 1
    assert Journal(tmp_path).spent() == 3.0


def test_a_system_that_keeps_failing_is_not_asked_for_ever(tmp_path):
    service = FakeIbm([SYSTEM] * 9)
    with pytest.raises(HardwareError, match=r"IBM failed 3 jobs .*5203.*Resume later"):
        till(service, tmp_path).run(request())
    assert len(service.all) == RETRIES + 1


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        (USER, "job-1 failed and is not tried again: Error code 6000; Too many shots"),
        ({"states": ["CANCELLED"], "seconds": 1.5}, "it was cancelled"),
        ({"states": ["ERROR"], "error": "Error code 1305; ran longer than", "seconds": 1.5}, "1305"),
        ({"states": ["ERROR"], "error": "no code at all", "seconds": 1.5}, "no code at all"),
    ],
)
def test_what_a_user_got_wrong_is_not_tried_again(tmp_path, fate, said):
    service = FakeIbm([fate])
    with pytest.raises(HardwareError, match=said):
        till(service, tmp_path).run(request())
    assert len(service.all) == 1
    assert Journal(tmp_path).spent() == 1.5
    assert same(till(service, tmp_path).run(request()))  # a resumed run is the user's own wish to try again
    assert Journal(tmp_path).spent() == 4.5


def test_a_job_that_may_not_be_paid_is_never_submitted(tmp_path):
    service = FakeIbm()
    with pytest.raises(HardwareError, match=r"0\.0 of this client's 2\.2 QPU seconds are used .* needs 2\.0;.*--spend"):
        till(service, tmp_path, limit=2.2).run(request())
    with pytest.raises(HardwareError, match=r"needs 2\.0 QPU seconds and IBM says that 1\.5 remain"):
        till(FakeIbm(remaining=1.5), tmp_path).run(request())
    assert not service.all
    assert Journal(tmp_path).spent() == 0.0


def test_a_run_stops_before_its_limit_and_goes_on_with_a_larger_one(tmp_path):
    service = FakeIbm()
    asked = [request(f"{number:064d}") for number in range(10)]
    with pytest.raises(HardwareError, match="no job starts beyond 90%"):
        [till(service, tmp_path, limit=20.0).run(one) for one in asked]
    done = len(service.all)
    assert 0 < done < 10
    assert Journal(tmp_path).spent() <= 18.0
    [till(service, tmp_path, limit=60.0).run(one) for one in asked]
    assert len(service.all) == 10


@settings(max_examples=25)
@given(limit=st.floats(3, 30), price=st.floats(1, 10), overrun=st.floats(0.5, 3))
def test_no_job_can_overrun_the_limit_because_the_service_ends_it(tmp_path_factory, limit, price, overrun):
    folder, service = tmp_path_factory.mktemp("jobs"), FakeIbm()
    try:
        for number in range(20):
            service.script = [{"states": ["DONE"], "seconds": price * overrun}]
            till(service, folder, limit=limit).run(request(f"{number:064d}", price))
            allowed = service.options[-1]["max_execution_time"]
            assert price <= allowed <= 1.5 * price + 1
    except HardwareError as error:
        assert "--spend" in str(error)  # noqa: PT017 - the other end that a run may come to
    assert Journal(folder).spent() <= limit


def test_a_charge_that_is_not_known_yet_stays_reserved_until_it_is(tmp_path):
    service = FakeIbm([{"states": ["DONE"], "settles": False}])
    till(service, tmp_path).run(request())
    assert Journal(tmp_path).spent() == 2.0
    service.all[0].settles = True
    till(service, tmp_path).run(request("b" * 64))
    assert Journal(tmp_path).spent() == 6.0


def test_a_service_that_cannot_be_reached_is_one_line(tmp_path):
    service = FakeIbm()
    service.deaf = True
    with pytest.raises(HardwareError, match=r"^cannot submit a job \(ConnectionError: no route to host\)$"):
        till(service, tmp_path).run(request())


def test_a_job_of_another_account_is_not_paid_again(tmp_path):
    service = FakeIbm([{"states": ["QUEUED"]}])
    with pytest.raises(HardwareError, match="queued"):
        till(service, tmp_path, queue_seconds=0.001).run(request())
    with pytest.raises(HardwareError, match=r"does not know job job-1.*use the account that did"):
        till(FakeIbm(), tmp_path).run(request())


def test_jobs_that_cost_nothing_are_run_again_when_their_process_is_gone(tmp_path):
    class Free(FakeIbm):
        costs = False
        find = staticmethod(lambda job_id: None)
        tagged = staticmethod(lambda tag: [])

    first = Free([{"states": ["QUEUED"]}])
    with pytest.raises(HardwareError, match="queued"):
        till(first, tmp_path, queue_seconds=0.001).run(request())
    assert same(till(Free(), tmp_path, limit=0.0).run(request()))
    assert Journal(tmp_path).spent() == 0.0
    assert "max_execution_time" not in first.options[0]


def test_a_till_says_what_its_own_requests_cost_also_when_they_were_paid_before(tmp_path):
    service = FakeIbm()
    till(service, tmp_path).run(request("b" * 64))
    till(service, tmp_path).run(request())
    later = till(service, tmp_path)
    assert later.spent() == 0.0
    later.run(request())
    assert later.spent() == 3.0


def test_a_journal_damaged_in_the_middle_is_not_guessed_at(tmp_path):
    till(FakeIbm(), tmp_path).run(request())
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(b"{torn\n" + file.read_bytes())
    with pytest.raises(ValueError, match=r"jobs\.jsonl is damaged"):
        till(FakeIbm(), tmp_path).run(request())


def test_two_processes_do_not_submit_one_request_twice(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    service = FakeIbm()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: till(service, tmp_path).run(request()), range(4)))
    assert all(map(same, found))
    assert len(service.all) == 1
