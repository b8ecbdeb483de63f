"""How long a user waits for the program itself: fresh processes, median wall seconds. `python -m bench.startup`"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.machine import facts

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
    for name, found in times.items():
        counted = found[1:]  # the first fills the file cache
        print(f"{name:32} median {statistics.median(counted):.2f} s  (from {min(counted):.2f} to {max(counted):.2f})")
    medians = {name: round(statistics.median(found[1:]), 3) for name, found in times.items()}
    head = {"schema": 1, **facts(("flwr", "typer", "rich"))}
    RESULTS.write_text(json.dumps({**head, "median_seconds": medians, "runs": RUNS}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
