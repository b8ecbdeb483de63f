"""The frozen lower layers: computed once, kept on disk, put back in place of the layers themselves.

LoRA in the top N of L layers leaves what enters layer L − N unchanged, so it is computed once for every text, in the
very batches that tuning uses: the logits and gradients above it have the bits of a full forward pass.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from teacher.base import Base
from teacher.kept import alone, keeping, one_thread, place, read
from teacher.tokens import Tokens, batches, padded

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

EVERY_SECONDS = 10.0  # between two lines of progress


class Lower:
    """What enters the top layers, for every token of some texts; written and read piece by piece, never whole."""

    def __init__(self, base: Base, texts: Sequence[str], tokens: Tokens, depth: int, batch: int, most: int) -> None:
        import torch

        self._tokens = tokens
        order = [row for rows in batches(tokens, batch) for row in rows]
        ends = np.cumsum([len(tokens[row]) for row in order])
        self._starts = {row: int(end) - len(tokens[row]) for row, end in zip(order, ends, strict=True)}
        facts = f"{base.facts} after {depth} layers, batches of {batch}, at most {most} tokens"
        path = place("lower", facts, texts)
        shape = (int(ends[-1]), base.model.config.hidden_size)
        kind = np.int16 if base.model.dtype == torch.bfloat16 else np.float32
        states = read(path, shape, kind, "r")
        if states is None:
            with alone(path):
                if read(path, shape, kind, "r") is None:
                    log.info("%d texts through %d frozen layers, once", len(texts), depth)
                    with keeping(path) as temporary, temporary.open("wb") as file:
                        write(file, below(base, tokens, depth, batch), tokens)
            states = np.load(path, mmap_mode="r")
        self._states = states

    def __call__(self, rows: Sequence[int]) -> Any:
        """(B, S, D) states of one batch; zeros on padding, which no real token attends to."""
        import torch

        longest = max(len(self._tokens[row]) for row in rows)
        padded_BSD = np.zeros((len(rows), longest, self._states.shape[1]), dtype=self._states.dtype)
        for at, row in enumerate(rows):
            start, length = self._starts[row], len(self._tokens[row])
            padded_BSD[at, :length] = self._states[start : start + length]
        states = torch.from_numpy(padded_BSD)
        return states.view(torch.bfloat16) if states.dtype == torch.int16 else states


def write(file: IO[bytes], pieces: Iterator[tuple[list[int], Any, Any]], tokens: Tokens) -> None:
    """Every token's states as an .npy file, text after text in the order of the batches."""
    for number, (rows, states_BSD, _) in enumerate(pieces):
        numbers = as_numpy(states_BSD)
        if number == 0:
            shape = (sum(len(row) for row in tokens), numbers.shape[2])
            kind = np.lib.format.dtype_to_descr(numbers.dtype)
            np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": kind})
        for row, of_row in zip(rows, numbers, strict=True):
            file.write(of_row[: len(tokens[row])].tobytes())


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
    """Let the first layers give back the states that lie under `states` in the dict that is returned.

    The modules stay where they are, so every layer above keeps its number; without states they compute as before.
    """
    given: dict[str, Any] = {}
    for layer in llm.get_submodule(base.layers)[:depth]:
        layer.forward = partial(replay, given, layer.forward, base.tupled)
    return given


def replay(given: dict[str, Any], forward: Any, tupled: bool, *args: Any, **keys: Any) -> Any:
    """The states that were given, or a layer's own work when there are none."""
    states = given.get("states")
    if states is None:
        return forward(*args, **keys)
    return (states, None) if tupled else states


def as_numpy(states: Any) -> NDArray[Any]:
    """The same bits as NumPy knows them: bfloat16 as int16."""
    import torch

    states = states.cpu()
    found: NDArray[Any] = (states.view(torch.int16) if states.dtype == torch.bfloat16 else states).numpy()
    return found
