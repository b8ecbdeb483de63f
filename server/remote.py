"""A run on a SuperLink that others started: submitted by name, followed through Flower, its ledger wherever it is.

The run's folder here holds the recipe and the log. Where the SuperLink's machine sees that same folder, the ServerApp
writes the ledger and all else into it; elsewhere it makes one of the same name, and we say where.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data.whole import write_whole
from recipes.schema import Recipe
from recipes.section import InputError
from server.checkpoint import newest
from server.flower import ANSWER_SECONDS, Link, status, submit
from server.ledger import Ledger
from server.links import Entry, answers
from server.live import follow
from strategies.failure import RunFailedError

ASK_SECONDS, LOOK_SECONDS = 10.0, 0.3
LOST_SECONDS = 60.0  # without a word from the SuperLink
HOME = re.compile(r"run folder (.+) on (\S+)$", flags=re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def link_of(entry: Entry) -> Link:
    """The door to a SuperLink that Flower's own configuration names, once it answers."""
    answers(entry)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return Link(entry.name, os.environ | {"PATH": path, "FLWR_DISABLE_UPDATE_CHECK": "1"})


def run_there(recipe: Recipe, folder: Path, link: Link, console: Console, spend: int) -> bool:
    """Submit a run, or take one up that still goes on, and follow it to its end; whether the ledger is in `folder`."""
    run_id = going_on(folder, link)
    if run_id is None:
        if (folder / "rounds.jsonl").is_file():
            state = newest(folder, recipe.digest())
            Ledger(folder).rewind(state.round if state else 0)
        with console.status("submitting to Flower"):
            run_id = submit(link, {"recipe": recipe.as_json(), "run": str(folder), "spend": spend}, None)
        write_whole(folder / "flower.json", json.dumps({"link": link.name, "run_id": run_id}).encode())
    log = folder / "logs" / "app.log"
    console.print(f"{recipe.name} → {folder}, run {run_id} on {link.name}", highlight=False, soft_wrap=True)
    try:
        with told_to(log, link, run_id) as stream:
            return followed(recipe, folder, Elsewhere(link, run_id, log, stream), console)
    except (KeyboardInterrupt, SystemExit):
        end = f"flwr stop {run_id} {link.name}"
        console.print(f"\nthe run goes on, on {link.name}; to end it: {end}", highlight=False, soft_wrap=True)
        raise


def going_on(folder: Path, link: Link) -> str | None:
    """The Flower run that this folder was submitted as, if it has not ended."""
    file = folder / "flower.json"
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        name, run_id = said["link"], str(said["run_id"])
    except (ValueError, TypeError, KeyError):
        raise InputError(
            f"{file} is damaged. It named the Flower run of this folder: when `flwr list {link.name}` shows that "
            f"as ended, delete the file and resume again"
        ) from None
    word = status(link, run_id)[0] if name == link.name else "unknown"
    return None if word == "unknown" or word.startswith("finished") else run_id


@contextmanager
def told_to(log: Path, link: Link, run_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """Flower's log of a run flows into a file, line by line, until all is said."""
    command, env = ["flwr", "log", run_id, link.name, "--stream"], link.env | {"PYTHONUNBUFFERED": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@dataclass
class Elsewhere:
    """A run on a SuperLink that is not ours."""

    link: Link
    run_id: str
    log: Path
    stream: subprocess.Popen[bytes]  # writes the log
    asked: float = 0.0  # when Flower was
    heard: float = 0.0  # when it last answered
    word: str = ""
    details: str = ""

    def __call__(self) -> str | None:
        """Why no more can come, or None; asks Flower every few seconds."""
        now = time.monotonic()
        if now > self.asked + ASK_SECONDS:
            word, details = status(self.link, self.run_id)
            self.asked = time.monotonic()
            if word != "unknown":
                self.word, self.details, self.heard = word, details, self.asked
            elif self.heard and now > self.heard + LOST_SECONDS:
                return f"{self.link.name} has not answered for {LOST_SECONDS:.0f} s"
            self.heard = self.heard or now
        if not self.word.startswith("finished"):
            return None
        with suppress(subprocess.TimeoutExpired):  # what was said last comes after the word that it was the last
            self.stream.wait(ANSWER_SECONDS)
        return f"Flower says {self.word}: {self.details}"

    def said(self) -> str:
        """The ServerApp's log so far, without its colours."""
        return COLOURS.sub("", self.log.read_text(encoding="utf-8", errors="replace"))


def followed(recipe: Recipe, folder: Path, run: Elsewhere, console: Console) -> bool:
    """Show a run until it ends: its ledger when that is in `folder`, otherwise its log; a failed one raises."""
    shown, ended, home = 0, None, None
    while ended is None:
        ended = run()  # asked first: what was said before the end is still read
        said = run.said()
        home = home or HOME.search(said)
        if home and Path(home[1]) == folder:
            last = follow(folder, recipe, console, run)
            if last["state"] != "completed":
                raise RunFailedError(f"{last['reason']}. Logs: {folder / 'logs'}")
            return True
        whole = said.rfind("\n") + 1
        console.out(said[shown:whole], end="", highlight=False)
        shown = max(shown, whole)
        time.sleep(LOOK_SECONDS)
    where = f"its ledger is on {home[2]}, in {home[1]}" if home else "it wrote no ledger"
    if run.word != "finished:completed":
        raise RunFailedError(f"{ended}; {where}")
    console.print(f"completed; {where}", highlight=False, soft_wrap=True)
    return False
