"""One trained VQC, scored by every executor with nothing else changed: `python -m bench.executors`.

Trained by COBYLA on exact probabilities of training rows; scored on test rows, class 1 with probability (1 − ⟨Z…Z⟩)/2.
"""

import argparse
import json
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import facts, load, wide_console
from data.features import TfIdf
from data.synthetic import generate
from quantum.ansatz import Ansatz
from quantum.executor import Executor, executor
from quantum.guidance import cross_entropy
from quantum.reduction import TrainedReduction
from quantum.vqc import vqc

RESULTS = Path(__file__).parent / "results" / "executors.json"
QUBITS, REPS, BUCKETS, VISITS, EVALUATIONS = 4, 3, 256, 3, 80
TRAIN, TEST, SHOTS, SEED, TURNS = 300, 200, 1024, 0, 5
RUNS = (  # executor, whether read-out errors are undone
    ("exact", False),
    ("shots", False),
    ("aer", False),
    ("depolarizing:0.01", False),
    ("noisy:manila", False),
    ("noisy:brisbane", False),
    ("noisy:brisbane", True),
    ("ibm-local:manila", False),
    ("ibm-local:manila", True),
)

Results = dict[str, Any]


def main() -> None:
    """Train, score, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.executors", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    results = measure()
    said.results.parent.mkdir(parents=True, exist_ok=True)
    said.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wide_console().print(table(results))


def measure() -> Results:
    """Every executor on the same test rows, with the same angles."""
    ansatz = vqc(QUBITS, "ry", np.pi, REPS, "reverse_linear")
    x, labels = features()
    theta = fit(ansatz, x[:TRAIN], labels[:TRAIN])
    x, labels = x[TRAIN:], labels[TRAIN:]
    exact = ones(executor("exact", shots=SHOTS, seed=SEED), ansatz, x, theta)
    work = {"qubits": QUBITS, "reps": REPS, "train": TRAIN, "test": TEST, "evaluations": EVALUATIONS, "shots": SHOTS}
    rows = []
    for spec, mitigate in RUNS:
        with closing(executor(spec, shots=SHOTS, seed=SEED, mitigate=mitigate)) as run:
            began = time.perf_counter()
            found = ones(run, ansatz, x, theta)
            first = time.perf_counter() - began
            again = median(seconds(run, ansatz, x, theta) for _ in range(TURNS))
        scores = {
            "accuracy": float(((found > 0.5) == labels).mean()),
            "nats": nats(found, labels),
            "apart": float(abs(found - exact).mean()),
        }
        times = {"first_seconds": round(first, 4), "seconds": round(again, 4), "load": load()}
        rows.append({"executor": spec, "mitigate": mitigate, **scores, **times})
    return {"schema": 1, **facts(("qiskit", "qiskit-aer", "qiskit-ibm-runtime")), "work": work, "rows": rows}


def features() -> tuple[NDArray[Any], NDArray[Any]]:
    """Synthetic sentences as one number a qubit; document frequencies and reduction come from training rows alone."""
    corpus = generate(SEED)
    chosen = np.random.default_rng(SEED).permutation(len(corpus.texts))[: TRAIN + TEST]
    rows: Any = [corpus.texts[row] for row in chosen]
    labels = corpus.labels[chosen]
    encoder = TfIdf(BUCKETS)
    rows = encoder.apply(encoder.merge({}, [encoder.local({}, rows[:TRAIN], labels[:TRAIN])], [TRAIN]), rows)
    reduction = TrainedReduction(BUCKETS, QUBITS, 2, VISITS)
    arrays = reduction.initial(SEED)
    for _ in range(VISITS):
        arrays = reduction.local(arrays, rows[:TRAIN], labels[:TRAIN])
    return reduction.apply(arrays, rows), labels


def fit(ansatz: Ansatz, x: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """The angles that COBYLA finds."""
    from scipy.optimize import minimize

    exact = executor("exact", shots=SHOTS, seed=SEED)
    start = np.random.default_rng(SEED).normal(0, 0.1, len(ansatz.weights))
    options = {"maxiter": EVALUATIONS, "rhobeg": 0.3}
    found = minimize(lambda theta: nats(ones(exact, ansatz, x, theta), labels), start, method="COBYLA", options=options)
    return np.asarray(found.x)


def ones(run: Executor, ansatz: Ansatz, x: NDArray[Any], theta: NDArray[Any]) -> NDArray[Any]:
    """(B,) probabilities of class 1: an odd number of ones is read."""
    from qiskit.quantum_info import SparsePauliOp

    given = np.column_stack([x, np.tile(theta, (len(x), 1))])
    column = {parameter: place for place, parameter in enumerate([*ansatz.inputs, *ansatz.weights])}
    rows_BP = given[:, [column[parameter] for parameter in ansatz.circuit.parameters]]
    even_less_odd = run.expectations(ansatz.circuit, [SparsePauliOp("Z" * QUBITS)], rows_BP)[:, 0]
    return np.asarray((1 - even_less_odd) / 2)


def seconds(run: Executor, ansatz: Ansatz, x: NDArray[Any], theta: NDArray[Any]) -> float:
    """One batch, set up already."""
    began = time.perf_counter()
    ones(run, ansatz, x, theta)
    return time.perf_counter() - began


def nats(probs_B: NDArray[Any], labels: NDArray[Any]) -> float:
    """Cross-entropy of two classes."""
    return cross_entropy(np.column_stack([1 - probs_B, probs_B]), labels)


def table(results: Results) -> Table:
    """One row an executor."""
    work, machine = results["work"], results["machine"]
    title = "a VQC of {qubits} qubits trained on {train} rows, scored on {test} others, {shots} shots".format(**work)
    where = f"{results['commit']} · {machine['cpu']} · {machine['cores']} cores · load {machine['load']}"
    drawn = Table(title=title, caption=where, title_justify="left", caption_justify="left")
    for name in ("executor", "accuracy", "loss, nats", "p(1) from exact", "first batch, s", "a batch, s"):
        drawn.add_column(name, justify="left" if name == "executor" else "right", no_wrap=True)
    for r in results["rows"]:
        drawn.add_row(
            *(r["executor"] + (", mitigated" if r["mitigate"] else ""), f"{r['accuracy']:.1%}", f"{r['nats']:.4f}"),
            *(f"{r['apart']:.4f}", f"{r['first_seconds']:.2f}", f"{r['seconds']:.4f}"),
        )
    return drawn


if __name__ == "__main__":
    main()
