"""Death and resume: `python -m bench.kills` kills -9 what a run consists of, and compares with the run left alone.

The moments are drawn evenly from a whole run's time, from the first line of its ledger to its scores, one in each tenth
of it: after so many lines, so many seconds later. A run that ends is resumed. What is done is in the results file at
once, and the same command goes on with the rest.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import psutil
from rich.table import Table

from bench.machine import facts, wide_console
from data.whole import write_whole
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from server.checkpoint import newest
from server.flower import started_for
from server.folder import APP
from server.ledger import Line, lines, untimed
from strategies.failure import RunFailedError
from strategies.messages import Arrays

RESULTS = Path(__file__).parent / "results" / "kills.json"
WORK = ("min_reports=1", "features.reduction=pca")  # of `smoke`: two clients, of whom one may be dead in a round
TIMES = 10
RUN_SECONDS, LOOK_SECONDS = 600.0, 0.05
STARTED: list[subprocess.Popen[bytes]] = []
INTERRUPTED = Event()
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]

Results = dict[str, Any]
Moment = tuple[int, float]  # after so many lines of the ledger, so many seconds


@dataclass(frozen=True)
class Case:
    """What is killed, in a run with this `on_loss`, and what must be the same afterwards."""

    victims: Callable[[Path], list[psutil.Process]]
    on_loss: str
    equal: bool = True  # to the bit; else the run has to end well, with what was lost in its ledger


def main() -> None:
    """Kill, resume, compare; print the table."""
    asked = argparse.ArgumentParser(prog="bench.kills", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--times", type=int, default=TIMES, help="kills a case")
    asked.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    asked.add_argument("--jobs", type=int, default=1, help="runs side by side")
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    console = wide_console()
    results = begun(said.results)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is ended
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as home, side_by_side(said.jobs) as pool:
        calm = undisturbed(Path(home) / "calm")
        lock = Lock()

        def one(name: str, number: int) -> None:
            runs = Path(home) / f"{name.replace(' ', '-')}-{number}"
            try:
                found = killed(name, number, said.times, calm, runs)
            except (RunFailedError, subprocess.TimeoutExpired) as error:
                found = {"passed": False, "reason": f"{error}: {told(runs)}".replace(str(runs), "…")}
            if INTERRUPTED.is_set():  # what ended was ended by us
                return
            with lock:
                results["kills"].append({"case": name, "number": number, "of": said.times} | found)
                kept(results, said.results)
                console.print(f"{name}  {number + 1} of {said.times}  {found}", highlight=False, soft_wrap=True)

        done = {(kill["case"], kill["number"], kill["of"]) for kill in results["kills"]}
        spread = np.random.default_rng(0).permutation(said.times).tolist()  # so that a few are of all parts of the run
        wanted = [(name, number) for number in spread for name in said.cases]
        for future in [pool.submit(one, *place) for place in wanted if (*place, said.times) not in done]:
            future.result()
    console.print(table(results))


@contextmanager
def side_by_side(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """So many threads; when it is interrupted, what they have started is ended."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        INTERRUPTED.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in STARTED:
            process.terminate()  # does nothing to one that has ended
        for process in STARTED:
            process.wait()


def begun(path: Path) -> Results:
    """The results file of this commit and recipe, less what could not be carried out; or an empty one."""
    digests = {name: recipe_of(case).digest() for name, case in CASES.items()}
    head = {"schema": 1, **facts(("flwr", "numpy", "qiskit")), "recipe": "smoke", "work": list(WORK)}
    fresh: Results = {**head, "recipe_digests": digests, "kills": []}
    if not path.is_file():
        return fresh
    found: Results = json.loads(path.read_text(encoding="utf-8"))
    if any(found.get(key) != fresh[key] for key in ("schema", "commit", "recipe_digests")):
        return fresh
    return found | {"kills": [kill for kill in found["kills"] if "reason" not in kill]}


def kept(results: Results, path: Path) -> None:
    """Write the results, case by case."""
    results["kills"].sort(key=lambda kill: (list(CASES).index(kill["case"]), kill["number"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{json.dumps(results, indent=1)}\n".encode())


def recipe_of(case: Case) -> Recipe:
    return load_recipe("smoke", [*WORK, f"on_loss={case.on_loss}"])


@dataclass(frozen=True)
class Calm:
    """The run left alone: its folder, and when each line of its ledger was written, in seconds."""

    folder: Path
    at: list[float]

    def moment(self, share: float) -> Moment:
        """The moment at a share of the time from the first line to the scores."""
        *before, scored = self.at[:-1]  # the last line is of kind end
        t = before[0] + share * (scored - before[0])
        seen = sum(at <= t for at in before)
        return seen, t - before[seen - 1]


def moments(name: str, times: int, calm: Calm) -> list[Moment]:
    """When a case's kills are: one in each of so many equal parts of the run."""
    random = np.random.default_rng(list(CASES).index(name))
    return [calm.moment((number + random.random()) / times) for number in range(times)]


def undisturbed(runs: Path) -> Calm:
    """A whole run; `on_loss` changes nothing in it, since nobody is lost."""
    process, folder = began(recipe_of(next(iter(CASES.values()))), runs)
    at: list[float] = []
    while process.poll() is None or len(at) < len(lines(folder)):
        at += [time.monotonic()] * (len(lines(folder)) - len(at))
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        raise RunFailedError(f"the run left alone ended with code {process.returncode}: {told(runs)}")
    return Calm(folder, at)


def killed(name: str, number: int, times: int, calm: Calm, runs: Path) -> dict[str, Any]:
    """One kill: when it was, whether the run had to be resumed, and whether all is as in the run left alone."""
    case, (seen, seconds) = CASES[name], moments(name, times, calm)[number]
    process, folder = began(recipe_of(case), runs)
    began_at = time.monotonic()
    while len(lines(folder)) < seen:
        if process.poll() is not None or time.monotonic() > began_at + RUN_SECONDS:
            raise RunFailedError("the run ended before it was killed")
        time.sleep(LOOK_SECONDS)
    time.sleep(seconds)
    before = len(lines(folder))
    victims = case.victims(folder)
    if not victims:
        raise RunFailedError("there was nothing to kill")
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    killed_at = time.monotonic()
    process.wait(timeout=RUN_SECONDS)
    noticed = time.monotonic() - killed_at
    resumed = process.returncode != 0
    if resumed:
        if f"Go on with: qflock resume {folder}" not in told(runs):
            raise RunFailedError("the run did not say how to go on")
        again = qflock(["resume", str(folder), "--on", "processes"], runs)
        if again.wait(timeout=RUN_SECONDS):
            raise RunFailedError(f"resume ended with code {again.returncode}")
    left = started_for(folder)
    found = {
        "seen": before,
        "after_line": seen,
        "after_seconds": round(seconds, 2),
        "resumed": resumed,
        "run_seconds": round(noticed, 1),
        "total_seconds": round(time.monotonic() - killed_at, 1),
        "processes_left": len(left),
        "completed": lines(folder)[-1].get("state") == "completed",
        "lost": sorted({why for line in lines(folder) for why in line.get("failed", {}).values()}),
        "arrays_equal": same_arrays(final(folder), final(calm.folder)),
        "ledger_equal": compared(folder) == compared(calm.folder),
    }
    same = found["arrays_equal"] and found["ledger_equal"]
    good = same or (not case.equal and not resumed and found["lost"])
    return found | {"passed": bool(good and found["completed"] and not left)}


def began(recipe: Recipe, runs: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A run on real processes, and its folder once it has one."""
    runs.mkdir(parents=True)
    file = runs / f"{recipe.name}.yaml"
    file.write_text(recipe.as_json(), encoding="utf-8")
    process = qflock(["run", str(file), "--on", "processes", "--runs-dir", str(runs / "runs")], runs)
    while not (found := list(runs.glob("runs/*/recipe.yaml"))):
        if process.poll() is not None:
            raise RunFailedError(f"a run ended at once: {told(runs)}")
        time.sleep(LOOK_SECONDS)
    return process, found[0].parent


def qflock(words: Sequence[str], runs: Path) -> subprocess.Popen[bytes]:
    """Our command; what it says goes to a file."""
    with (runs / "said").open("ab") as file:
        env = os.environ | {"PYTHONPATH": str(APP)}
        process = subprocess.Popen([*QFLOCK, *words], cwd=runs, env=env, stdout=file, stderr=file)
    STARTED.append(process)
    return process


def told(runs: Path) -> str:
    """The end of what the command said."""
    return (runs / "said").read_text(encoding="utf-8", errors="replace")[-600:]


def final(folder: Path) -> dict[str, Arrays]:
    """The final arrays of every arm, and the agreed features."""
    state = newest(folder, load_recipe(str(folder / "recipe.yaml")).digest())
    if state is None:
        raise RunFailedError(f"{folder} has no checkpoint")
    return {name: arm.arrays for name, arm in state.arms.items()} | {"shared": state.shared}


def same_arrays(one: dict[str, Arrays], other: dict[str, Arrays]) -> bool:
    """Whether two sets of named arrays are equal to the bit."""
    flat = [
        {
            (group, name): (a.dtype.str, a.shape, a.tobytes())
            for group, arrays in side.items()
            for name, a in arrays.items()
        }
        for side in (one, other)
    ]
    return flat[0] == flat[1]


def compared(folder: Path) -> list[Line]:
    """The ledger without its times and its hellos: every start of the run says one."""
    return [untimed(line) for line in lines(folder) if (line["kind"], line.get("stage")) != ("prepare", "")]


def named(words: str, *, whole: bool = False) -> Callable[[Path], list[psutil.Process]]:
    """The run's process of a command; with `whole`, also all that it has started."""

    def found(folder: Path) -> list[psutil.Process]:
        for process in started_for(folder):
            with suppress(psutil.Error):
                said = " ".join(process.cmdline()) + " "
                if words in said:
                    return [process, *(process.children(recursive=True) if whole else [])]
        return []

    return found


def table(results: Results) -> Table:
    """One row a case."""
    machine = results["machine"]
    where = f"{results['commit']} · {machine['cpu']} · {machine['cores']} cores · load {machine['load']}"
    drawn = Table(title="kill -9 on real processes", caption=where, title_justify="left", caption_justify="left")
    for name in ("killed", "on_loss", "must be", "kills", "resumed", "as it must be"):
        drawn.add_column(name, justify="left" if name in ("killed", "on_loss", "must be") else "right")
    for name, case in CASES.items():
        kills = [kill for kill in results["kills"] if kill["case"] == name]
        if kills:
            must = "equal to the bit" if case.equal else "finished, recorded"
            passed, resumed = (sum(kill.get(key, False) for kill in kills) for key in ("passed", "resumed"))
            drawn.add_row(name.partition(",")[0], case.on_loss, must, f"{len(kills)}", f"{resumed}", f"{passed}")
    return drawn


CASES = {
    "ServerApp": Case(named("flwr-serverapp"), "continue"),
    "SuperLink": Case(named("flower-superlink"), "continue"),
    "SuperNode, repeat": Case(named("partition-id=1 ", whole=True), "repeat"),
    "SuperNode, continue": Case(named("partition-id=1 ", whole=True), "continue", equal=False),
}

if __name__ == "__main__":
    main()
