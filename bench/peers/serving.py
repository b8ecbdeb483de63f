"""A peer's side of the protocol in bench/peer.py. Standard library only: it runs in every peer's environment."""

import json
import resource
import sys
import time
from collections.abc import Callable

KB = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in, in bytes
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


def measured(work: Timed, warmup: int, repeats: int) -> dict:
    """Times of the work, after `warmup` untimed ones."""
    for _ in range(warmup):
        work()
    seconds, check = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        check = work()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KB / 1e6
    return {"seconds": seconds, "peak_mb": round(peak, 1), "check": [float(value) for value in check]}
