"""One client's VQC fit, ours beside qiskit-machine-learning's: `python -m bench.engine`.

Same rows, circuit, read-out, start and COBYLA evaluations, both exact and on one thread. The losses of every evaluation
must agree before a time is worth comparing. Both sides take turns; a cell is the median of its turns.
"""

import argparse
import json
from collections.abc import Sequence
from math import pi
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from bench.machine import facts, load, wide_console
from bench.peer import Answer, Peer, PeerError, ours, peer

RESULTS = Path(__file__).parent / "results" / "engine.json"
PEER = "qiskit-machine-learning"
QUBITS, ROWS, REPS, EVALUATIONS = 4, 80, 3, 18
SCALES = {"ry": pi, "zz": 1.0}  # feature map → scale
TURNS = 5
AGREE = 1e-5  # nats

Results = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.engine", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--turns", type=int, default=TURNS)
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    with ours() as us, peer(PEER) as them:
        results = measure(us, them, said.turns)
    said.results.parent.mkdir(parents=True, exist_ok=True)
    said.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wide_console().print(table(results))


def measure(us: Peer, them: Peer, turns: int) -> Results:
    """Every feature map, `turns` times on each side."""
    head = {"schema": 1, **facts(("qiskit", "numpy", "scipy"))}
    work = {"qubits": QUBITS, "rows": ROWS, "reps": REPS, "evaluations": EVALUATIONS, "turns": turns}
    return {**head, "work": work, "cells": [cell(us, them, name, turns) for name in SCALES]}


def cell(us: Peer, them: Peer, feature_map: str, turns: int) -> dict[str, Any]:
    """One feature map: median times, the ratio, and how far the losses are apart."""
    args = arguments(feature_map)
    said: dict[str, list[Answer]] = {us.name: [], them.name: []}
    for turn in range(turns):
        for side in (us, them) if turn % 2 == 0 else (them, us):
            said[side.name].append(side.ask("vqc_fit", args, warmup=1))
    ours_ms, peer_ms = (1000 * median(s for answer in said[side.name] for s in answer.seconds) for side in (us, them))
    first, second = said[us.name][-1], said[them.name][-1]
    return {
        "feature_map": feature_map,
        "peer": f"{them.name} {second.version}",
        "ours_ms": round(ours_ms, 3),
        "peer_ms": round(peer_ms, 3),
        "ratio": round(peer_ms / ours_ms, 1),
        "apart": apart(first.check, second.check),
        "agree": apart(first.check, second.check) < AGREE,
        "ours_mb": first.peak_mb,
        "peer_mb": second.peak_mb,
        "load": load(),
        "runs": {name: [answer.seconds for answer in answers] for name, answers in said.items()},
    }


def arguments(feature_map: str) -> dict[str, Any]:
    """The work, as both sides get it: rows in [0, 1], two classes, a start near the identity."""
    draw = np.random.default_rng(0)
    rows = draw.random((ROWS, QUBITS))
    return {
        "feature_map": feature_map,
        "scale": SCALES[feature_map],
        "rows": rows.tolist(),
        "labels": (rows[:, 0] + rows[:, 1] > 1).astype(int).tolist(),
        "start": draw.normal(0, 0.1, QUBITS * (REPS + 1)).astype(np.float32).tolist(),
        "reps": REPS,
        "maxiter": EVALUATIONS,
        "rhobeg": 0.5,
    }


def apart(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest difference between two traces of losses."""
    if len(first) != len(second):
        raise PeerError(f"one side evaluated {len(first)} times, the other {len(second)}: not the same work")
    return float(np.max(np.abs(np.subtract(first, second))))


def table(results: Results) -> Table:
    """One row a feature map."""
    work, machine = results["work"], results["machine"]
    title = "a fit of {qubits} qubits, {rows} rows, {evaluations} evaluations; median of {turns}".format(**work)
    where = f"{results['commit']} · {machine['cpu']} · {machine['cores']} cores · load {machine['load']}"
    drawn = Table(title=title, caption=where, title_justify="left", caption_justify="left")
    for name in ("map", "ours ms", "peer ms", "ratio", "ours MB", "peer MB", "apart", "peer"):
        drawn.add_column(name, justify="left" if name in ("map", "peer") else "right", no_wrap=True)
    for c in results["cells"]:
        drawn.add_row(
            *(c["feature_map"], f"{c['ours_ms']:.2f}", f"{c['peer_ms']:.0f}", f"{c['ratio']:.0f}×"),
            *(f"{c['ours_mb']:.0f}", f"{c['peer_mb']:.0f}", f"{c['apart']:.1e}", c["peer"]),
        )
    return drawn


if __name__ == "__main__":
    main()
