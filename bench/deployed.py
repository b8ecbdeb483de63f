"""One trained student of QD-LLM on every kind of executor: `python -m bench.deployed RUN…`, one run a seed.

Accuracy on the test rows of all clients: exact, with shots, and on fake devices with the noise of their calibration,
with and without read-out mitigation. On a device ⟨Z⟩ of every row is computed exactly, noise included, and shots are
then drawn qubit by qubit: each ⟨Z⟩ has the law of so many shots, and that a shot reads all qubits at once is left out.
What is expected to take longer than LONGEST is refused with the estimate. Read-out errors are undone qubit by qubit, as
a line of ⟨Z⟩; `qflock predict --mitigate` seeks the nearest probabilities of all outcomes, which draws ⟨Z⟩ about 2%
nearer to 0. Test rows choose nothing here.
"""

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.table import Table

from bench.machine import facts, wide_console
from data.corpus import load as load_corpus
from data.split import deal
from data.streams import stream
from data.whole import write_whole
from quantum.backends import devices
from quantum.dressed import Dressed
from quantum.executor import Floats, executor
from quantum.heisenberg import back
from quantum.mitigation import corrected, misread
from quantum.threads import limit_threads
from recipes.section import InputError
from server.noise import spoken
from server.statistics import estimate
from server.sweep import runs_in
from server.trained import Trained, trained
from strategies.classes import macro

RESULTS = Path(__file__).parent / "results" / "qdllm-deployed.json"
DEVICES = ("kolkata", "brisbane", "torino")  # Falcon, Eagle and Heron: three generations
SHOTS = 10240  # of the paper
PAPER = (0.6785, 0.7375)  # its accuracies on a superconducting chip, arXiv:2505.13205; on its own data
LONGEST = 1800.0  # seconds on all devices
TRIED = 8  # qubits of the observable that is timed
AT_ONCE = 256  # rows whose probabilities are held together

Results = dict[str, Any]
Rows = dict[str, Any]  # executor → what it measured


def main() -> None:
    """Measure every run, print the table, write the results file and the figure beside it."""
    asked = argparse.ArgumentParser(prog="bench.deployed", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="of several seeds, or a sweep")
    asked.add_argument("--devices", nargs="+", default=list(DEVICES), help="fake devices")
    asked.add_argument("--shots", type=int, default=SHOTS)
    asked.add_argument("--rows", type=int, default=0, help="most test rows; 0 is all")
    asked.add_argument("--go-on", action="store_true", help="however long it takes")
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    limit_threads(1)
    results = measure(runs_in(said.runs), said.devices, said.shots, said.rows, go_on=said.go_on)
    said.results.parent.mkdir(parents=True, exist_ok=True)
    write_whole(said.results, (json.dumps(results, indent=1) + "\n").encode())
    draw(results, said.results.with_suffix(".png"))
    wide_console().print(table(results), note(results))


def measure(folders: Sequence[Path], names: Sequence[str], shots: int, most: int, *, go_on: bool = False) -> Results:
    """Every run on every executor."""
    runs = [trained(folder) for folder in folders]
    digests = {replace(run.recipe, seed=0).digest() for run in runs}
    if len(digests) > 1 or len({run.recipe.seed for run in runs}) < len(runs):
        raise InputError("the runs must be of one recipe and of different seeds")
    for folder, run in zip(folders, runs, strict=True):
        if not isinstance(run.arms["student"], Dressed):
            kind = run.recipe.student.kind
            raise InputError(f"{folder} trained a {kind}; only a layered student is read by ⟨Z⟩ between dense layers")
    found = [one(run, names, shots, most, go_on=go_on) for run in runs]
    return {
        "schema": 1,
        **facts(("qiskit", "qiskit-aer", "qiskit-ibm-runtime")),
        "recipe": runs[0].recipe.name,
        "clients": runs[0].recipe.clients,
        "seeds": [run.recipe.seed for run in runs],
        "shots": shots,
        "test_rows": found[0][0],
        "executors": {name: [rows[name] for _, rows in found] for name in found[0][1]},
    }


def one(run: Trained, names: Sequence[str], shots: int, most: int, *, go_on: bool = False) -> tuple[int, Rows]:
    """How many test rows, and what every executor makes of them."""
    student, arrays = run.arms["student"], run.state.arms["student"].arrays
    assert isinstance(student, Dressed)
    corpus = load_corpus(run.recipe.data, run.recipe.seed)
    shares = deal(corpus, run.recipe.data, run.recipe.clients, run.recipe.seed).shares
    labels = np.concatenate([share.test.labels for share in shares])[: most or None]
    texts = [text for share in shares for text in share.test.texts][: most or None]
    circuit = student.ansatz.circuit
    rows = student.ansatz.rows(student.angles(arrays, run.columns(texts)), arrays["theta"].astype(np.float64)[None])
    on = {name: devices(name)(circuit) for name in names}
    needed = {name: device.work(rows) / speed() for name, device in on.items()}
    if sum(needed.values()) > LONGEST and not go_on:
        said = ", ".join(f"{name} {spoken(seconds)}" for name, seconds in needed.items())
        raise InputError(
            f"this would take {spoken(sum(needed.values()))} ({said}): name fewer --devices or add --go-on"
        )
    draws = stream(run.recipe.seed, "shots")
    found: Rows = {}

    def add(name: str, z_BQ: Floats, began: float) -> None:
        said = student.answer(arrays, z_BQ).argmax(1)
        matrix = np.zeros((len(run.classes), len(run.classes)), int)
        np.add.at(matrix, (labels, said), 1)
        found[name] = {
            "accuracy": float((said == labels).mean()),
            **macro(matrix.tolist()),
            "apart": float(np.abs(z_BQ - exact_BQ).mean()),
            "seconds": time.perf_counter() - began,
        }

    began = time.perf_counter()
    exact_BQ = expected("exact", student, rows, shots, run.recipe.seed)
    add("exact", exact_BQ, began)
    began = time.perf_counter()
    add(f"{shots:,} shots", expected("shots", student, rows, shots, run.recipe.seed), began)
    for name, device in on.items():
        began = time.perf_counter()
        raised = (1 + misread(device.z_values(rows), device.confusion)) / 2
        read_BQ = 2 * draws.binomial(shots, np.clip(raised, 0, 1)) / shots - 1
        add(name, read_BQ, began)
        add(f"{name}, mitigated", corrected(read_BQ, device.confusion), began)
    return len(labels), found


def expected(spec: str, student: Dressed, rows_BP: Floats, shots: int, seed: int) -> Floats:
    """(B, Q) ⟨Z⟩ by an executor that knows all probabilities of a row."""
    n = student.config.qubits
    signs = np.array([[1.0 - 2 * (state >> qubit & 1) for qubit in range(n)] for state in range(2**n)])
    with closing(executor(spec, shots=shots, seed=seed)) as run:
        parts = (rows_BP[at : at + AT_ONCE] for at in range(0, len(rows_BP), AT_ONCE))
        return np.concatenate([run.probabilities(student.ansatz.circuit, part) @ signs for part in parts])


def speed() -> float:
    """Numbers of an observable that this machine moves in a second."""
    gates = 4 * [(np.eye(16), (0, qubit)) for qubit in range(1, TRIED)]
    sizes = [*range(2, TRIED + 1)] + [TRIED] * 3 * (TRIED - 1)
    back(gates, 0)
    began = time.perf_counter()
    back(gates, 0)
    return float(sum(4**size for size in sizes)) / (time.perf_counter() - began)


def table(results: Results) -> Table:
    """One row an executor: means over the runs."""
    drawn = Table(title=f"{results['recipe']}, {results['test_rows']:,} test rows", title_justify="left")
    for name in ("executor", "accuracy", "95% interval", "macro F1", "lost, points", "⟨Z⟩ from exact", "seconds"):
        drawn.add_column(name, justify="left" if name == "executor" else "right")
    exact = fmean(one["accuracy"] for one in results["executors"]["exact"])
    for name, runs in results["executors"].items():
        found = estimate([one["accuracy"] for one in runs])
        between = f"{100 * found.interval[0]:.1f} to {found.interval[1]:.1%}" if found.interval else ""
        means = {key: fmean(one[key] for one in runs) for key in ("f1", "apart", "seconds")}
        drawn.add_row(
            *(name, f"{found.mean:.1%}", between, f"{means['f1']:.3f}", f"{100 * (exact - found.mean):.1f}"),
            *(f"{means['apart']:.3f}", f"{means['seconds']:.1f}"),
        )
    return drawn


def note(results: Results) -> str:
    """What a row is, and how far the paper's is from it."""
    low, high = PAPER
    clients = results["clients"]
    where = "one place" if clients == 1 else f"{clients} clients"
    return (
        f"Students trained in {where}, seeds {', '.join(map(str, results['seeds']))}; fake devices have the noise of "
        f"IBM's calibrations, drawn as {results['shots']:,} shots of every qubit, and the student was trained without "
        f"any. The paper's chip reached {low:.2%} to {high:.2%} on its own data. qflock {results['commit']}."
    )


def draw(results: Results, path: Path) -> None:
    """Accuracy per executor, with its interval, above the band of the paper's device."""
    from matplotlib.figure import Figure

    names = list(results["executors"])
    found = [estimate([one["accuracy"] for one in results["executors"][name]]) for name in names]
    around = [[e.mean - e.interval[0], e.interval[1] - e.mean] if e.interval else [0, 0] for e in found]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar(names, [100 * e.mean for e in found], yerr=100 * np.array(around).T, color="#7b5fb8", capsize=3)
    axes.axhspan(100 * PAPER[0], 100 * PAPER[1], color="#999999", alpha=0.3, label="the paper's device, its own data")
    axes.set(ylabel="test accuracy, %", ylim=(0, 100))
    clients = f"{results['clients']} client{'s' * (results['clients'] > 1)}"
    axes.set_title(
        f"{results['recipe']}, {clients}, {results['shots']:,} shots, {len(results['seeds'])} seeds", fontsize=10
    )
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.legend(loc="lower left", framealpha=1)
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
