"""What a measurement depends on besides the code: recorded beside every result."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from data.assets import cache_folder
from server.folder import commit, processor


def facts(packages: tuple[str, ...]) -> dict[str, Any]:
    """Machine, versions, commit and command, for the head of a results file."""
    return {
        "commit": commit(),
        "command": command(sys.argv),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "platform": platform.platform(), "load": load()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def load() -> float:
    """Mean number of running processes in the last minute; above the number of cores, times are not to be trusted."""
    return round(os.getloadavg()[0], 2)


def command(argv: list[str]) -> str:
    """The command as typed, less what names a place on this machine."""
    said = [word for before, word in pairwise(argv) if "--results" not in (before, word)]
    return shlex.join(["python", "-m", f"bench.{Path(argv[0]).stem}", *said])


@contextmanager
def nothing_kept(folder: str = "") -> Iterator[None]:
    """An empty cache within, or one that lacks this folder: what is loaded stays so, and answers are given anew."""
    before, whole = os.environ.get("QFLOCK_CACHE"), cache_folder()
    with TemporaryDirectory(prefix="qflock-bench-") as empty:
        for path in whole.iterdir() if folder and whole.is_dir() else ():
            if path.name != folder:
                (Path(empty) / path.name).symlink_to(path)
        os.environ["QFLOCK_CACHE"] = empty
        try:
            yield
        finally:
            del os.environ["QFLOCK_CACHE"]
            os.environ.update({} if before is None else {"QFLOCK_CACHE": before})


def wide_console() -> Console:
    """A console that cuts no column of a results table when the output is a file or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=120)
