"""How many threads the linear algebra of a process uses. One and two threads round differently, so a recipe says it."""

import os
import sys
from functools import lru_cache

import threadpoolctl

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@lru_cache(maxsize=1)  # asked with every message, and looking for libraries takes longer than some rounds
def limit_threads(n: int) -> None:
    """Hold this process to n threads: libraries that are loaded, and by the environment those that are loaded later."""
    os.environ.update(dict.fromkeys(VARIABLES, str(n)))
    threadpoolctl.threadpool_limits(n)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
