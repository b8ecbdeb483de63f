"""What is computed once and kept in the cache folder, under a name that says what it was computed from."""

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike, NDArray

from data.assets import cache_folder, made
from data.corpus import DataError
from data.whole import whole

log = logging.getLogger(__name__)

SCHEMA = 1  # of the files in the cache; those of another are not looked at


def kept(
    name: str, facts: str, texts: Sequence[str], columns: int, make: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """(B, columns) that depend on these facts and texts alone; made, and kept, where they are not there."""
    path = place(name, facts, texts)
    shape = len(texts), columns
    found = read(path, shape, np.float32)
    if found is not None:
        return found
    with alone(path):
        if (found := read(path, shape, np.float32)) is None:
            found, content = make(), BytesIO()
            np.save(content, found)
            with keeping(path) as file:
                file.write_bytes(content.getvalue())
    return found


def place(name: str, facts: str, texts: Sequence[str]) -> Path:
    """Where an array lies, once it was made."""
    return cache_folder() / "features" / f"{name}-{digest(facts, texts)}.npy"


def digest(facts: str, texts: Sequence[str]) -> str:
    """Names a list of texts under some facts, this schema, and this torch, which may round its own way.

    Lengths keep ["ab"] and ["a", "b"] apart.
    """
    name = hashlib.sha256(f"{SCHEMA} {facts} torch {version('torch')}".encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        name.update(len(encoded).to_bytes(8, "little") + encoded)
    return name.hexdigest()


def read(
    path: Path, shape: tuple[int, ...], kind: DTypeLike, mapped: Literal["r"] | None = None
) -> NDArray[Any] | None:
    """What the cache holds; None, and so computed anew, when that is nothing or no such thing."""
    found = opened(path, mapped)
    return found if found is not None and (found.shape, found.dtype) == (shape, kind) else None


def read_table(path: Path, kind: np.dtype[np.void]) -> NDArray[np.void] | None:
    """The same of rows of any number, left on the disk until they are looked at."""
    found = opened(path, "r")
    return found if found is not None and found.ndim == 1 and found.dtype == kind else None


def opened(path: Path, mapped: Literal["r"] | None) -> NDArray[Any] | None:
    """Any array; None when there is none, or none that can be read."""
    try:
        found: NDArray[Any] = np.load(path, mmap_mode=mapped, allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, EOFError, OSError) as error:
        log.warning("%s is damaged (%s) and is made anew", path, error)
        return None
    return found


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else makes this file meanwhile, in this process or another: who has waited looks again before working.

    Runs side by side, such as the arms of an ablation, ask for the same things at the same time.
    """
    made(path.parent)  # before the work, not after it
    lock = FileLock(made(cache_folder() / "locks") / f"{path.name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for %s, which another run is making", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def keeping(path: Path) -> Iterator[Path]:
    """Another name to write under; what it holds in the end is the file. Says what a cache needs."""
    try:
        with whole(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be written ({reason}); set QFLOCK_CACHE to a folder you can write") from None


def threads() -> int:
    """How many torch uses, or will: importing it takes seconds, and who finds all in the cache needs no more of it.

    Of one thread it is certain without asking; more than a machine has, torch does not take.
    """
    if "torch" not in sys.modules and os.environ.get("OMP_NUM_THREADS") == "1":
        return 1
    import torch

    return torch.get_num_threads()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on a single thread within, on as many as before afterwards.

    What is kept must not depend on who asked first, and another number of threads gives other bits.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers without warnings and progress bars within, as before afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
