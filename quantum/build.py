"""Compile the kernel on first use, with the machine's own C compiler, into our cache folder.

An app bundle carries text alone, so the source travels and the library is made where it runs. The library's name is a
hash of source, compiler and processor; it appears whole or not at all, so processes that compile at once do no harm.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from data.assets import cache_folder, made
from quantum.kernel import SOURCE

TYPES = {"single": ("float", "int32_t"), "double": ("double", "int64_t")}
TUNED = ("-march=native", "-mcpu=native", None)  # the first that the compiler takes
FLAGS = ("-std=gnu11", "-O3", "-ffast-math", "-fPIC", "-Wno-psabi")


class CompilerError(RuntimeError):
    """No kernel on this machine, and why."""


@cache
def library(precision: str) -> ctypes.CDLL:
    """The kernel in that precision."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CompilerError("no C compiler found")
    said = _ran([compiler, "--version"])
    digest = hashlib.sha256("\n".join((SOURCE, *FLAGS, said, processor())).encode()).hexdigest()[:16]
    path = cache_folder() / "kernels" / f"{precision}-{digest}.so"
    if not path.exists():
        _compile(compiler, precision, made(path.parent), path)
    return ctypes.CDLL(str(path))


def processor() -> str:
    """What code for this machine alone depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = sorted({line for line in lines if line.partition("\t")[0] in ("model name", "flags", "Features")})
    return "\n".join((platform.machine(), platform.processor(), *named))


def _compile(compiler: str, precision: str, folder: Path, path: Path) -> None:
    """Compiled fast-math but linked without: linked with it, a library changes how its whole process rounds."""
    real, integer = TYPES[precision]
    with TemporaryDirectory(prefix="compile-", dir=folder) as work:
        source, compiled, linked = (Path(work) / name for name in ("kernel.c", "kernel.o", "kernel.so"))
        source.write_text(SOURCE)
        command = [compiler, *FLAGS, f"-Dreal={real}", f"-DINTEGER={integer}", "-c", str(source), "-o", str(compiled)]
        for tuned in TUNED:
            try:
                _ran([*command, *filter(None, [tuned])])
                break
            except CompilerError:
                if tuned is None:
                    raise
        _ran([compiler, "-shared", str(compiled), "-o", str(linked), "-lm"])
        linked.replace(path)


def _ran(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompilerError(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        wrong = next((line for line in lines if "error" in line), lines[-1])
        raise CompilerError(f"{command[0]} failed: {wrong[:200]}")
    return done.stdout
