"""From a teacher's logits to probabilities, and from probabilities to how good they are."""

from typing import Any

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


def held_out(probs_BK: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float, float]:
    """Cross-entropy in nats (probabilities clipped at 1e-12), accuracy, macro F1 over the classes seen."""
    if not len(labels):
        raise ValueError("no held-out texts, so a teacher cannot be measured; give the client more rows")
    answers = probs_BK.argmax(axis=1)
    loss = -np.log(np.maximum(probs_BK[np.arange(len(labels)), labels], 1e-12)).mean()
    seen = np.union1d(labels, answers)
    f1 = [2 * np.sum((answers == k) & (labels == k)) / (np.sum(answers == k) + np.sum(labels == k)) for k in seen]
    return float(loss), float((answers == labels).mean()), float(np.mean(f1))
