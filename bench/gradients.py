"""Forward and backward through a circuit, ours beside other simulators: `python -m bench.gradients`.

Every side gets the same angles and returns a weighted sum of its read-outs with slopes, which must agree before a time
is worth comparing. One thread, warm, in turns; a cell is the median of its turns. A peer that cannot be installed or
cannot do a work is named with its reason; one that takes longer than MOST_SECONDS is asked once.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from bench.machine import facts, load, wide_console
from bench.peer import PEERS, Answer, Peer, PeerError, peer
from data.whole import write_whole

RESULTS = Path(__file__).parent / "results" / "gradients.json"
TURNS = 7
MOST_SECONDS = 5.0  # for one forward and backward, once warm
REPLY_SECONDS = 180.0  # for the first two, with whatever a peer compiles
AGREE = 1e-3  # of the largest slope; single precision on both sides
WORKS: dict[str, dict[str, Any]] = {  # row → circuit and batch
    "ring 13×16, probabilities": {"work": "ring", "qubits": 13, "reps": 16, "rows": 1},
    "layered 11×4, batch 64, ⟨Z⟩": {"work": "layered", "qubits": 11, "reps": 4, "rows": 64},
    "layered 16×4, batch 64, ⟨Z⟩": {"work": "layered", "qubits": 16, "reps": 4, "rows": 64},
}
SIDES: dict[str, tuple[str, dict[str, str]]] = {  # column → peer, and what only it is told
    "qflock compiled": ("ours", {"kernel": "compiled"}),
    "qflock torch": ("ours", {"kernel": "torch"}),
    "TensorCircuit": ("tensor-circuit", {}),
    "MindQuantum": ("mind-quantum", {}),
    "TorchQuantum": ("torch-quantum", {}),
    "DeepQuantum": ("deep-quantum", {}),
    "PennyLane": ("penny-lane", {"device": "default.qubit"}),
    "lightning": ("penny-lane", {"device": "lightning.qubit"}),
}

Results = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.gradients", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--turns", type=int, default=TURNS)
    asked.add_argument("--patience", type=float, default=REPLY_SECONDS, help="seconds for a peer's first answer")
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    results = {**facts(("torch", "numpy", "qiskit")), "schema": 1, "turns": said.turns, "rows": []}
    said.results.parent.mkdir(parents=True, exist_ok=True)
    for name in WORKS:
        results["rows"].append(row(name, said.turns, said.patience))
        write_whole(said.results, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
        wide_console().print(table(results))


def row(name: str, turns: int, patience: float = REPLY_SECONDS) -> dict[str, Any]:
    """One work on every side: fresh processes, so that peak memory is this work's."""
    work, args = WORKS[name]["work"], arguments(**WORKS[name])
    answers: dict[str, list[Answer]] = {}
    reasons: dict[str, str] = {}
    with ExitStack() as open_sides:
        sides: dict[str, Peer] = {}
        for side, (peer_name, told) in SIDES.items():
            try:
                sides[side] = open_sides.enter_context(_side(side, peer_name, patience))
                first = sides[side].ask(work, args | told, warmup=1)
            except PeerError as error:
                reasons[side] = str(error)
                sides.pop(side, None)
                continue
            slow = first.seconds[0] > MOST_SECONDS
            answers[side] = [first] if slow else []
            if slow:
                sides.pop(side)
        for turn in range(turns):
            for side in list(sides) if turn % 2 == 0 else reversed(list(sides)):
                answers[side].append(sides[side].ask(work, args | SIDES[side][1], warmup=1))
    cells = {side: cell(said, next(iter(answers.values()))[0]) for side, said in answers.items()}
    return {"work": name, "load": load(), "cells": cells, "not_run": reasons}


def cell(said: list[Answer], ours: Answer) -> dict[str, Any]:
    """Median time, peak memory, and how far the numbers are from ours."""
    apart = float(np.max(np.abs(np.subtract(said[-1].check, ours.check))) / np.max(np.abs(ours.check)))
    return {
        "ms": round(1000 * median(s for answer in said for s in answer.seconds), 3),
        "mb": said[-1].peak_mb,
        "version": said[-1].version,
        "apart": apart,
        "agree": apart < AGREE,
        "once": len(said) == 1,
    }


def arguments(work: str, qubits: int, reps: int, rows: int) -> dict[str, Any]:
    """Angles and the weights of the sum, as every side gets them."""
    draw = np.random.default_rng(0)
    if work == "ring":
        found = {"theta": draw.uniform(-np.pi, np.pi, 6 * qubits * reps), "mix": draw.normal(size=2**qubits)}
    else:
        theta = draw.uniform(-np.pi, np.pi, (7 * qubits - 5) * reps)
        found = {"x": draw.random((rows, qubits)), "theta": theta, "mix": draw.normal(size=(rows, qubits))}
    return {"qubits": qubits, "reps": reps} | {key: array.tolist() for key, array in found.items()}


def table(results: Results) -> Table:
    """One row a side, a column a work: milliseconds, how many times our compiled kernel's, megabytes."""
    machine = results["machine"]
    where = (
        f"{results['commit']} · {machine['cpu']} · one thread · median of {results['turns']} · load {machine['load']}"
    )
    drawn = Table(title="forward and backward, ms", caption=where, title_justify="left", caption_justify="left")
    drawn.add_column("", no_wrap=True)
    for one in results["rows"]:
        drawn.add_column(one["work"], justify="right")
    for side in SIDES:
        drawn.add_row(side, *(_shown(one, side) for one in results["rows"]))
    return drawn


def note(results: Results) -> str:
    """Why a cell is empty."""
    reasons = {f"{side}: {why}" for one in results["rows"] for side, why in one["not_run"].items()}
    slow = any(c["once"] for one in results["rows"] for c in one["cells"].values())
    return "\n".join([*sorted(reasons), *(["* asked once"] if slow else [])])


def _shown(one: dict[str, Any], side: str) -> str:
    if side not in one["cells"]:
        return "not run"
    c = one["cells"][side]
    ratio = c["ms"] / one["cells"]["qflock compiled"]["ms"] if "qflock compiled" in one["cells"] else float("nan")
    star = "*" if c["once"] else ""
    wrong = "" if c["agree"] else " DISAGREES"
    return f"{c['ms']:.1f}{star} ({ratio:.0f}×, {c['mb']:.0f} MB){wrong}"


def _side(side: str, peer_name: str, patience: float) -> Peer:
    if peer_name == "ours":
        return Peer(side, [sys.executable, "-u", str(PEERS / "ours.py")])
    return peer(peer_name, patience)


if __name__ == "__main__":
    main()
