"""Runs side by side: each a `qflock` process of its own, at most so many at once, all ended when this one ends."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from data.corpus import load
from recipes.section import InputError
from server.compare import compare
from server.console import plain_console
from server.folder import APP
from server.outcome import Outcome, outcome
from server.sweep import Planned, Standing, Sweep, command, default_jobs, record, standings
from server.tables import WRITERS, show
from strategies.failure import RunFailedError

LOOK_SECONDS = 0.5
END_SECONDS = 60.0  # a run asked to end first ends its SuperLink and Ray
QFLOCK = f"import sys; sys.path.insert(0, {str(APP)!r}); from server.cli import main; main()"


class Process(Protocol):
    """What we need of a started run; subprocess.Popen has it."""

    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


Start = Callable[[tuple[str, ...], Path], Process]  # the words after `qflock`, and the file for what it says


@dataclass
class Jobs:
    """The runs of one call: which have ended, with the reason of those that failed, and which go on."""

    sweep: Sweep
    at: dict[Planned, Standing]
    skipped: set[Planned] = field(default_factory=set)
    going: dict[Planned, Process] = field(default_factory=dict)
    failed: dict[Planned, str] = field(default_factory=dict)

    @property
    def done(self) -> list[Path]:
        return [at.folder for at in self.at.values() if at.state == "completed" and at.folder]


def finish(
    sweep: Sweep, jobs: int | None = None, conclude: Callable[[Sweep, list[Outcome]], None] | None = None
) -> list[Outcome]:
    """Do what remains of a sweep, show what the finished runs came to, and raise when a run has failed."""
    fetch(sweep)
    state = work(sweep, jobs or default_jobs(), plain_console())
    outcomes = [outcome(folder) for folder in state.done]
    if outcomes:
        (conclude or compared)(sweep, outcomes)
    if state.failed:
        run, why = next(iter(state.failed.items()))
        raise RunFailedError(
            f"{len(state.failed)} of {len(sweep.runs)} runs failed, the first ({run.label}) with: {why}. "
            f"The same command tries them again"
        )
    return outcomes


def fetch(sweep: Sweep) -> None:
    """Read every corpus that remaining runs need: one that is missing is found out once, before any run starts."""
    remaining = [run.recipe for run, at in standings(sweep).items() if at.state != "completed"]
    for recipe in {recipe.data: recipe for recipe in remaining}.values():
        load(recipe.data, recipe.seed)


def compared(sweep: Sweep, outcomes: list[Outcome]) -> None:
    """Every combination beside the first."""
    show(compare(outcomes), {kind: sweep.folder / f"compare.{kind}" for kind in WRITERS})


def work(sweep: Sweep, jobs: int, console: Console, start: Start | None = None) -> Jobs:
    """Do what remains of a sweep; every run has ended when this returns, also when it is interrupted."""
    with only_one(sweep.folder) as lock:
        (sweep.folder / "logs").mkdir(exist_ok=True)
        record(sweep)
        launch = start or (lambda words, log: started(words, log, lock))
        state = Jobs(sweep, standings(sweep))
        state.skipped = {run for run, at in state.at.items() if at.state == "completed"}
        waiting = [run for run in sweep.runs if run not in state.skipped]
        with following(state, console) as say:
            try:
                while waiting or state.going:
                    while waiting and len(state.going) < jobs:
                        run = waiting.pop(0)
                        say(f"{'goes on' if state.at[run].folder else 'starts'}: {run.label}")
                        state.going[run] = launch(command(run, state.at[run]), log_of(sweep, run))
                    time.sleep(LOOK_SECONDS if start is None else 0)
                    settle(state, say)
            finally:
                end(state.going)
    return state


def settle(state: Jobs, say: Callable[[str], None]) -> None:
    """Look at every run that goes on, and take leave of those that have ended."""
    codes = {run: process.poll() for run, process in state.going.items()}  # asked first: the ledger is then complete
    state.at = standings(state.sweep)
    for run, code in codes.items():
        if code is None:
            continue
        del state.going[run]
        if state.at[run].state == "completed":
            say(f"done: {run.label}")
        else:
            state.failed[run] = reason(log_of(state.sweep, run), code)
            say(f"failed: {run.label}: {state.failed[run]}")


def started(words: tuple[str, ...], log: Path, lock: int) -> subprocess.Popen[bytes]:
    """A run in a session of its own, so that Ctrl-C reaches it once, from us; it holds the lock while it lives."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-c", QFLOCK, *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            pass_fds=(lock,),
        )


def end(going: dict[Planned, Process]) -> None:
    """Ask every run to end, and wait until each has ended what it started."""
    for process in going.values():
        process.terminate()
    for process in going.values():
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=END_SECONDS)


@contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """A lock on the sweep's folder, also held by its runs: a killed sweep cannot be doubled while they still go on."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder} is at work: another sweep, or runs that one left, still go on") from None
        yield file.fileno()


def log_of(sweep: Sweep, run: Planned) -> Path:
    return sweep.folder / "logs" / f"{run.recipe.digest()}.log"


def reason(log: Path, code: int) -> str:
    """Why a run failed: its own last word, or its exit code."""
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    found = re.findall(r"^(?:error|failed): (.*)$", said, flags=re.MULTILINE)
    return str(found[-1]) if found else f"ended with code {code}; see {log}"


@contextmanager
def following(state: Jobs, console: Console) -> Iterator[Callable[[str], None]]:
    """A table that follows the runs on a terminal; elsewhere a line whenever one starts or ends."""
    if console.is_terminal:
        with Live(get_renderable=lambda: table(state, console.height), console=console, refresh_per_second=2):
            yield lambda text: None
        return
    began = time.monotonic()
    console.print(heading(state), highlight=False, soft_wrap=True)
    yield lambda text: console.print(f"{time.monotonic() - began:6.1f} s  {text}", highlight=False, soft_wrap=True)


def heading(state: Jobs) -> str:
    runs, done = len(state.sweep.runs), sum(at.state == "completed" for at in state.at.values())
    return f"{state.sweep.folder}: {done} of {runs} runs done"


def table(state: Jobs, height: int) -> Group:
    """The runs that go on and those that failed, as many as fit."""
    drawn = Table()
    for name in ("run", "state", "round"):
        drawn.add_column(name)
    rows = [(run.label, "running", f"{state.at[run].round}/{run.recipe.rounds}") for run in list(state.going)]
    rows += [(run.label, f"failed: {why}", "") for run, why in list(state.failed.items())]
    for cells in rows[: max(1, height - 6)]:
        drawn.add_row(*cells)
    return Group(Text(heading(state)), drawn)
