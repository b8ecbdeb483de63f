"""What a run costs as a simulation and on real processes: `python -m bench.processes`.

Each run is the command `qflock run`, timed from its start: Ray or the SuperNodes begin, the clients agree on features,
then the rounds follow. A later round lasts from the end of one to the end of the next. Memory is the peak of the
command and of everything it starts. The modes take turns; a cell is the median of its runs.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.federation import of_rounds
from bench.machine import facts, load, wide_console
from bench.memory import Peak
from bench.study import write
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from server.folder import APP
from server.ledger import lines
from strategies.failure import RunFailedError

RESULTS = Path(__file__).parent / "results" / "processes.json"
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
RECIPES, MODES = ("noop", "smoke"), ("sim", "processes")
CLIENTS, ROUNDS, REPEATS = 3, 6, 3
LIMIT_SECONDS = {"noop": 6.0, "smoke": 10.0}  # of a later round on processes
RUN_SECONDS = 600.0

Measured = dict[str, Any]  # of one run: first_s, round_s, total_s, memory_mb, load
Results = dict[str, Any]
Run = Callable[[Recipe, str], Measured]


def main() -> None:
    """Measure, print the table, write the results file."""
    said = asked("bench.processes", __doc__, rounds=ROUNDS, repeats=REPEATS, results=RESULTS)
    console = wide_console()
    results = measure(said.rounds, said.repeats, timed_run, console.print)
    write(results, said.results)
    console.print(table(results))
    console.print(note(results), highlight=False)


def asked(prog: str, about: str | None, *, rounds: int, repeats: int, results: Path) -> argparse.Namespace:
    """How long and how often to run, and where to write; on SIGTERM what was started is ended."""
    words = argparse.ArgumentParser(prog=prog, description=(about or "").split("\n")[0])
    words.add_argument("--rounds", type=int, default=rounds)
    words.add_argument("--repeats", type=int, default=repeats)
    words.add_argument("--results", type=Path, default=results)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return words.parse_args()


def measure(rounds: int, repeats: int, run: Run, say: Callable[[str], None] = print) -> Results:
    """Every recipe in both modes, `repeats` times; which mode goes first alternates."""
    head = {"schema": 1, **facts(("flwr", "ray", "numpy", "qiskit"))}
    recipes = {name: load_recipe(name, [f"clients={CLIENTS}", f"rounds={rounds}"]) for name in RECIPES}
    runs: dict[tuple[str, str], list[Measured]] = {(name, mode): [] for name in recipes for mode in MODES}
    for repeat in range(repeats):
        for name, recipe in recipes.items():
            for mode in MODES if repeat % 2 == 0 else MODES[::-1]:
                found = run(recipe, mode)
                runs[name, mode].append(found)
                say(f"{name} on {mode}: {found['round_s']:.2f} s a round, {found['memory_mb']:.0f} MB, {found['load']}")
    cells = [cell(recipes[name], mode, found) for (name, mode), found in runs.items()]
    return {**head, "clients": CLIENTS, "rounds": rounds, "repeats": repeats, "cells": cells}


def cell(recipe: Recipe, mode: str, runs: list[Measured]) -> dict[str, Any]:
    """Medians over the runs, and on processes whether a round stays under its limit."""
    found = {key: round(median(run[key] for run in runs), 2) for key in ("first_s", "round_s", "total_s", "memory_mb")}
    limit = LIMIT_SECONDS[recipe.name] if mode == "processes" else None
    met = {"limit_s": limit, "met": found["round_s"] < limit} if limit else {}
    return {"recipe": recipe.name, "recipe_digest": recipe.digest(), "on": mode, **found, **met, "runs": runs}


def timed_run(recipe: Recipe, mode: str, *more: str) -> Measured:
    """The command, from its start to its end; a no-op with its recipe's size."""
    before = load()
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as home:
        sets = [word for key in ("clients", "rounds") for word in ("--set", f"{key}={getattr(recipe, key)}")]
        sets += ["--set", f"student.size={recipe.student.size}"] if recipe.student.kind == "noop" else []
        command = [*QFLOCK, "run", recipe.name, "--on", mode, "--runs-dir", home, *sets, *more]
        at, began = time.time(), time.monotonic()
        with (Path(home) / "said").open("w+", encoding="utf-8") as said:
            process = subprocess.Popen(command, cwd=APP, stdout=said, stderr=said)
            try:
                with Peak(process.pid) as peak:
                    code = process.wait(RUN_SECONDS)
            finally:
                process.terminate()
                process.wait()
            total = time.monotonic() - began
            if code:
                said.seek(0)
                raise RunFailedError(f"{recipe.name} on {mode} ended with code {code}: {said.read()[-2000:]}")
        (folder,) = (path for path in Path(home).iterdir() if path.is_dir())
        ends = [line["seconds"]["at"] for line in lines(folder) if line["kind"] == "round"]
    rounds_ms = of_rounds(ends)
    return {
        "first_s": round(ends[0] - at, 2),
        "round_s": round(rounds_ms["round_ms"] / 1000, 3),
        "total_s": round(total, 2),
        "memory_mb": round(peak.family_mb, 1),
        "rounds_ms": rounds_ms["rounds_ms"],
        "memory_kind": peak.kind,
        "load": before,
    }


def table(results: Results) -> Table:
    """One row a cell."""
    drawn = Table(title=f"{results['clients']} clients, medians of {results['repeats']} runs", title_justify="left")
    for name in (
        "recipe",
        "on",
        "to the end of round 1, s",
        "a later round, s",
        "limit, s",
        "whole run, s",
        "MB",
        "load",
    ):
        drawn.add_column(name, justify="left" if name in ("recipe", "on") else "right")
    for c in results["cells"]:
        loads = [run["load"] for run in c["runs"]]
        limit = f"{c['limit_s']:.0f}{'' if c['met'] else ' MISSED'}" if "limit_s" in c else ""
        times = f"{c['first_s']:.1f}", f"{c['round_s']:.2f}", limit, f"{c['total_s']:.1f}"
        drawn.add_row(c["recipe"], c["on"], *times, f"{c['memory_mb']:.0f}", f"{min(loads):.1f}–{max(loads):.1f}")
    return drawn


def note(results: Results) -> str:
    """Where the table comes from."""
    machine, digests = results["machine"], {c["recipe"]: c["recipe_digest"] for c in results["cells"]}
    named = ", ".join(f"`{name}` ({digest})" for name, digest in digests.items())
    return (
        f"Recipes {named}, {results['clients']} clients, {results['rounds']} rounds, "
        f"median of {results['repeats']} runs; {machine['cpu']}, {machine['cores']} cores, qflock {results['commit']}."
    )


if __name__ == "__main__":
    main()
