"""What this machine computes with: which device, and which number type it is fast with.

Where torch was built for CPUs it is not loaded to say so: a client that finds all it needs in its cache has no other
use for it.
"""

from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # as Linux names what a CPU can do


@lru_cache(maxsize=1)
def device() -> str:
    """cuda where there is one, else cpu."""
    if version("torch").endswith("+cpu"):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def number_type(dtype: str) -> str:
    """`auto` as bfloat16 where the machine has instructions for it, else float32."""
    if dtype != "auto":
        return dtype
    if device() == "cuda":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if FAST_BFLOAT16 & able() else "float32"


@lru_cache(maxsize=1)
def able() -> set[str]:
    """The instructions that Linux says the first CPU has; none are known elsewhere."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
