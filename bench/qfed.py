"""A training step of QFed's generator: `python -m bench.qfed`.

Beside it the network trained by itself, and the same step in TorchQuantum, the authors' stack, written as their
notebook does. All see the same angles and images, and must report the same loss. One thread, warm, in turns; a cell is
the median of its turns. With --clients the memory of a simulation of so many clients is measured instead.
"""

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.table import Table

from bench.gradients import arguments
from bench.machine import facts, load, wide_console
from bench.memory import Peak
from bench.peer import Answer, Peer, PeerError, ours, peer
from data.whole import write_whole
from server.jobs import QFLOCK

RESULTS = Path(__file__).parent / "results" / "qfed.json"
BATCH, BATCHES, TURNS = 128, 5, 9
AGREE = 1e-3  # of the loss; single precision on both sides
PLAIN: dict[str, Any] = {"by": "circuit", "activation": "none", "kernel": "compiled"}
SIDES: dict[str, dict[str, Any] | None] = {  # row → what ours is told; None is the peer
    "the network by itself": PLAIN | {"by": "full"},
    "generated, compiled": PLAIN,
    "generated, compiled, tanh": PLAIN | {"activation": "tanh"},
    "generated, compiled, ReLU": PLAIN | {"activation": "relu"},
    "generated, torch engine": PLAIN | {"kernel": "torch"},
    "hash twin": PLAIN | {"by": "hash"},
    "TorchQuantum": None,
}
BASE, FIRST = "the network by itself", "generated, compiled"

Results = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.qfed", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--turns", type=int, default=TURNS)
    asked.add_argument("--clients", type=int, default=0, help="measure a simulation of so many clients")
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    kept: Results = json.loads(said.results.read_text(encoding="utf-8")) if said.results.is_file() else {}
    if said.clients:
        results = kept | {"simulation": simulation(said.clients)}
    else:
        results = kept | facts(("torch", "numpy", "qiskit")) | {"schema": 1, "turns": said.turns, **steps(said.turns)}
    said.results.parent.mkdir(parents=True, exist_ok=True)
    write_whole(said.results, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    if "cells" in results:
        wide_console().print(table(results), note(results))


def steps(turns: int) -> Results:
    """Milliseconds of a step on every side, and of the circuit alone on both."""
    from quantum.generator import Generator
    from recipes.schema import GeneratorConfig

    arrays = Generator(GeneratorConfig(), 6690).initial(0)
    args = {name: array.tolist() for name, array in arrays.items()} | {"batch": BATCH, "batches": BATCHES}
    ring = arguments("ring", 13, 16, 1)
    answers: dict[str, list[Answer]] = {side: [] for side in SIDES}
    alone: dict[str, list[Answer]] = {"ours": [], "TorchQuantum": []}
    reason = ""
    with ExitStack() as opened:
        us, them = opened.enter_context(ours()), theirs(opened)
        for turn in range(turns + 1):  # the first warms up
            for side, told in SIDES.items() if turn % 2 else reversed(SIDES.items()):
                asked = us if told is not None else them
                if not isinstance(asked, Peer):
                    reason = str(asked)
                    continue
                said = asked.ask("qfed", args | (told or {}), warmup=0 if turn else 1)
                answers[side] += [said] if turn else []
            for side, asked in (("ours", us), ("TorchQuantum", them)):
                if isinstance(asked, Peer):
                    told = {"kernel": "compiled"} if side == "ours" else {}
                    alone[side] += [asked.ask("ring", ring | told, warmup=1)]
    reference = answers[FIRST][-1].check[0]
    cells = {side: cell(said, reference, SIDES[side]) for side, said in answers.items() if said}
    circuit = {side: 1000 * median(s for one in said for s in one.seconds) for side, said in alone.items() if said}
    return {"cells": cells, "circuit_ms": circuit, "not_run": reason, "load": load()}


def theirs(opened: ExitStack) -> Peer | PeerError:
    """The peer, or why there is none."""
    try:
        return opened.enter_context(peer("torch-quantum"))
    except PeerError as error:
        return error


def cell(said: list[Answer], reference: float, told: dict[str, Any] | None) -> dict[str, Any]:
    """Median time of a step, and whether its loss is that of the first, where both compute the same."""
    comparable = told is None or (told["by"], told["activation"]) == ("circuit", "none")
    return {
        "ms": round(1000 * median(s for one in said for s in one.seconds) / BATCHES, 2),
        "loss": said[-1].check[0],
        "agree": bool(np.isclose(said[-1].check[0], reference, rtol=AGREE)) if comparable else None,
    }


def simulation(clients: int) -> Results:
    """Peak memory of a whole run of one round with so many clients, and its seconds."""
    words = ["run", "qfed-scale", "--clients", str(clients), "--set", "rounds=1", "--set", "optimiser.epochs=1"]
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", QFLOCK, *words, "--runs-dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        with Peak(process.pid) as peak:
            said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run of {clients} clients failed: {said.strip().splitlines()[-1]}")
    return {"clients": clients, "gb": round(peak.family_mb / 1000, 2), "kind": peak.kind, "load": load()}


def table(results: Results) -> Table:
    """One row a side: milliseconds a step, and how many times the network by itself and the generated one take."""
    machine, cells = results["machine"], results["cells"]
    where = (
        f"{results['commit']} · {machine['cpu']} · one thread · median of {results['turns']} · load {results['load']}"
    )
    drawn = Table(title=f"a training step, batch {BATCH}", caption=where, title_justify="left", caption_justify="left")
    for name in ("", "ms", f"× {BASE}", f"× {FIRST}", "loss agrees"):
        drawn.add_column(name, justify="right" if name else "left")
    for side, one in cells.items():
        agrees = {True: "yes", False: "NO", None: "another model"}[one["agree"]]
        ratios = [f"{one['ms'] / cells[base]['ms']:.2f}" for base in (BASE, FIRST)]
        drawn.add_row(side, f"{one['ms']:.1f}", *ratios, agrees)
    return drawn


def note(results: Results) -> str:
    """The circuit alone, the memory of a simulation, and why the peer is missing where it is."""
    said, circuit = [], results["circuit_ms"]
    if len(circuit) == 2:
        times = circuit["TorchQuantum"] / circuit["ours"]
        said.append(
            f"The circuit alone, forward and backward: ours {circuit['ours']:.1f} ms, TorchQuantum "
            f"{circuit['TorchQuantum']:.0f} ms, {times:.0f} times."
        )
    if found := results.get("simulation"):
        said.append(f"A simulation of {found['clients']} clients took {found['gb']} GB at most ({found['kind']}).")
    return " ".join([*said, *filter(None, [results["not_run"]])])


if __name__ == "__main__":
    main()
