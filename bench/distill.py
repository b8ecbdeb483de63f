"""What distilling into QD-LLM's student takes: `python -m bench.distill`.

An epoch of 14,400 rows, features and the teacher's answers given, beside the same steps in TorchQuantum and
MindQuantum, which are timed on a few batches and scaled; the teacher's answers themselves, computed once and then read;
answers of the student. All sides see the same rows and arrays and must report the same loss. One thread, warm, in
turns, medians.
"""

import argparse
import json
import random
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.machine import facts, load, nothing_kept, wide_console
from bench.peer import Answer, Peer, PeerError, ours, peer
from data.whole import write_whole
from quantum.arms import student
from quantum.threads import limit_threads
from recipes.schema import StudentConfig, TeacherConfig
from teacher.protocol import teacher

RESULTS = Path(__file__).parent / "results" / "distill.json"
QUBITS, REPS, CLASSES, COLUMNS, BATCH, ROWS = 11, 11, 4, 384, 64, 14_400
FEW, TURNS = 4, 3  # batches of a turn of a peer
TEXTS, TOKENS = 10_000, 32
PEERS = {"TorchQuantum": "torch-quantum", "MindQuantum": "mind-quantum"}
AGREE = 1e-3  # of the loss; single precision on all sides
LIMITS = {"TorchQuantum": 8, "MindQuantum": 20}  # times ours, at least
EPOCH_SECONDS, TEACHER_SECONDS, MILLISECONDS = 15.0, 360.0, 0.2

Results = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.distill", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--rows", type=int, default=ROWS, help="of an epoch of ours; scaled to 14,400")
    asked.add_argument("--batches", type=int, default=FEW, help="that a peer is timed on")
    asked.add_argument("--turns", type=int, default=TURNS)
    asked.add_argument("--texts", type=int, default=TEXTS, help="that the teacher answers; scaled to 10,000")
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    limit_threads(1)
    asked_of = {"rows": said.rows, "batches": said.batches, "turns": said.turns, "texts": said.texts}
    results = {"schema": 1, **facts(("torch", "numpy", "qiskit", "transformers")), "asked_of": asked_of}
    results |= steps(said.rows, said.batches, said.turns)
    results |= {"teacher": answers(said.texts), "load": load()}
    results["asked"] = compared(results)
    said.results.parent.mkdir(parents=True, exist_ok=True)
    write_whole(said.results, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    wide_console().print(table(results), note(results))


def steps(rows: int, few: int, turns: int) -> Results:
    """Seconds of an epoch on every side, and milliseconds of our answers; the first turn of each warms up."""
    config = StudentConfig(kind="layered", readout="dense", entanglement="circular", qubits=QUBITS, reps=REPS)
    arrays = {name: a.tolist() for name, a in student(config, CLASSES, columns=COLUMNS).initial(0).items()}
    size = {"qubits": QUBITS, "reps": REPS, "classes": CLASSES, "arrays": arrays}
    batches = {"batch": BATCH, "batches": max(1, rows // BATCH)}
    answers: dict[str, list[Answer]] = {}
    reasons: dict[str, str] = {}
    texts: list[float] = []
    with ExitStack() as opened:
        us, them = opened.enter_context(ours()), peers(opened, reasons)
        for _ in range(turns):
            answers.setdefault("ours", []).append(us.ask("distil", size | batches))
            texts += us.ask("answer", size | {"rows": rows}).seconds
            for name, side in list(them.items()):
                try:
                    said = side.ask("distil", size | {"batch": BATCH, "batches": few})
                    answers.setdefault(name, []).append(said)
                except PeerError as error:
                    reasons[name] = str(error)
                    del them[name]
        wanted = us.ask("distil", size | {"batch": BATCH, "batches": few}).check[0]
    whole = ROWS / BATCH
    cells = {
        name: {
            "epoch_seconds": median(s for one in said for s in one.seconds)
            * whole
            / (batches["batches"] if name == "ours" else few),
            "peak_mb": said[-1].peak_mb,
            "agree": abs((wanted if name == "ours" else said[-1].check[0]) - wanted) <= AGREE * abs(wanted),
        }
        for name, said in answers.items()
    }
    return {"cells": cells, "not_run": reasons, "milliseconds": 1000 * median(texts) / rows}


def peers(opened: ExitStack, reasons: dict[str, str]) -> dict[str, Peer]:
    """Those that there are; of the others why not."""
    found = {}
    for name, script in PEERS.items():
        try:
            found[name] = opened.enter_context(peer(script))
        except PeerError as error:
            reasons[name] = str(error)
    return found


def answers(texts: int) -> dict[str, float]:
    """Seconds of the embedded LLM's answers to so many texts of 32 tokens, scaled to 10,000; then of reading them."""
    one = teacher(TeacherConfig(kind="lora", max_tokens=TOKENS), CLASSES)
    draws = random.Random(0)
    words = ["the", "market", "team", "science", "world", "of", "new", "says", "game", "with", "government", "study"]
    made = [" ".join(draws.choices(words, k=2 * TOKENS)) for _ in range(texts)]
    one.soft_labels(["load"], 1.0)
    with nothing_kept():
        began = time.perf_counter()
        one.soft_labels(made, 1.0)
        first = time.perf_counter() - began
        began = time.perf_counter()
        one.soft_labels(made, 2.0)
        again = time.perf_counter() - began
    return {"seconds": first * TEXTS / texts, "again": again}


def compared(results: Results) -> list[Results]:
    """What was asked for, and whether it is so."""
    cells, epoch = results["cells"], results["cells"]["ours"]["epoch_seconds"]
    rows = [
        (f"an epoch under {EPOCH_SECONDS:g} s", epoch, epoch < EPOCH_SECONDS),
        *(
            (f"{name} at least {times} times slower", ratio, ratio >= times)
            for name, times in LIMITS.items()
            if name in cells and (ratio := cells[name]["epoch_seconds"] / epoch)
        ),
        (f"teacher under {TEACHER_SECONDS:g} s", (s := results["teacher"]["seconds"]), s < TEACHER_SECONDS),
        (f"an answer under {MILLISECONDS:g} ms", (ms := results["milliseconds"]), ms < MILLISECONDS),
    ]
    return [{"what": what, "found": float(f"{found:.3g}"), "met": bool(met)} for what, found, met in rows]


def table(results: Results) -> Table:
    """One row a side."""
    machine, cells = results["machine"], results["cells"]
    where = f"{results['commit']} · {machine['cpu']} · one thread · load {results['load']}"
    title = f"an epoch of {ROWS:,} rows, {QUBITS} qubits, {REPS} layers, batch {BATCH}"
    drawn = Table(title=title, caption=where, title_justify="left", caption_justify="left")
    for name in ("", "seconds", "× ours", "peak MB", "loss agrees"):
        drawn.add_column(name, justify="right" if name else "left")
    for name, one in cells.items():
        times = f"{one['epoch_seconds'] / cells['ours']['epoch_seconds']:.1f}"
        agrees = "yes" if one["agree"] else "NO"
        drawn.add_row(name, f"{one['epoch_seconds']:,.1f}", times, f"{one['peak_mb']:,.0f}", agrees)
    return drawn


def note(results: Results) -> str:
    """What was asked for, what was scaled, and why a peer is missing."""
    said = "; ".join(f"{one['what']}: {one['found']:g}{'' if one['met'] else ', NOT met'}" for one in results["asked"])
    of = results["asked_of"]
    rest = "".join(f" {name} was not run: {why}." for name, why in results["not_run"].items())
    return (
        f"Asked: {said}. Timed on {of['rows']:,} rows of ours, {of['batches']} batches of a peer and {of['texts']:,} "
        f"texts of the teacher, and scaled; reading the teacher's answers again took "
        f"{results['teacher']['again']:.2f} s.{rest}"
    )


if __name__ == "__main__":
    main()
