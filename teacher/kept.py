"""What is computed once and kept in the cache folder, under a name that says what it was computed from."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from data.assets import cache_folder, made
from data.corpus import DataError


def kept(name: str, facts: str, texts: Sequence[str], make: Callable[[], NDArray[Any]]) -> Path:
    """The file of an array that depends on these facts and texts alone; made first where there is none."""
    path = place(name, facts, texts)
    if not path.exists():
        made(path.parent)  # before the work, not after it
        array = make()
        keep(path, lambda file: np.save(file, array))
    return path


def place(name: str, facts: str, texts: Sequence[str]) -> Path:
    """Where an array lies, once it was made."""
    return cache_folder() / "features" / f"{name}-{digest(facts, texts)}.npy"


def digest(facts: str, texts: Sequence[str]) -> str:
    """Names a list of texts under some facts, and under this torch, since another may round otherwise.

    Lengths keep ["ab"] and ["a", "b"] apart.
    """
    name = hashlib.sha256(f"{facts} torch {version('torch')}".encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        name.update(len(encoded).to_bytes(8, "little") + encoded)
    return name.hexdigest()


def keep(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write to the cache, or say what a cache needs."""
    try:
        written(path, write)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be written ({reason}); set QFLOCK_CACHE to a folder you can write") from None


def written(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write under another name, then rename: a reader sees the whole file or none."""
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            write(file)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


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
