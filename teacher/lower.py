"""The frozen lower layers: computed once, kept on disk, put back in place of the layers themselves.

LoRA in the top N of L layers leaves what enters layer L − N unchanged, so it is computed once for every text, in the
very batches that tuning uses: the logits and gradients above it have the bits of a full forward pass.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teacher.base import Base
from teacher.kept import kept, one_thread
from teacher.tokens import Tokens, batches, padded

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

EVERY_SECONDS = 10.0  # between two lines of progress


class Lower:
    """What enters the top layers, for every token of some texts; read from disk as it is needed."""

    def __init__(self, base: Base, texts: Sequence[str], tokens: Tokens, depth: int, batch: int, most: int) -> None:
        def computed() -> NDArray[Any]:
            log.info("%d texts through %d frozen layers, once", len(texts), depth)
            lengths = [len(row) for row in tokens]
            starts, whole = np.cumsum([0, *lengths]), np.zeros((sum(lengths), 0), dtype=np.int16)
            for rows, states_BSD, _ in below(base, tokens, depth, batch):
                numbers = as_numpy(states_BSD)
                if not whole.shape[1]:
                    whole = np.zeros((sum(lengths), numbers.shape[2]), dtype=numbers.dtype)
                for row, of_row in zip(rows, numbers, strict=True):
                    whole[starts[row] : starts[row + 1]] = of_row[: lengths[row]]
            return whole

        facts = f"{base.facts} after {depth} layers, batches of {batch}, at most {most} tokens"
        self._tokens, self._starts = tokens, np.cumsum([0, *(len(row) for row in tokens)])
        self._states = np.load(kept("lower", facts, texts, computed), mmap_mode="r")

    def __call__(self, rows: Sequence[int]) -> Any:
        """(B, S, D) states of one batch; zeros on padding, which no real token attends to."""
        import torch

        longest = max(len(self._tokens[row]) for row in rows)
        padded_BSD = np.zeros((len(rows), longest, self._states.shape[1]), dtype=self._states.dtype)
        for place, row in enumerate(rows):
            of_row = self._states[self._starts[row] : self._starts[row + 1]]
            padded_BSD[place, : len(of_row)] = of_row
        states = torch.from_numpy(padded_BSD)
        return states.view(torch.bfloat16) if states.dtype == torch.int16 else states


def below(base: Base, tokens: Tokens, depth: int, size: int) -> Iterator[tuple[list[int], Any, Any]]:
    """Rows, states and mask of every batch after so many layers; after all of them, normalised as the model does."""
    import torch

    llm = base.own()
    layers = llm.get_submodule(base.layers)
    seen: list[Any] = []
    if depth < len(layers):
        del layers[depth:]
        layers[-1].register_forward_hook(lambda module, inputs, out: seen.append(out[0] if base.tupled else out))
    began = said = time.monotonic()
    done, every = 0, sum(len(row) for row in tokens)
    for rows in batches(tokens, size):
        ids, mask = (tensor.to(llm.device) for tensor in padded(tokens, rows))
        with one_thread(), torch.inference_mode():
            end = llm(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        yield rows, seen.pop() if seen else end, mask
        done += int(mask.sum())
        if time.monotonic() > said + EVERY_SECONDS:
            said = time.monotonic()
            log.info("%d of %d tokens  %.0f tokens/s", done, every, done / (said - began))


def replaced(llm: Any, base: Base, depth: int) -> dict[str, Any]:
    """Give the first layers a place to take their states from: under `states` in the dict that is returned.

    The modules stay where they are, so every layer above keeps its number; without states they compute as before.
    """
    place: dict[str, Any] = {}
    for layer in llm.get_submodule(base.layers)[:depth]:
        layer.forward = partial(replay, place, layer.forward, base.tupled)
    return place


def replay(place: dict[str, Any], forward: Any, tupled: bool, *args: Any, **keys: Any) -> Any:
    """The states that lie in the place, or a layer's own work when there are none."""
    states = place.get("states")
    if states is None:
        return forward(*args, **keys)
    return (states, None) if tupled else states


def as_numpy(states: Any) -> NDArray[Any]:
    """The same bits as NumPy knows them: bfloat16 as int16."""
    import torch

    states = states.cpu()
    found: NDArray[Any] = (states.view(torch.int16) if states.dtype == torch.bfloat16 else states).numpy()
    return found
