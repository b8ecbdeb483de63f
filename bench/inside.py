"""What an LLM computes inside, for students that learn from more than its answers.

Read are layers below those that LoRA tunes, so they are the tuned teacher's as well as the untuned model's, and one
pass serves every seed. B texts, S tokens, D numbers of a token, V tokens there are, M layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from teacher.base import base
from teacher.models import tokenizer
from teacher.tokens import Tokens, batches, padded, tokenised

MOST, LAYERS = 64, 2  # tokens of a text, M
BATCH = 32


class Inside:
    """An LLM below the layers that LoRA tunes: tokens, embedding, and what M of its layers put out, kept by text."""

    def __init__(self, model: str, tuned: int) -> None:
        whole = base(model, "auto", False)
        self._tokenizer, self._llm = tokenizer(model), whole.own()
        self._llm.set_attn_implementation("eager")  # the only one that gives its attention away
        layers = self._llm.get_submodule(whole.layers)
        below = len(layers) - tuned if 0 < tuned < len(layers) else len(layers)
        del layers[below:]
        self._chosen = [max(1, round(below * m / LAYERS)) - 1 for m in range(1, LAYERS + 1)]
        self._seen: dict[int, Any] = {}
        for place in self._chosen:
            layers[place].register_forward_hook(
                lambda module, given, out, place=place: self._seen.__setitem__(place, out[0] if whole.tupled else out)
            )
        self.embedding_VD: Tensor = self._llm.get_input_embeddings().weight.float()
        self._kept: dict[str, tuple[NDArray[np.float16], NDArray[np.float16]]] = {}

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """At most MOST of every text."""
        return tokenised(self._tokenizer, texts, MOST)

    def read(self, texts: Sequence[str]) -> None:
        """Compute, once for a text, what `of` gives."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        tokens = self.tokens(new)
        for rows in batches(tokens, BATCH):
            ids, mask = padded(tokens, rows)
            with torch.inference_mode():
                said = self._llm(input_ids=ids, attention_mask=mask, use_cache=False, output_attentions=True)
                raw = torch.stack([self._seen[place].float() for place in self._chosen])
                states = functional.layer_norm(raw, raw.shape[-1:]).half().numpy()
                looked = torch.stack([said.attentions[place].float().mean(1) for place in self._chosen]).half().numpy()
            for at, row in enumerate(rows):
                n = len(tokens[row])
                self._kept[new[row]] = states[:, at, :n].copy(), looked[:, at, :n, :n].copy()

    def of(self, texts: Sequence[str], longest: int) -> tuple[Tensor, Tensor]:
        """(M, B, S, D) states and (M, B, S, S) attention, zero on padding."""
        width = self.embedding_VD.shape[1]
        states = np.zeros((LAYERS, len(texts), longest, width), np.float32)
        looked = np.zeros((LAYERS, len(texts), longest, longest), np.float32)
        for at, text in enumerate(texts):
            own, attention = self._kept[text]
            n = own.shape[1]
            states[:, at, :n], looked[:, at, :n, :n] = own, attention
        return torch.from_numpy(states), torch.from_numpy(looked)
