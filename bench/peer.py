"""Other libraries to measure against, each in a virtual environment of its own: what they require need not fit ours.

A peer is `bench/peers/<name>.txt`, what pip installs, and `bench/peers/<name>.py`, which the environment's Python runs.
Both sides speak JSON, one line a message, over the script's standard input and output:

    {"work": "vqc_fit", "args": {…}, "warmup": 1, "repeats": 3}
    {"seconds": [0.41, 0.40, 0.42], "peak_mb": 187.2, "version": "0.9.1", "check": [0.69, …]}   or   {"error": "…"}

`check` are numbers by which the caller sees that both computed the same. Ask one peer at a time, in turns.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from data.assets import cache_folder

PEERS = Path(__file__).parent / "peers"
REPLY_SECONDS = 600.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
ONE_THREAD["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class PeerError(RuntimeError):
    """A peer that cannot be made, does not answer, or says why it cannot."""


@dataclass(frozen=True)
class Answer:
    """What a peer measured."""

    seconds: list[float]
    peak_mb: float  # of the peer's whole process so far
    version: str
    check: list[float]


class Peer:
    """One process that does work on request, from `with` to its end."""

    def __init__(self, name: str, command: Sequence[str], reply_seconds: float = REPLY_SECONDS) -> None:
        self.name, self.command, self.reply_seconds = name, list(command), reply_seconds

    def __enter__(self) -> "Peer":
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            self.command,
            env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def ask(self, work: str, args: dict[str, Any], *, warmup: int = 1, repeats: int = 1) -> Answer:
        """Have the work done `warmup + repeats` times, the first ones untimed."""
        line = self._exchange(json.dumps({"work": work, "args": args, "warmup": warmup, "repeats": repeats}))
        try:
            said = json.loads(line)
            if "error" in said:
                raise PeerError(f"{self.name}: {said['error']}")
            return Answer(**said)
        except (json.JSONDecodeError, TypeError) as error:
            raise PeerError(f"{self.name} said {line[:200]!r}, which is no answer: {error}") from None

    def _exchange(self, line: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        late = threading.Timer(self.reply_seconds, self._process.kill)
        late.start()
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline()
        except BrokenPipeError:
            said = ""
        finally:
            in_time = late.is_alive()
            late.cancel()
        if not said:
            why = (
                f"ended with code {self._process.wait()}" if in_time else f"gave no answer in {self.reply_seconds:g} s"
            )
            raise PeerError(f"{self.name} {why}{self._last_words()}")
        return said

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = [line.strip() for line in self._said if line.strip()]
        return f": {lines[-1]}" if lines else ""


def peer(name: str, reply_seconds: float = REPLY_SECONDS) -> Peer:
    """A peer of `bench/peers`, in its own environment, which is made when it is first asked for."""
    script = [str(interpreter(name, PEERS / f"{name}.txt")), "-u", str(PEERS / f"{name}.py")]
    return Peer(name, script, reply_seconds)


def ours() -> Peer:
    """Our own side of the same work, in this environment: measured as the peers are."""
    return Peer("qflock", [sys.executable, "-u", str(PEERS / "ours.py")])


def interpreter(name: str, requirements: Path) -> Path:
    """The Python of a peer's environment; other requirements are another environment."""
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache_folder() / "peers" / f"{name}-{digest}"
    whole = folder / "whole"  # written last: an environment without it was not finished
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            attempt(name, [sys.executable, "-m", "venv", str(folder)])
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            attempt(name, [*pip, "--requirement", str(requirements)])
            whole.touch()
    return folder / "bin" / "python"


def attempt(name: str, command: list[str]) -> None:
    """Run one step of making an environment."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"]
        raise PeerError(
            f"the environment of {name} cannot be made: {errors[-1].removeprefix('ERROR: ')[:300]}. "
            f"It needs a package index once; pip's own settings choose which"
        )
