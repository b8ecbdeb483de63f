"""What stands behind the executors `aer`, `noisy` and `depolarizing`.

Where probabilities can be known, shots are drawn from them: a density matrix costs the same for any number of shots.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from data.streams import stream
from quantum.density import Channel, depolarizing_transfer
from quantum.devices import cache_key, fake_device, known, placed
from quantum.executor import MOST_BYTES, CheckedExecutor, Executor, Floats, Run, drawn, fits
from quantum.heisenberg import work, z_values
from quantum.mitigation import confused, mitigated
from recipes.executor import split_executor

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

log = logging.getLogger(__name__)

Made = TypeVar("Made")

# Aer 0.18 binds the parameters of cp, crx, cry and crz to wrong values (qiskit-aer issues 2391 and 2403)
BINDABLE = ["u", "p", "rx", "ry", "rz", "rxx", "ryy", "rzz", "h", "x", "sx", "cx", "cz", "swap", "ccx"]
TOGETHER = 100  # trajectories of one call of Aer, which hears no signal meanwhile: of 13 qubits they take seconds
WIDEST_DENSITY = 11  # qubits, 32 MiB a row: beyond, trajectories are smaller and, of few shots, faster


def aer(shots: int, seed: int) -> Executor:
    """Qiskit Aer's state vector, one call a batch."""
    return CheckedExecutor("aer", shots, simulated(bindable, shots, seed, broadcast=True, together=shots))


def noisy(device: str, shots: int, seed: int, mitigate: bool) -> Executor:
    """Shots of a fake device, its gates and its read-out as noisy as its calibration says."""
    if not known(device):
        fake_device(device)  # refuses a name that is none before anything is run
    on_device = devices(device)
    run = drawn(lambda circuit, rows: on_device(circuit).probabilities(rows), shots, seed)

    def corrected(circuit: QuantumCircuit, rows_BP: Floats) -> Floats:
        return mitigated(run(circuit, rows_BP), on_device(circuit).confusion)

    return CheckedExecutor(f"noisy:{device}", shots, corrected if mitigate else run)


def depolarizing(p: float, shots: int, seed: int) -> Executor:
    """ρ → (1−p)·ρ + p·Tr_k(ρ)⊗I/2^k on the k qubits of every gate, after it, in the circuit as it is written.

    Read-out is perfect. By density matrices, or by Aer's state vector and a trajectory a shot where these are cheaper.
    """
    channel = depolarized(p)
    whole = drawn(lambda circuit, rows: channel(circuit).run(rows), shots, seed)
    each = simulated(trajectories(p), shots, seed, broadcast=False, together=TOGETHER)

    def run(circuit: QuantumCircuit, rows_BP: Floats) -> Floats:
        return (each if by_trajectories(circuit.num_qubits, shots) else whole)(circuit, rows_BP)

    return CheckedExecutor(f"depolarizing:{p:g}", shots, run)


def by_trajectories(n: int, shots: int) -> bool:
    """Whether a trajectory a shot is cheaper than a density matrix, which costs about 2^(n−1), or alone fits."""
    return n > WIDEST_DENSITY and (shots <= 2 ** (n - 1) or density_bytes(n) > MOST_BYTES)


def density_bytes(n: int) -> int:
    """Of a density matrix of n qubits, and of what a gate makes of it."""
    return 3 * 8 << 2 * n


def method(spec: str, circuit: QuantumCircuit, shots: int) -> str:
    """How a noisy executor runs this circuit, in words; what is set up once a circuit is then set up."""
    kind, argument = split_executor(spec)
    if kind == "noisy":
        return devices(argument)(circuit).method
    how = "a trajectory a shot" if by_trajectories(circuit.num_qubits, shots) else "density matrix"
    return f"{how}; trajectories above {WIDEST_DENSITY} qubits where shots are few"


class OnDevice:
    """A circuit placed on a fake device: rows → probabilities of what is read."""

    def __init__(self, circuit: QuantumCircuit, device: str) -> None:
        on = placed(circuit, device)
        width = on.circuit.num_qubits
        fits(density_bytes(width), f"noisy:{device}: density matrices of {width} qubits")
        self.confusion = on.confusion
        self._columns = columns(on.circuit, circuit)
        self._channel = Channel(on.circuit, lambda name, qubits: on.errors.get((name, qubits)), on.measured)
        where, gates = ", ".join(map(str, on.qubits)), on.circuit.num_nonlocal_gates()
        self.method = f"density matrix of qubits {where} of {device}, {gates} two-qubit gates"
        log.info("noisy:%s: %s", device, self.method)

    def probabilities(self, rows_BP: Floats) -> Floats:
        """(B, D)"""
        return confused(self._channel.run(rows_BP[:, self._columns]), self.confusion)

    def z_values(self, rows_BP: Floats) -> Floats:
        """(B, Q) ⟨Z⟩ of every qubit before it is read, of rows that differ in the first rotations only."""
        return z_values(self._channel, rows_BP[:, self._columns])

    def work(self, rows_BP: Floats) -> float:
        """Numbers that `z_values` moves, for any count of rows."""
        return work(self._channel, rows_BP[:, self._columns])


def once(make: Callable[[QuantumCircuit], Made]) -> Callable[[QuantumCircuit], Made]:
    """`make`, called once for each circuit and process."""
    kept: dict[str, Made] = {}

    def get(circuit: QuantumCircuit) -> Made:
        key = cache_key(circuit)
        if key not in kept:
            kept[key] = make(circuit)
        return kept[key]

    return get


@cache
def devices(device: str) -> Callable[[QuantumCircuit], OnDevice]:
    """Circuits on one device."""
    return once(lambda circuit: OnDevice(circuit, device))


@cache
def depolarized(p: float) -> Callable[[QuantumCircuit], Channel]:
    """Circuits with depolarizing noise, as density matrices."""
    return once(
        lambda circuit: Channel(
            circuit, lambda name, qubits: depolarizing_transfer(p, len(qubits)), range(circuit.num_qubits)
        )
    )


@cache
def trajectories(p: float) -> Callable[[QuantumCircuit], QuantumCircuit]:
    """Circuits with depolarizing noise, one trajectory a shot."""
    return once(lambda circuit: with_errors(circuit, p))


def with_errors(circuit: QuantumCircuit, p: float) -> QuantumCircuit:
    """The circuit, measured, with a depolarizing error after every gate."""
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import depolarizing_error

    known_gates = {"barrier", *AerSimulator().target.operation_names}
    if unknown := sorted({item.operation.name for item in circuit.data} - known_gates):
        raise ValueError(
            f"trajectories know no gate {unknown[0]}; write it in Aer's gates, or use at most {WIDEST_DENSITY} qubits"
        )
    log.info("depolarizing:%g: a trajectory a shot", p)
    erring = circuit.copy_empty_like()
    for item in circuit.data:
        erring.append(item)
        if item.operation.name != "barrier":
            erring.append(depolarizing_error(p, len(item.qubits)), item.qubits)
    return erring.measure_all(inplace=False)


@once
def bindable(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit, measured, in gates whose parameters Aer binds rightly."""
    from qiskit import transpile

    return transpile(circuit.measure_all(inplace=False), basis_gates=BINDABLE, optimization_level=1, seed_transpiler=0)


def simulated(
    prepared: Callable[[QuantumCircuit], QuantumCircuit],
    shots: int,
    seed: int,
    *,
    broadcast: bool,
    together: int,
) -> Run:
    """Aer's own shots, at most so many `together` in a call: its rows are broadcast by Aer or bound here."""
    draws = stream(seed, "shots")

    def run(circuit: QuantumCircuit, rows_BP: Floats) -> Floats:
        from qiskit_aer import AerSimulator

        ready = prepared(circuit)
        rows = rows_BP[:, columns(ready, circuit)]
        work: dict[str, Any]
        if broadcast and ready.parameters:
            work = {"circuits": ready, "parameter_binds": [dict(zip(ready.parameters, rows.T.tolist(), strict=True))]}
        else:
            work = {"circuits": [ready.assign_parameters(row) for row in rows.tolist()]}
        counts = np.zeros((len(rows), 2**circuit.num_qubits))
        for begin in range(0, shots, together):
            part, call_seed = min(together, shots - begin), int(draws.integers(2**31))
            result = AerSimulator(method="statevector").run(**work, shots=part, seed_simulator=call_seed).result()
            if not result.success:
                raise RuntimeError(f"Aer failed: {result.status}")
            for row, one in enumerate(result.results):
                for state, count in one.data.counts.items():
                    counts[row, int(state, 16)] += count
        frequencies: Floats = counts / shots
        return frequencies

    return run


def columns(compiled: QuantumCircuit, circuit: QuantumCircuit) -> list[int]:
    """Where the parameters of a compiled circuit, which may have lost some, stand among those it was compiled from."""
    names = [parameter.name for parameter in circuit.parameters]
    return [names.index(parameter.name) for parameter in compiled.parameters]
