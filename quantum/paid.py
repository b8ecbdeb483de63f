"""One request to a QPU, paid once: whatever ends the process in between, the next one finds the job.

A stored result, a known job id, a job at the service that carries this request's tag: only when there is none of them
is a new job submitted, its price reserved first, within what may be spent. Jobs that the system failed are free and are
tried again; what a user got wrong is not.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any, Protocol

from numpy.typing import NDArray

from quantum.journal import Entry, Journal
from quantum.price import STOP_AT, TIME_LIMIT
from recipes.section import InputError

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

FINAL = ("DONE", "CANCELLED", "ERROR")
RETRIES = 2  # of one request, after failures of the system
SYSTEM_ERRORS = {1000, 1006, 1008, 1010, 1011, 5203, 9999}  # of IBM's registry: internal, or "run the job again"
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.02, 15.0

Arrays = dict[str, NDArray[Any]]


class HardwareError(RuntimeError):
    """A QPU cannot be used now: one line with the reason and the remedy. What is paid for stays paid for."""


class Job(Protocol):
    """What we need of a job, as qiskit-ibm-runtime has it."""

    def job_id(self) -> str: ...
    def status(self) -> Any: ...
    def result(self) -> Any: ...
    def metrics(self) -> dict[str, Any]: ...
    def error_message(self) -> str | None: ...


class Service(Protocol):
    """What runs jobs and remembers them: an IBM account, or fake devices in this process."""

    costs: bool  # whether a job is paid for

    def backend(self, name: str, n_qubits: int) -> Any:
        """The backend of that name; "least-busy" is the one with the shortest queue of those with enough qubits."""
        ...

    def submit(self, backend: Any, pubs: list[Any], options: dict[str, Any]) -> Job:
        """Start a job of the sampler."""
        ...

    def find(self, job_id: str) -> Job | None:
        """The job, or None when the service does not know it."""
        ...

    def tagged(self, tag: str) -> list[Job]:
        """All jobs with the tag."""
        ...

    def remaining(self) -> float:
        """QPU seconds that the service would still give; infinite where nothing limits them."""
        ...

    def close(self) -> None:
        """Give back what it holds open."""
        ...


@dataclass(frozen=True)
class Request:
    """A job to be done once."""

    key: str  # names it for ever; also its tag
    backend: Any
    pubs: list[Any]
    options: dict[str, Any]
    seconds: float  # its price
    read: Callable[[Any], Arrays]  # from the job's result to what is kept


@dataclass
class Till:
    """Runs requests one at a time, and keeps the account."""

    service: Service
    journal: Journal
    limit_seconds: float  # what this client may spend in the whole run
    queue_seconds: float  # a job that has not started by then pauses the run
    keys: set[str] = field(default_factory=set)  # what was asked for through this till

    def run(self, request: Request) -> Arrays:
        """The request's arrays: stored ones, those of the job that is under way, or those of a new job."""
        with self.journal.lock:
            self.keys.add(request.key)
            entry = self.journal.entries().get(request.key)
            if entry and entry.state == "done" and (kept := self.journal.kept(request.key)) is not None:
                return kept
            failures = 0
            while True:
                job = self._adopted(request, entry) or self._submitted(request)
                if (status := self._ended(job)) == "DONE":
                    break
                self._failed(request, job, status, final=failures == RETRIES)
                entry, failures = None, failures + 1
            with asking(f"fetch the result of job {job.job_id()}"):
                arrays = request.read(job.result())
            self.journal.keep(request.key, arrays)
            self.journal.write("done", key=request.key)
            self._settle()
            return arrays

    def spent(self) -> float:
        """QPU seconds of what was asked for through this till, paid now or earlier."""
        entries = self.journal.entries()
        return sum(entries[key].charged + entries[key].reserved for key in self.keys if key in entries)

    def _adopted(self, request: Request, entry: Entry | None) -> Job | None:
        """The job of this request that already exists."""
        if entry and entry.job and entry.state != "failed":
            with asking(f"look up job {entry.job}"):
                job = self.service.find(entry.job)
            if job is None and self.service.costs:
                raise HardwareError(
                    f"IBM does not know job {entry.job}, which this run has submitted: use the account that did"
                )
            return job
        with asking("look for a job of this run"):
            jobs = [job for job in self.service.tagged(request.key) if word(job.status()) not in ("CANCELLED", "ERROR")]
        if not jobs:
            return None
        if entry is None or entry.state == "failed":
            self.journal.write("intent", key=request.key, seconds=request.seconds)
        self.journal.write("submitted", key=request.key, job=jobs[0].job_id())
        log.info("adopted job %s, submitted before", jobs[0].job_id())
        return jobs[0]

    def _submitted(self, request: Request) -> Job:
        """A new job; its price is reserved before, its id is on disk at once."""
        options = request.options
        if self.service.costs:
            options = options | {"max_execution_time": self._time_limit(request)}
        self.journal.write("intent", key=request.key, seconds=request.seconds if self.service.costs else 0.0)
        with asking("submit a job"):
            job = self.service.submit(request.backend, request.pubs, options)
        self.journal.write("submitted", key=request.key, job=job.job_id())
        return job

    def _time_limit(self, request: Request) -> int:
        """Whole QPU seconds after which the service ends the job; raises when it may not start at all."""
        self._settle()
        entries = self.journal.entries()
        own = entries[request.key].reserved if request.key in entries else 0.0
        spent = self.journal.spent() - own
        left = floor(self.limit_seconds - spent)
        if spent + request.seconds > STOP_AT * self.limit_seconds or ceil(request.seconds) > left:
            raise HardwareError(
                f"{spent:.1f} of this client's {self.limit_seconds:.1f} QPU seconds are used and the next job needs "
                f"{request.seconds:.1f}; no job starts beyond {STOP_AT:.0%}. Give the run a larger --spend: what was "
                f"paid for is kept"
            )
        with asking("read what remains"):
            remaining = self.service.remaining()
        if request.seconds > remaining:
            raise HardwareError(
                f"the next job needs {request.seconds:.1f} QPU seconds and IBM says that {remaining:.1f} remain in "
                f"this instance: wait until it has more, and resume"
            )
        return min(ceil(TIME_LIMIT * request.seconds), left)

    def _ended(self, job: Job) -> str:
        """How the job ended; a job that does not start in time stays queued."""
        began, pause = time.monotonic(), FIRST_POLL_SECONDS
        while True:
            with asking(f"follow job {job.job_id()}, which goes on; resuming the run adopts it,"):
                status = word(job.status())
            if status in FINAL:
                return status
            if status != "RUNNING" and time.monotonic() - began > self.queue_seconds:
                raise HardwareError(
                    f"IBM job {job.job_id()} still queued after {self.queue_seconds:.0f} s. It stays queued: resuming "
                    f"the run adopts it"
                )
            time.sleep(pause)
            pause = min(LONGEST_POLL_SECONDS, 1.5 * pause)

    def _failed(self, request: Request, job: Job, status: str, *, final: bool) -> None:
        """Note what the failure cost; raises unless the system is to blame and there are attempts left."""
        with asking(f"read why job {job.job_id()} failed"):
            reason = "it was cancelled" if status == "CANCELLED" else " ".join((job.error_message() or "").split())
            seconds = charge(job)
        code = re.search(r"[Ee]rror code (\d+)", reason)
        systems = status == "ERROR" and code is not None and int(code[1]) in SYSTEM_ERRORS
        if seconds is None:  # not known yet
            seconds = 0.0 if systems or not self.service.costs else request.seconds
        self.journal.write("failed", key=request.key, job=job.job_id(), seconds=seconds, reason=reason)
        if not systems:
            raise HardwareError(f"IBM job {job.job_id()} failed and is not tried again: {reason}")
        if final:
            raise HardwareError(f"IBM failed {RETRIES + 1} jobs of one request, the last with: {reason}. Resume later")
        log.warning("IBM failed job %s, trying again: %s", job.job_id(), reason)

    def _settle(self) -> None:
        """Replace reservations by charges, of what is done and whose charge is known."""
        for key, entry in self.journal.entries().items():
            if entry.state == "done" and entry.reserved:
                with asking(f"read what job {entry.job} cost"):
                    job = self.service.find(entry.job)
                    seconds = charge(job) if job else None
                if seconds is not None:
                    self.journal.write("settled", key=key, seconds=seconds)


def word(status: Any) -> str:
    """A job's status as a word; jobs of fake devices have an enumeration."""
    return str(getattr(status, "name", status))


def charge(job: Job) -> float | None:
    """QPU seconds that a job was charged, or None while the service has not settled it."""
    usage = job.metrics().get("usage", {})
    if usage.get("status", "pending") == "pending":
        return None
    return float(usage["qpu_charge_time_seconds"])


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Whatever the service answers with, other than an answer, in one line."""
    try:
        yield
    except (HardwareError, InputError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300] or "no reason given"
        raise HardwareError(f"cannot {what} ({type(error).__name__}: {said})") from error
