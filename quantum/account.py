"""Where jobs run: an IBM account's instance, or the fake devices of qiskit-ibm-runtime in this process.

The account is a saved one (`QiskitRuntimeService.save_account`), or a token in a file that $QFLOCK_IBM_TOKEN_FILE
names: the token on the first line, the instance (its name or CRN) on the second. A token stands in no recipe, log or
ledger. A paid instance is used only when it is named; without a name, an Open one is.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from quantum.devices import fake_device
from quantum.paid import HardwareError, Job
from recipes.section import InputError

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

CHANNEL = "ibm_quantum_platform"
HOW = (
    "save one with QiskitRuntimeService.save_account(token=…, instance=…), or put the token and, on a second line, the "
    "instance in a file and name that file in QFLOCK_IBM_TOKEN_FILE"
)


class NoAccountError(HardwareError):
    """Nobody has saved one here."""


class Cloud:
    """One instance of an IBM account."""

    costs = True

    def __init__(self, service: Any, *, batch: bool) -> None:
        self.service, self.batch = service, batch
        self._open: Any = None  # the batch

    def backend(self, name: str, n_qubits: int) -> Any:
        """Raises InputError for a name that the instance does not have, with the names that it has."""
        from qiskit.providers.exceptions import QiskitBackendNotFoundError

        try:
            if name == "least-busy":
                return self.service.least_busy(min_num_qubits=n_qubits)
            return enough(self.service.backend(name), n_qubits)
        except QiskitBackendNotFoundError:
            names = ", ".join(sorted(backend.name for backend in self.service.backends())) or "no backend"
            raise InputError(f"executor is ibm:{name} for {n_qubits} qubits; this instance has {names}") from None

    def submit(self, backend: Any, pubs: list[Any], options: dict[str, Any]) -> Job:
        """In job mode, or in the batch that stays open until `close`."""
        from qiskit_ibm_runtime import Batch

        if self.batch and self._open is None:
            self._open = Batch(backend)
        return sampled(self._open or backend, pubs, options)

    def find(self, job_id: str) -> Job | None:
        """By id."""
        from qiskit_ibm_runtime.exceptions import RuntimeJobNotFound

        try:
            job: Job = self.service.job(job_id)
        except RuntimeJobNotFound:
            return None
        return job

    def tagged(self, tag: str) -> list[Job]:
        """Newest first."""
        return list(self.service.jobs(job_tags=[tag], limit=None))

    def remaining(self) -> float:
        """As the service says; the library itself only warns."""
        usage = self.service.usage()
        return 0.0 if usage.get("usage_limit_reached") else float(usage.get("usage_remaining_seconds", inf))

    def plan(self) -> str:
        """The instance in use and what it is billed as."""
        named = (self.service.active_account() or {}).get("instance")
        found = [one for one in self.service.instances() if named in (one["crn"], one["name"])]
        return f"instance {found[0]['name']}, plan {found[0]['plan']}" if found else f"instance {named}"

    def close(self) -> None:
        """Close the batch to new jobs; those in it still run."""
        if self._open is not None:
            self._open.close()
            self._open = None


class Fakes:
    """Fake devices: noise as calibrated once, no queue, no cost. Jobs end with this process."""

    costs = False

    def __init__(self, *, batch: bool) -> None:
        self.batch = batch

    def backend(self, name: str, n_qubits: int) -> Any:
        """By the device's name, with or without `fake_`."""
        return enough(device(name.removeprefix("fake_")), n_qubits)

    def submit(self, backend: Any, pubs: list[Any], options: dict[str, Any]) -> Job:
        """In a thread."""
        from qiskit_ibm_runtime import Batch

        return sampled(Batch(backend) if self.batch else backend, pubs, options)

    def find(self, job_id: str) -> Job | None:
        """None: a job ends with its process, and submitting it again costs nothing."""
        return None

    def tagged(self, tag: str) -> list[Job]:
        """None, as `find`."""
        return []

    def remaining(self) -> float:
        """No limit."""
        return inf

    def close(self) -> None:
        """Nothing is held."""


device = lru_cache(maxsize=4)(fake_device)  # making one reads its calibration


def sampled(mode: Any, pubs: list[Any], options: dict[str, Any]) -> Job:
    """A job of the current sampler; the one at the library's top level is deprecated."""
    from qiskit_ibm_runtime.executor_sampler import Sampler

    job: Job = Sampler(mode=mode, options=options).run(pubs)
    return job


def enough(backend: Any, n_qubits: int) -> Any:
    """The backend, when the circuit fits on it."""
    if backend.num_qubits < n_qubits:
        raise InputError(
            f"{backend.name} has {backend.num_qubits} qubits and the circuit needs {n_qubits}: name a larger device"
        )
    return backend


def cloud(*, batch: bool) -> Cloud:
    """The user's instance; raises HardwareError with what to do when there is none, or no way to it."""
    file = os.environ.get("QFLOCK_IBM_TOKEN_FILE")
    return Cloud(opened(Path(file) if file else None), batch=batch)


@lru_cache(maxsize=1)  # opening takes several requests
def opened(file: Path | None) -> Any:
    """The library's service, on one instance whose plan is known."""
    token, instance = read_token(file) if file else (None, None)
    service = service_of(token, instance)
    named = instance or (service.active_account() or {}).get("instance")
    instances = service.instances()
    if not named:
        free = [one for one in instances if one["plan"] == "open"]
        if not free:
            plans = ", ".join(f"{one['name']} ({one['plan']})" for one in instances) or "none at all"
            raise HardwareError(f"this IBM account has no Open instance. To use a paid one, name it: {plans}; {HOW}")
        named = free[0]["crn"]
        service = service_of(token, named)
    chosen = next((one for one in instances if named in (one["crn"], one["name"])), None)
    if chosen is None:
        raise HardwareError(
            f"this IBM account has no instance {named}; it has {', '.join(i['name'] for i in instances)}"
        )
    log.info("IBM instance %s, plan %s", chosen["name"], chosen["plan"])
    if chosen["plan"] != "open":
        log.warning(
            "IBM instance %s is on the plan %s: its QPU seconds are charged for", chosen["name"], chosen["plan"]
        )
    return service


def read_token(file: Path) -> tuple[str, str | None]:
    """(token, instance or None)"""
    try:
        lines = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise HardwareError(f"the token file {file} cannot be read ({type(error).__name__})") from None
    if not 1 <= len(lines) <= 2:
        raise HardwareError(f"the token file {file} has {len(lines)} words: write the token, and the instance below it")
    return lines[0], lines[1] if len(lines) == 2 else None


def service_of(token: str | None, instance: str | None) -> Any:
    """QiskitRuntimeService, with its errors in one line that never holds the token."""
    from qiskit_ibm_runtime import QiskitRuntimeService
    from qiskit_ibm_runtime.accounts import AccountNotFoundError

    try:
        return QiskitRuntimeService(channel=CHANNEL, token=token, instance=instance)
    except AccountNotFoundError:
        raise NoAccountError(f"no IBM account on this machine: {HOW}") from None
    except Exception as error:  # noqa: BLE001 - the library raises what its own libraries raise
        said = " ".join(str(error).split())[:300]
        said = said.replace(token, "…") if token else said
        raise HardwareError(
            f"IBM cannot be reached with this account ({type(error).__name__}: {said}): check the network and the token"
        ) from None
