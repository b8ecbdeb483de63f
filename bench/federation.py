"""What our federation costs beside Flower's own FedAvg: `python -m bench.federation`.

Both sides are the same Ray simulation, started by the same code, over clients that echo their arrays. A round lasts
from the end of one aggregation to the end of the next: on our side that includes configuring, the ledger with its
fsync and the checkpoint, none of which the bare app has. Bare and ours take turns; a cell is the median of its runs.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.machine import facts, load, wide_console
from bench.memory import Peak
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from server.flower import environment, status, submit, superlink
from server.folder import APP
from server.ledger import lines
from strategies.failure import RunFailedError

BARE = Path(__file__).parent / "bare"
RESULTS = Path(__file__).parent / "results" / "federation.json"
ROUNDS = 21  # the first is left out: Ray's actors import the app in it
CLIENTS, SIZES = (5, 20, 60), (1_500, 1_000_000)
FACTOR, SLACK_MS = 1.3, 50.0  # ours may take the larger of FACTOR · bare and bare + SLACK_MS
RISE_MB = 100.0  # that ours may take more for the most clients than for the fewest, at the smallest size
RUN_SECONDS = 1800.0
LOOK_SECONDS = 0.3
ASK_SECONDS = 10.0

Measured = dict[str, Any]  # of one run: round_ms, family_mb, simulation_mb, load
Results = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.federation", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--quick", action="store_true", help="one small cell, once: shows that the benchmark runs")
    asked.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    asked.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="float32 numbers that travel")
    asked.add_argument("--repeats", type=int, default=2)
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is ended
    clients, sizes, repeats = (
        ((5,), (1_500,), 1) if said.quick else (tuple(said.clients), tuple(said.sizes), said.repeats)
    )
    console = wide_console()
    results = measure(clients, sizes, repeats, console.print)
    said.results.parent.mkdir(parents=True, exist_ok=True)
    said.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    console.print(table(results))
    console.print(verdict(results), highlight=False)


def measure(
    clients: tuple[int, ...], sizes: tuple[int, ...], repeats: int, say: Callable[[str], None] = print
) -> Results:
    """Every cell `repeats` times, bare and ours in turns; who goes first alternates."""
    head = {"schema": 1, **facts(("flwr", "ray", "numpy"))}
    runs: dict[tuple[int, int], dict[str, list[Measured]]] = {}
    for repeat in range(repeats):
        for size in sizes:
            for n in clients:
                recipe = recipe_of(n, size)
                for side in ("bare", "ours") if repeat % 2 == 0 else ("ours", "bare"):
                    run = SIDES[side](recipe)
                    runs.setdefault((n, size), {}).setdefault(side, []).append(run)
                    say(
                        f"{side}  {n} clients  {size} numbers  {run['round_ms']:.0f} ms a round  "
                        f"{run['family_mb']:.0f} MB  load {run['load']}"
                    )
    cells = [cell(recipe_of(n, size), sides) for (n, size), sides in sorted(runs.items(), key=lambda run: run[0][::-1])]
    return {**head, "rounds": ROUNDS, "repeats": repeats, "cells": cells, "memory": memory(cells)}


def recipe_of(clients: int, size: int) -> Recipe:
    """The no-op recipe at a cell's size."""
    return load_recipe("noop", [f"clients={clients}", f"student.size={size}", f"rounds={ROUNDS}"])


def cell(recipe: Recipe, sides: dict[str, list[Measured]]) -> dict[str, Any]:
    """Medians over the runs, and whether ours stays under its limit."""
    bare, ours = (median(run["round_ms"] for run in sides[side]) for side in ("bare", "ours"))
    limit = max(FACTOR * bare, bare + SLACK_MS)
    return {
        "clients": recipe.clients,
        "size": recipe.student.size,
        "recipe_digest": recipe.digest(),
        "bare_ms": round(bare, 1),
        "ours_ms": round(ours, 1),
        "ratio": round(ours / bare, 3),
        "limit_ms": round(limit, 1),
        "met": ours <= limit,
        **{
            f"{side}_{key}": round(median(run[key] for run in sides[side]))
            for side in ("bare", "ours")
            for key in ("family_mb", "simulation_mb")
        },
        "runs": sides,
    }


def memory(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """How much more ours takes for the most clients than for the fewest, at the smallest size."""
    small = [c for c in cells if c["size"] == min(c["size"] for c in cells)]
    fewest, most = (pick(small, key=lambda c: c["clients"]) for pick in (min, max))
    rise = most["ours_family_mb"] - fewest["ours_family_mb"]
    return {
        "size": fewest["size"],
        "clients": [fewest["clients"], most["clients"]],
        "bare_rise_mb": most["bare_family_mb"] - fewest["bare_family_mb"],
        "ours_rise_mb": rise,
        "limit_mb": RISE_MB,
        "met": rise < RISE_MB,
    }


def run_ours(recipe: Recipe) -> Measured:
    """Our app; the clock readings are in the ledger."""
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as home:
        folder, env = started(Path(home), recipe)

        def finished() -> bool:
            found = lines(folder)
            return bool(found) and found[-1]["kind"] == "end"

        run = watched(folder, env, {"recipe": recipe.as_json()}, recipe.clients, APP, finished)
        last = lines(folder)[-1]
        if last["state"] != "completed":
            raise RunFailedError(f"our side failed: {last['reason']}")
        return run | of_rounds([line["seconds"]["at"] for line in lines(folder) if line["kind"] == "round"])


def run_bare(recipe: Recipe) -> Measured:
    """Flower's FedAvg at the same size."""
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as home:
        folder, env = started(Path(home), recipe)
        times = folder / "times.json"
        values = {"rounds": recipe.rounds, "size": recipe.student.size, "times": str(times)}
        run = watched(folder, env, values, recipe.clients, BARE, times.exists)
        return run | of_rounds(json.loads(times.read_text(encoding="utf-8")))


def started(home: Path, recipe: Recipe) -> tuple[Path, dict[str, str]]:
    """A run folder of the benchmark's own, and the environment that both sides share."""
    folder = home.resolve()
    (folder / "logs").mkdir()
    return folder, environment(folder, recipe)


def watched(
    folder: Path, env: dict[str, str], values: dict[str, Any], clients: int, app: Path, finished: Callable[[], bool]
) -> Measured:
    """Start a SuperLink, submit, wait for the last round; what it took in memory, and the load before it."""
    before = load()
    with superlink(folder, env, simulated=True) as link, Peak(link.process.pid) as peak:
        run_id = submit(link, values, clients, app)
        asked = began = time.monotonic()
        while not finished():
            if link.process.poll() is not None:
                raise RunFailedError(f"the SuperLink ended with code {link.process.returncode}")
            if time.monotonic() - asked > ASK_SECONDS:
                word, details = status(link, run_id)
                asked = time.monotonic()
                if word.startswith("finished") and not finished():
                    log = (folder / "logs" / "superlink.log").read_text(encoding="utf-8", errors="replace")
                    raise RunFailedError(f"Flower says {word}: {details}\n{log[-2000:]}")
            if time.monotonic() - began > RUN_SECONDS:
                raise RunFailedError(f"no end after {RUN_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)
    sizes = {"family_mb": round(peak.family_mb, 1), "simulation_mb": round(peak.simulation_mb, 1)}
    return {**sizes, "memory_kind": peak.kind, "load": before}


def of_rounds(ends: list[float]) -> Measured:
    """The median round after the first, and all of them."""
    rounds_ms = [1000 * (after - before) for before, after in pairwise(ends)]
    return {"round_ms": round(median(rounds_ms), 1), "rounds_ms": [round(ms, 1) for ms in rounds_ms]}


def table(results: Results) -> Table:
    """One row a cell."""
    machine = results["machine"]
    title = f"a round, median of {results['rounds'] - 1} after the first × {results['repeats']} runs"
    where = f"{results['commit']} · {machine['cpu']} · {machine['cores']} cores · load {machine['load']}"
    drawn = Table(title=title, caption=where, title_justify="left", caption_justify="left")
    for name in ("clients", "numbers", "bare ms", "ours ms", "ratio", "limit ms", "met", "bare MB", "ours MB", "load"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for c in results["cells"]:
        loads = [run["load"] for runs in c["runs"].values() for run in runs]
        drawn.add_row(
            *(str(c["clients"]), f"{c['size']:,}", f"{c['bare_ms']:.0f}", f"{c['ours_ms']:.0f}", f"{c['ratio']:.2f}"),
            *(f"{c['limit_ms']:.0f}", "yes" if c["met"] else "NO"),
            *(f"{c[f'{side}_family_mb']} ({c[f'{side}_simulation_mb']})" for side in ("bare", "ours")),
            f"{min(loads):.1f}–{max(loads):.1f}",
        )
    return drawn


def verdict(results: Results) -> str:
    """One line a bound; MB in brackets in the table are the flwr-simulation process alone."""
    met, rise = [c["met"] for c in results["cells"]], results["memory"]
    fewest, most = rise["clients"]
    return (
        f"round time: {sum(met)} of {len(met)} cells within max({FACTOR} × bare, bare + {SLACK_MS:.0f} ms)\n"
        f"memory from {fewest} to {most} clients, {rise['size']:,} numbers: ours {rise['ours_rise_mb']:+} MB, "
        f"bare {rise['bare_rise_mb']:+} MB; limit {rise['limit_mb']:.0f}: {'met' if rise['met'] else 'MISSED'}\n"
        f"MB: peak of all processes, in brackets flwr-simulation alone"
    )


SIDES: dict[str, Callable[[Recipe], Measured]] = {"bare": run_bare, "ours": run_ours}

if __name__ == "__main__":
    main()
