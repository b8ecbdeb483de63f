"""How long a user waits for the program itself: fresh processes, median wall seconds. `python -m bench.startup`"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.machine import facts, wide_console

RESULTS = Path(__file__).parent / "results" / "startup.json"

COMMANDS = {
    "qflock --help": ["-c", "import sys, qflock; sys.argv = ['qflock', '--help']; qflock.main()"],
    "import server.app": ["-c", "import qflock, sys; sys.path.insert(0, str(qflock.APP)); import server.app"],
    "import client.app": ["-c", "import qflock, sys; sys.path.insert(0, str(qflock.APP)); import client.app"],
    "import flwr.serverapp (floor)": ["-c", "import flwr.serverapp"],
    "python (floor)": ["-c", "pass"],
}
RUNS = 11


def seconds(arguments: list[str]) -> float:
    """One fresh process, from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Interleaved, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS + 1):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    counted = {name: found[1:] for name, found in times.items()}  # the first fills the file cache
    medians = {name: round(statistics.median(found), 2) for name, found in counted.items()}
    results = {"schema": 1, **facts(("flwr", "typer", "rich")), "runs": RUNS, "median_seconds": medians}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wide_console().print(table(results))


def table(results: dict[str, Any]) -> Table:
    """One row a command."""
    drawn = Table(title=f"a fresh process, median of {results['runs']}", title_justify="left")
    drawn.add_column("command")
    drawn.add_column("seconds", justify="right")
    for name, seconds in results["median_seconds"].items():
        drawn.add_row(name, f"{seconds:.2f}")
    return drawn


if __name__ == "__main__":
    main()
