"""Texts as tokens: cut to what fits, in batches of like length, padded on the right, pooled at real tokens.

B texts, S tokens, D numbers a token. Padding is ours, so it matters neither which side a tokenizer pads on nor whether
its padding is also its end of text, as SmolLM2's is.
"""

from collections.abc import Sequence
from typing import Any

Tokens = list[list[int]]  # of every text, at least one


def tokenised(tokenizer: Any, texts: Sequence[str], most: int) -> Tokens:
    """Token numbers of every text, at most so many; a text that has none stands as one end-of-text token."""
    if not texts:
        return []
    nothing = [tokenizer.eos_token_id if tokenizer.eos_token_id is not None else 0]
    found = tokenizer(list(texts), truncation=True, max_length=most, return_attention_mask=False)["input_ids"]
    return [tokens or nothing for tokens in found]


def batches(tokens: Tokens, size: int) -> list[list[int]]:
    """Row numbers, shortest text first, so many at a time: always the same batches of the same texts."""
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    return [order[at : at + size] for at in range(0, len(order), size)]


def padded(tokens: Tokens, rows: Sequence[int]) -> tuple[Any, Any]:
    """(B, S) token numbers and (B, S) mask, 1 on real tokens; which number fills the rest does not matter."""
    import torch

    longest = max(len(tokens[row]) for row in rows)
    ids, mask = (torch.zeros(len(rows), longest, dtype=torch.int64) for _ in range(2))
    for place, row in enumerate(rows):
        ids[place, : len(tokens[row])] = torch.tensor(tokens[row])
        mask[place, : len(tokens[row])] = 1
    return ids, mask


def last(states_BSD: Any, mask_BS: Any) -> Any:
    """(B, D) float32: the state of every text's last real token."""
    import torch

    rows = torch.arange(len(mask_BS), device=mask_BS.device)
    return states_BSD[rows, mask_BS.sum(dim=1) - 1].float()


def mean(states_BSD: Any, mask_BS: Any) -> Any:
    """(B, D) float32: the mean over every text's real tokens."""
    real = mask_BS.unsqueeze(-1).float()
    return (states_BSD.float() * real).sum(dim=1) / real.sum(dim=1)
