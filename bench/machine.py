"""What a measurement depends on besides the code: recorded beside every result."""

import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from server.folder import commit, processor


def facts(packages: tuple[str, ...]) -> dict[str, Any]:
    """Machine, versions, commit and command, for the head of a results file."""
    return {
        "commit": commit(),
        "command": shlex.join(["python", "-m", module(sys.argv[0]), *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "platform": platform.platform(), "load": load()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def load() -> float:
    """Mean number of running processes in the last minute; above the number of cores, times are not to be trusted."""
    return round(os.getloadavg()[0], 2)


def module(script: str) -> str:
    """`bench.federation` out of the path that Python ran, so that no path of this machine enters a results file."""
    return f"bench.{Path(script).stem}"
