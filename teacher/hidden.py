"""The untuned LLM as an encoder: a layer's hidden states, averaged over the tokens, kept on disk once computed.

In bfloat16 where a machine is fast with it: nodes with and without see states that differ by 1.5% (relative).
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.stages import Arrays, Frozen
from teacher.by_text import by_text
from teacher.frozen import MOST_TOKENS
from teacher.models import check_encoder, positions, tokenizer, width
from teacher.tokens import mean, tokenised

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say


class Hidden(Frozen):
    """Means of what one decoder layer of a base LLM puts out; after the last layer, normalised as the model does."""

    def __init__(self, model: str, layer: int) -> None:
        self.model, self.layer = model, layer
        self.size = width(model, layer)

    def apply(self, arrays: Arrays, rows: Sequence[str]) -> NDArray[np.float64]:
        """(B, D) float32 values from disk, so that a cached run and a fresh one are bit-equal."""
        from teacher.base import facts

        name = f"{facts(self.model, 'auto', False)} mean after layer {self.layer}, alone, {MOST_TOKENS}"
        return by_text("hidden", name, rows, self.size, self._encode).astype(np.float64)

    def _encode(self, rows: list[str]) -> NDArray[np.float32]:
        """One text at a time: its bits are then its own, for twice the time of batches of 16."""
        from teacher.base import base
        from teacher.lower import below

        check_encoder(self.model, self.layer)
        log.info("%d texts through %d layers of %s, once", len(rows), self.layer, self.model)
        most = min(MOST_TOKENS, positions(self.model) or MOST_TOKENS)
        llm = base(self.model, "auto", False)
        vectors = np.zeros((len(rows), self.size), np.float32)
        for chosen, states_BSD, mask in below(llm, tokenised(tokenizer(self.model), rows, most), self.layer, 1):
            vectors[chosen] = mean(states_BSD, mask).cpu().numpy()
        return vectors
