"""How long the report of a large run takes, and the comparison of many: fresh processes. `python -m bench.report`

Runs of 70 rounds and 60 clients, with numbers that nobody trained, are reported and compared by the command line. One
thread does it, so CPU seconds are what it takes where nothing else runs; the limit is held against them.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bench.machine import facts, load, wide_console
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from server.folder import APP, new_folder

RESULTS = Path(__file__).parent / "results" / "report.json"
ROUNDS, CLIENTS, RECIPES, SEEDS, TURNS = 70, 60, 5, 5, 3
LIMITS = {"report": 5.0, "report and its files": None, "compare 25 runs": 10.0}  # seconds
LIMIT_MB = 3.0
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]

Results = dict[str, Any]


def main() -> None:
    """Write the runs, time the commands, print the table, write the results file."""
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as home:
        runs = Path(home)
        folders = [
            written(
                load_recipe(
                    "smoke", [f"rounds={ROUNDS}", f"clients={CLIENTS}", f"student.reps={reps}", f"seed={seed}"]
                ),
                runs,
            )
            for reps in range(1, RECIPES + 1)
            for seed in range(SEEDS)
        ]
        page = runs / "compare.html"
        asked = {
            "report": (
                ["-c", f"from server.report import report; from pathlib import Path; report(Path('{folders[0]}'))"],
                folders[0] / "report.html",
            ),
            "report and its files": ([*QFLOCK[1:], "report", str(folders[0])], folders[0] / "report.html"),
            "compare 25 runs": ([*QFLOCK[1:], "compare", *map(str, folders), "--html", str(page)], page),
        }
        rows = [measured(name, *how) for name, how in asked.items()]
    packages = ("matplotlib", "numpy")
    results = {
        "schema": 1,
        **facts(packages),
        "shape": f"{ROUNDS} rounds, {CLIENTS} clients",
        "turns": TURNS,
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wide_console().print(table(results), note(results))


def written(recipe: Recipe, runs: Path) -> Path:
    """A finished run with numbers that look like those of one."""
    random = np.random.default_rng(recipe.seed)
    folder, everyone = new_folder(recipe, runs), [str(client) for client in range(CLIENTS)]
    classes = {"negative": 90, "positive": 90}
    held = {"parts": {"train": 180, "validation": 60, "test": 60}, "classes": classes, "domains": {"all": 300}}
    said: list[dict[str, Any]] = [
        {"kind": "prepare", "stage": "", "clients": everyone, "holds": dict.fromkeys(everyone, held)}
    ]
    for number in range(1, ROUNDS + 1):
        arms = {}
        for arm in ("student", "twin"):
            losses = 0.7 / number**0.2 + 0.05 * random.random(CLIENTS)
            clients = {
                client: {
                    **{"examples": 180, "student_loss": loss, "student_accuracy": 1 - loss / 2, "teacher_loss": 0.45},
                    **{"rho": loss / 0.45, "maxiter": 20 + number % 7, "requested": 20 + number % 7, "evaluations": 20},
                    **{"shots": 0, "divergence": 0.1, "note": "", "teacher_accuracy": 0.8, "terms": {}},
                }
                for client, loss in zip(everyone, losses.tolist(), strict=True)
            }
            closed = {
                "reference_loss": float(losses.mean()),
                "reference_accuracy": 0.8,
                "cosine": 0.5,
                "parameters": 16,
            }
            arms[arm] = {"invited": everyone, "admitted": everyone[::2], **closed, "clients": clients}
        times = {"at": 1.7e9 + number, "round": 1.0, "server": 0.1, "clients": dict.fromkeys(everyone, 0.5)}
        said.append(
            {
                "kind": "round",
                "round": number,
                "arms": arms,
                "failed": {},
                "bytes_up": 999,
                "bytes_down": 999,
                "seconds": times,
            }
        )
    scored = {
        arm: {"accuracy": float(0.8 + random.normal(0, 0.01)), "loss": 0.5, "confusion": [[50, 10], [20, 40]]}
        for arm in arms
    }
    each = {"examples": 60, "accuracy": dict.fromkeys(arms, 0.8), "loss": dict.fromkeys(arms, 0.5), "shots": 0}
    said.append(
        {"kind": "score", "arms": scored, "majority": 0.5, "logistic": 0.8, "clients": dict.fromkeys(everyone, each)}
    )
    said.append({"kind": "end", "state": "completed", "reason": "rounds"})
    lines = (
        json.dumps({"schema": 1, "failed": {}, "seconds": {}, "bytes_up": 0, "bytes_down": 0} | line) for line in said
    )
    (folder / "rounds.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def measured(name: str, words: list[str], page: Path) -> Results:
    """One command in fresh processes, the first of which fills the file cache."""
    walls, cpus = [], []
    for _ in range(TURNS + 1):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, *words],
            cwd=APP,
            check=True,
            capture_output=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    found = {"wall": round(statistics.median(walls[1:]), 2), "cpu": round(statistics.median(cpus[1:]), 2)}
    return {"what": name, **found, "limit": LIMITS[name], "bytes": page.stat().st_size, "load": load()}


def table(results: Results) -> Table:
    """One row a command."""
    drawn = Table(title=results["shape"], title_justify="left")
    for column in ("command", "CPU s", "wall s", "limit s", "met", "MB", "load"):
        drawn.add_column(column, justify="left" if column == "command" else "right")
    for row in results["rows"]:
        limit, met = "", ""
        if row["limit"]:
            limit, met = f"{row['limit']:g}", "yes" if within(row) else "no"
        drawn.add_row(
            row["what"],
            f"{row['cpu']:.1f}",
            f"{row['wall']:.1f}",
            limit,
            met,
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['load']:g}",
        )
    return drawn


def within(row: Results) -> bool:
    """Whether a command and its page keep to the limits; of seconds those of the CPU count."""
    return bool(row["bytes"] < LIMIT_MB * 1e6 and (row["limit"] is None or row["cpu"] < row["limit"]))


def note(results: Results) -> str:
    """Where the numbers come from."""
    machine = results["machine"]
    return (
        f"Runs of {results['shape']}; fresh processes, median of {results['turns']}; a page may have {LIMIT_MB:g} MB. "
        f"`python -m bench.report`, {machine['cpu']}, {machine['cores']} cores, qflock {results['commit']}."
    )


if __name__ == "__main__":
    main()
