"""The executors `ibm:` and `ibm-local:`: a batch is one job of IBM's sampler, on a QPU or on a fake device.

Both run the same code; only the service behind it differs. Rows are one broadcast PUB; a circuit is transpiled once.
Mitigation is ours, because the sampler has none: two more rows of the same job prepare |0…0⟩ and |1…1⟩ on the qubits
that are read, so every job is corrected with the read-out errors of its own minute.

B rows, P parameters, Q qubits, D = 2^Q basis states.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from quantum.account import Fakes, cloud
from quantum.backends import columns, once
from quantum.devices import cache_key, measured
from quantum.executor import CheckedExecutor, Floats
from quantum.journal import Journal
from quantum.mitigation import mitigated
from quantum.paid import Arrays, HardwareError, Request, Service, Till, asking
from quantum.price import CIRCUIT_SECONDS, REP_DELAY_SECONDS, executions, seconds
from recipes.schema import HardwareConfig

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say


@dataclass(frozen=True, kw_only=True)
class Site:
    """Which client's visit a job belongs to, where its jobs are written down, and what they may cost."""

    folder: Path  # of this client's jobs in this run
    visit: str  # run, client and round: part of every job's name
    spend_seconds: float = 0.0  # QPU seconds this client may use in the whole run
    hardware: HardwareConfig = field(default_factory=HardwareConfig)


class Sampled:
    """Frequencies of a circuit's outcomes, one job a call; calls are numbered from the start of a visit."""

    def __init__(
        self, till: Till, backend: Callable[[int], Any], site: Site, shots: int, seed: int, mitigate: bool
    ) -> None:
        self.till, self.backend, self.site = till, backend, site
        self.shots, self.seed, self.mitigate = shots, seed, mitigate
        self.calls = 0

    def __call__(self, circuit: QuantumCircuit, rows_BP: Floats) -> Floats:
        """(B, D)"""
        arrays = self.till.run(self._request(circuit, rows_BP))
        self.calls += 1
        frequencies_BD = shares(arrays["counts"])
        if not self.mitigate:
            return frequencies_BD
        return mitigated(frequencies_BD, confusion(shares(arrays["calibration"])))

    def _request(self, circuit: QuantumCircuit, rows_BP: Floats) -> Request:
        """The job of this call: its name, what it runs and what it costs."""
        hardware = self.site.hardware
        backend = self.backend(circuit.num_qubits)
        name = cache_key(circuit)
        isa, calibration = transpiler(backend)(circuit)
        values_BP = rows_BP[:, columns(isa, circuit)] if circuit.parameters else np.zeros((len(rows_BP), 1))
        pubs: list[Any] = [(isa, values_BP)]
        if self.mitigate:
            pubs.append((calibration, np.array([[0.0], [np.pi]])))
        runs = executions(len(rows_BP), self.shots, twirled=hardware.twirling != "none", calibrated=self.mitigate)
        values = hashlib.sha256(rows_BP.astype("<f8").tobytes()).hexdigest()
        facts = [self.site.visit, self.calls, name, values, rows_BP.shape, self.shots, backend.name, self.mitigate]
        facts += [hardware.decoupling, hardware.twirling]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        options = options_of(hardware, self.shots, key)
        if not self.till.service.costs:
            draws = stream(self.seed, "shots", self.calls)
            options["simulator"] = {"seed_simulator": int(draws.integers(2**31))}
        rep_delay = getattr(backend, "default_rep_delay", None) or REP_DELAY_SECONDS
        circuit_seconds = max(CIRCUIT_SECONDS, isa.estimate_duration(backend.target))
        price = seconds(1, runs, rep_delay=rep_delay, circuit=circuit_seconds)
        return Request(key, backend, pubs, options, price, partial(counted, circuit.num_qubits, len(rows_BP)))


def on_qpu(backend: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> CheckedExecutor:
    """`ibm:<backend>`, within what the site may spend; the backend that a client begins on, it stays on."""
    if site is None or site.spend_seconds <= 0:
        raise HardwareError(
            "this client may spend no QPU seconds: start the run with --spend SECONDS, and on nodes of your own the "
            "SuperNode with QFLOCK_SPEND=SECONDS in its environment"
        )
    return through(cloud(batch=site.hardware.mode == "batch"), f"ibm:{backend}", shots, seed, mitigate, site)


def on_fake(device: str, shots: int, seed: int, mitigate: bool, site: Site | None) -> CheckedExecutor:
    """`ibm-local:<fake device>`; without a site its jobs are forgotten at `close`."""
    service = Fakes(batch=site is not None and site.hardware.mode == "batch")
    service.backend(device, 1)  # a name that does not exist is known before any work
    if site is not None:
        return through(service, f"ibm-local:{device}", shots, seed, mitigate, site)
    folder = TemporaryDirectory(prefix="qflock-jobs-")
    site = Site(folder=Path(folder.name), visit="")
    return through(service, f"ibm-local:{device}", shots, seed, mitigate, site, folder.cleanup)


def through(
    service: Service,
    name: str,
    shots: int,
    seed: int,
    mitigate: bool,
    site: Site,
    cleanup: Callable[[], None] = lambda: None,
) -> CheckedExecutor:
    """The executor of one visit over a service."""
    journal = Journal(site.folder)
    till = Till(service, journal, site.spend_seconds, site.hardware.queue_seconds)

    @cache
    def backend(n_qubits: int) -> Any:
        with asking("reach the backend"):
            chosen = service.backend(journal.backend() or name.partition(":")[2], n_qubits)
        if not journal.backend():
            journal.write("backend", name=chosen.name)
        return chosen

    def close() -> None:
        service.close()
        if service.costs:
            used = f"{till.spent():.1f} QPU seconds, {journal.spent():.1f} of {site.spend_seconds:.1f} so far"
            log.info("%s: %d jobs, %s", site.visit, len(till.keys), used)
        cleanup()

    return CheckedExecutor(name, shots, Sampled(till, backend, site, shots, seed, mitigate), close)


@lru_cache(maxsize=4)
def transpiler(backend: Any) -> Callable[[QuantumCircuit], tuple[QuantumCircuit, QuantumCircuit]]:
    """`transpiled` for one backend, once a circuit."""
    return once(lambda circuit: transpiled(circuit, backend))


def transpiled(circuit: QuantumCircuit, backend: Any) -> tuple[QuantumCircuit, QuantumCircuit]:
    """The circuit in the backend's gates, measured; and RX(t) on the qubits that it ends on: t = 0 and π calibrate."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter
    from qiskit.transpiler import generate_preset_pass_manager

    best = generate_preset_pass_manager(optimization_level=3, backend=backend, seed_transpiler=0)
    isa = best.run(measured(circuit))
    ends = isa.layout.final_index_layout()
    if not circuit.parameters:  # rows need one to be counted by, and RZ does nothing to |0⟩
        counter = isa.copy_empty_like()
        counter.rz(Parameter("row"), ends[0])
        isa = counter.compose(isa)
    flip = QuantumCircuit(circuit.num_qubits)
    flip.rx(Parameter("t"), range(circuit.num_qubits))
    flip.measure_all()
    place = generate_preset_pass_manager(optimization_level=1, backend=backend, initial_layout=ends, seed_transpiler=0)
    return isa, place.run(flip)


def options_of(hardware: HardwareConfig, shots: int, key: str) -> dict[str, Any]:
    """The sampler's options; everything that is not said is off."""
    options: dict[str, Any] = {"default_shots": shots, "environment": {"job_tags": ["qflock", key]}}
    if hardware.decoupling != "none":
        options["dynamical_decoupling"] = {"enable": True, "sequence_type": hardware.decoupling}
    if hardware.twirling != "none":
        options["twirling"] = {
            "enable_gates": hardware.twirling in ("gates", "both"),
            "enable_measure": hardware.twirling in ("measure", "both"),
        }
    return options


def counted(n_qubits: int, rows: int, result: Any) -> Arrays:
    """(B, D) counts of the rows, and (2, D) of the calibration where there is one."""
    counts = np.concatenate([counts_of(pub.data.meas, n_qubits) for pub in result])
    return {"counts": counts[:rows], "calibration": counts[rows:]}


def counts_of(bits: Any, n_qubits: int) -> NDArray[np.uint32]:
    """(B, D) counts out of Qiskit's packed bits, whose last byte holds qubits 7…0."""
    packed = bits.array.reshape(-1, *bits.array.shape[-2:]).astype(np.int64)
    states_BS = sum(packed[..., -1 - place] << (8 * place) for place in range(packed.shape[-1]))
    rows, size = len(packed), 2**n_qubits
    flat = (states_BS + size * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * size).reshape(rows, size).astype(np.uint32)


def shares(counts_BD: NDArray[Any]) -> Floats:
    """Frequencies; the sampler may take more shots than were asked for."""
    totals: Floats = counts_BD.sum(axis=1, keepdims=True, dtype=np.float64)
    return counts_BD / totals


def confusion(calibration_2D: Floats) -> Floats:
    """(Q, 2, 2) M_q[read, held], from what was read where |0…0⟩ and |1…1⟩ were held."""
    n_qubits = calibration_2D.shape[1].bit_length() - 1
    states = np.arange(calibration_2D.shape[1])
    ones_2Q = np.stack([calibration_2D @ (states >> qubit & 1) for qubit in range(n_qubits)], axis=1)
    return np.stack([1 - ones_2Q.T, ones_2Q.T], axis=1)
