"""From a teacher's logits to probabilities, and from probabilities to how good they are."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


def softened(logits_BK: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """softmax(logits / T), Hinton et al., arXiv:1503.02531; T = 1 is the teacher's own belief."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
    scaled = np.asarray(logits_BK, dtype=np.float64) / temperature
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probs: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return probs


class HeldOut(NamedTuple):
    """How good probabilities are on rows with labels; macro: means over the classes seen in labels or answers."""

    loss: float  # cross-entropy in nats, probabilities clipped at 1e-12
    accuracy: float
    f1: float  # macro, as the next two
    precision: float
    recall: float


def held_out(probs_BK: NDArray[Any], labels: NDArray[Any]) -> HeldOut:
    """Of a class with h hits: precision h/#answered, recall h/#labelled, F1 2h/(the sum of these); over none, 0."""
    if not len(labels):
        raise ValueError("no held-out texts, so a teacher cannot be measured; give the client more rows")
    answers = probs_BK.argmax(axis=1)
    loss = -np.log(np.maximum(probs_BK[np.arange(len(labels)), labels], 1e-12)).mean()
    seen = np.union1d(labels, answers)
    said, held = (np.array([np.sum(which == k) for k in seen]) for which in (answers, labels))
    hits = np.array([np.sum((answers == k) & (labels == k)) for k in seen])
    f1, precision, recall = (
        float(np.mean(part / np.maximum(whole, 1)))
        for part, whole in ((2 * hits, said + held), (hits, said), (hits, held))
    )
    return HeldOut(float(loss), float((answers == labels).mean()), f1, precision, recall)
