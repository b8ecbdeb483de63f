"""What containers cost beside processes: `python -m bench.containers`, with a Docker engine.

Each run is the command `qflock run`, as in bench.processes, with the images built before. `noop` computes nothing, so
its round is what the federation itself takes; `payload` is the same with 50 MB from and to every client. Both modes run
under TLS with a key for every node. They take turns; a cell is the median of its runs.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.machine import facts, wide_console
from bench.processes import asked, timed_run
from bench.study import write
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from server.containers import Compose

RESULTS = Path(__file__).parent / "results" / "containers.json"
CLIENTS, ROUNDS, REPEATS = 3, 6, 3
SIZES = {"noop": 1497, "payload": 13_107_200}  # numbers of four bytes
MODES = (("processes", "--secure"), ("compose",))
FIRST_SECONDS, RATIO, PAYLOAD_SECONDS = 60.0, 1.3, 20.0  # what is to be kept

Results = dict[str, Any]
Run = Callable[[Recipe, str], dict[str, Any]]


def main() -> None:
    """Measure, print the table, write the results file."""
    said = asked("bench.containers", __doc__, rounds=ROUNDS, repeats=REPEATS, results=RESULTS)
    console = wide_console()
    Compose().build()
    results = measure(said.rounds, said.repeats, lambda recipe, mode: timed_run(recipe, *mode.split()), console.print)
    write(results, said.results)
    console.print(table(results))
    console.print(note(results), highlight=False)


def measure(rounds: int, repeats: int, run: Run, say: Callable[[str], None] = print) -> Results:
    """Every size in both modes, `repeats` times; which mode goes first alternates."""
    head = {"schema": 1, **facts(("flwr", "numpy"))}
    cells = []
    for name, size in SIZES.items():
        recipe = load_recipe("noop", [f"clients={CLIENTS}", f"rounds={rounds}", f"student.size={size}"])
        runs: dict[str, list[dict[str, Any]]] = {" ".join(mode): [] for mode in MODES}
        for repeat in range(repeats):
            for mode in list(runs)[:: 1 if repeat % 2 == 0 else -1]:
                found = run(recipe, mode)
                runs[mode].append(found)
                times = f"{found['first_s']:.1f} s, then {found['round_s']:.2f} s a round"
                say(f"{name} on {mode}: {times}, {found['load']}")
        for mode, each in runs.items():
            middle = {key: round(median(one[key] for one in each), 2) for key in ("first_s", "round_s", "total_s")}
            cells.append({"what": name, "on": mode, "recipe_digest": recipe.digest(), **middle, "runs": each})
    return {**head, "clients": CLIENTS, "rounds": rounds, "repeats": repeats, "cells": cells}


def table(results: Results) -> Table:
    """One row a cell; what misses its limit says so."""
    drawn = Table(title=f"{results['clients']} clients, medians of {results['repeats']} runs", title_justify="left")
    for name in ("what", "on", "to the end of round 1, s", "a later round, s", "whole run, s", "load"):
        drawn.add_column(name, justify="left" if name in ("what", "on") else "right")
    by = {(c["what"], c["on"].split()[0]): c for c in results["cells"]}
    most = {"noop": by["noop", "processes"]["round_s"] * RATIO, "payload": PAYLOAD_SECONDS}
    for c in results["cells"]:
        ours = c["on"] == "compose"
        first = " MISSED" if ours and c["what"] == "noop" and c["first_s"] >= FIRST_SECONDS else ""
        later = " MISSED" if ours and c["round_s"] > most[c["what"]] else ""
        loads = [run["load"] for run in c["runs"]]
        times = f"{c['first_s']:.1f}{first}", f"{c['round_s']:.2f}{later}", f"{c['total_s']:.1f}"
        drawn.add_row(c["what"], c["on"], *times, f"{min(loads):.1f}–{max(loads):.1f}")
    return drawn


def note(results: Results) -> str:
    """Where the table comes from, and what was to be kept."""
    machine = results["machine"]
    return (
        f"To be kept in containers: {FIRST_SECONDS:.0f} s to the end of round 1 with images built, a no-op round "
        f"within {RATIO} times that of processes, 50 MB a client within {PAYLOAD_SECONDS:.0f} s a round. "
        f"{results['rounds']} rounds; {machine['cpu']}, {machine['cores']} cores, qflock {results['commit']}."
    )


if __name__ == "__main__":
    main()
