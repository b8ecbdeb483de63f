"""Peak memory: of a process and all its descendants, sampled, or of a piece of work within this one.

PSS counts a page that n processes share as 1/n in each, so a sum over processes is what they take together; where the
system has no PSS the sum is of RSS, which counts shared pages once a process.
"""

import ctypes
import gc
import sys
import threading
from pathlib import Path
from types import TracebackType

import psutil

MB = 1e6
KB = 1024  # in which Linux counts
SIMULATION = "flwr-simulation"  # the process that holds the ServerApp and dispatches to Ray's actors


class Peak:
    """Samples from `with` to its end; afterwards `family_mb` and `simulation_mb` are the highest sums seen."""

    def __init__(self, pid: int, every_seconds: float = 0.2) -> None:
        self.pid, self.every_seconds = pid, every_seconds
        self.family_mb = self.simulation_mb = 0.0
        self.kind = "rss"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            family = simulation = 0.0
            for process in descendants(self.pid):
                size = self._size(process)
                family += size
                simulation += size if SIMULATION in called(process) else 0.0
            self.family_mb = max(self.family_mb, family)
            self.simulation_mb = max(self.simulation_mb, simulation)
            self._stop.wait(self.every_seconds)

    def _size(self, process: psutil.Process) -> float:
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            return 0.0  # it ended between two looks
        self.kind = "pss" if hasattr(memory, "pss") else "rss"
        return float(getattr(memory, "pss", memory.rss)) / MB


class Growth:
    """From `with` to its end; afterwards `mb` is how far this process's memory rose above where it stood, at its peak.

    Linux alone keeps a peak that can be set back; elsewhere `mb` is None. What was freed before is given back first, or
    the work would find it lying there.
    """

    mb: float | None = None

    def __enter__(self) -> "Growth":
        self._linux = sys.platform == "linux"
        if self._linux:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self._before = status("VmRSS")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._linux:
            self.mb = (status("VmHWM") - self._before) * KB / MB


def status(name: str) -> int:
    """A line of this process's status, in KB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def descendants(pid: int) -> list[psutil.Process]:
    """The process and all below it that still live."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def called(process: psutil.Process) -> str:
    """The program's name as in its command line; a script's own, not its interpreter's."""
    try:
        return " ".join(process.cmdline()[:2])
    except psutil.Error:
        return ""
