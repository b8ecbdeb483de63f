"""A batch of shots on a noisy 127-qubit device, ours beside Qiskit Aer's: `python -m bench.noisy`.

Same circuit, placed alike, same rows and shots, one thread, both set up before. Aer has the whole device's noise model,
and one call for the batch. Both take turns; a time is the median of its turns.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from math import log
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import facts, load, wide_console
from bench.peer import ONE_THREAD
from quantum.devices import fake_device
from quantum.executor import executor
from quantum.vqc import vqc

RESULTS = Path(__file__).parent / "results" / "noisy.json"
DEVICE, QUBITS, REPS, ROWS, SHOTS, TURNS = "brisbane", 4, 3, 80, 1024, 5
RISK = 1e-6  # that equal laws are called different

Results = dict[str, Any]
Run = Callable[[NDArray[Any]], NDArray[Any]]  # rows → frequencies


def main() -> None:
    """Measure, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.noisy", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--turns", type=int, default=TURNS)
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    os.environ.update(ONE_THREAD)  # Aer is loaded later
    with TemporaryDirectory() as folder:
        os.environ["QFLOCK_CACHE"] = folder  # so that our set-up is timed whole
        results = measure(said.turns)
    said.results.parent.mkdir(parents=True, exist_ok=True)
    said.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wide_console().print(table(results))


def measure(turns: int) -> Results:
    """Every feature map."""
    work = {"device": DEVICE, "qubits": QUBITS, "reps": REPS, "rows": ROWS, "shots": SHOTS, "turns": turns}
    head = {"schema": 1, **facts(("qiskit", "qiskit-aer", "qiskit-ibm-runtime"))}
    return {**head, "work": work, "cells": [cell(name, turns) for name in ("ry", "zz")]}


def cell(feature_map: str, turns: int) -> dict[str, Any]:
    """One feature map: set-up and a batch of either side, and whether both draw from the same probabilities."""
    circuit = vqc(QUBITS, feature_map, 1.0, REPS, "reverse_linear").circuit
    draw = np.random.default_rng(0)
    rows = draw.uniform(-np.pi, np.pi, (ROWS, circuit.num_parameters))
    for column, parameter in enumerate(circuit.parameters):
        if not parameter.name.startswith("x"):
            rows[:, column] = rows[0, column]  # weights are the same in every row
    sides: dict[str, Run] = {}
    setup = {}
    for name, make in {"ours": ours, "aer": aer}.items():
        began = time.perf_counter()
        sides[name] = make(circuit)
        sides[name](rows)
        setup[name] = round(time.perf_counter() - began, 3)
    runs: dict[str, list[float]] = {name: [] for name in sides}
    sums = {name: np.zeros((ROWS, 2**QUBITS)) for name in sides}
    for turn in range(turns):
        for name in sides if turn % 2 == 0 else reversed(sides):
            began = time.perf_counter()
            sums[name] += sides[name](rows) / turns
            runs[name].append(time.perf_counter() - began)
    ours_ms, aer_ms = (1000 * median(runs[name]) for name in ("ours", "aer"))
    return {
        "feature_map": feature_map,
        "ours_ms": round(ours_ms, 2),
        "aer_ms": round(aer_ms, 1),
        "ratio": round(aer_ms / ours_ms, 1),
        "setup_seconds": setup,
        "agree": agree(sums["ours"], sums["aer"], turns * SHOTS),
        "load": load(),
        "runs": runs,
    }


def ours(circuit: Any) -> Run:
    """The executor `noisy:`."""
    run = executor(f"noisy:{DEVICE}", shots=SHOTS, seed=0)
    return lambda rows: run.probabilities(circuit, rows)


def aer(circuit: Any) -> Run:
    """Aer with the device's noise model, rows broadcast."""
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    device = fake_device(DEVICE)
    simulator = AerSimulator.from_backend(device)
    placed = transpile(circuit.measure_all(inplace=False), device, optimization_level=3, seed_transpiler=0)
    columns = [list(circuit.parameters).index(parameter) for parameter in placed.parameters]
    seeds = iter(range(1000))

    def run(rows: NDArray[Any]) -> NDArray[Any]:
        binds = dict(zip(placed.parameters, rows[:, columns].T.tolist(), strict=True))
        done = simulator.run(placed, parameter_binds=[binds], shots=SHOTS, seed_simulator=next(seeds)).result()
        found = np.zeros((len(rows), 2**QUBITS))
        for row, one in enumerate(done.results):
            for state, count in one.data.counts.items():
                found[row, int(state, 16)] = count / SHOTS
        return found

    return run


def agree(first: NDArray[Any], second: NDArray[Any], shots: int) -> bool:
    """Whether no frequency of one side is further from the other's than shots explain (Bernstein, over all cells)."""
    odds = log(4 * first.size / RISK)
    spread = np.sqrt(2 * np.maximum(first, second) * odds / shots) + odds / shots
    return bool((abs(first - second) <= 2 * spread).all())


def table(results: Results) -> Table:
    """One row a feature map."""
    work, machine = results["work"], results["machine"]
    title = "noisy:{device}, {rows} rows × {shots} shots of {qubits} qubits; median of {turns}".format(**work)
    where = f"{results['commit']} · {machine['cpu']} · {machine['cores']} cores · load {machine['load']}"
    drawn = Table(title=title, caption=where, title_justify="left", caption_justify="left")
    for name in ("map", "ours ms", "Aer ms", "ratio", "ours, first s", "Aer, first s", "same law"):
        drawn.add_column(name, justify="left" if name == "map" else "right", no_wrap=True)
    for c in results["cells"]:
        drawn.add_row(
            *(c["feature_map"], f"{c['ours_ms']:.1f}", f"{c['aer_ms']:.0f}", f"{c['ratio']:.0f}×"),
            *(f"{c['setup_seconds']['ours']:.2f}", f"{c['setup_seconds']['aer']:.2f}", "yes" if c["agree"] else "NO"),
        )
    return drawn


if __name__ == "__main__":
    main()
