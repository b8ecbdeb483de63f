"""A peer's side of the protocol in bench/peer.py. Standard library only: it runs in every peer's environment."""

import json
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Timed = Callable[[], list[float]]  # the work itself; returns the numbers to check


def serve(works: dict[str, Callable[..., Timed]], version: str) -> None:
    """Answer until the input ends. `works[name](**args)` prepares, untimed; what it returns is timed."""
    out, sys.stdout = sys.stdout, sys.stderr  # a library that prints must not break the protocol
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            said = measured(works[asked["work"]](**asked["args"]), asked.get("warmup", 1), asked.get("repeats", 1))
            said["version"] = version
        except Exception as error:  # noqa: BLE001, the caller is told
            said = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        out.write(json.dumps(said) + "\n")
        out.flush()


def measured(work: Timed, warmup: int, repeats: int) -> dict[str, Any]:
    """Times of the work, after `warmup` untimed ones."""
    for _ in range(warmup):
        work()
    seconds, check = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        check = work()
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "peak_mb": round(peak() / 1e6, 1), "check": [float(value) for value in check]}


def peak() -> int:
    """Most bytes that this process has held; on Linux getrusage counts those of the parent that it was forked from."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)
