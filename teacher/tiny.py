"""A teacher without a download: hashed bag of words and multinomial logistic regression, in NumPy, deterministic."""

import re
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teacher.protocol import Arrays, TeacherError, Tuning
from teacher.soft_labels import held_out, softened

BUCKETS = 2048
STEPS = 100
L2 = 1e-3  # on the weights, with rows of unit length


class TinyTeacher:
    """p = softmax(xW + b), x the unit-length counts of a text's words by hash."""

    name = "tiny"

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.load_adapter(
            {"weight": np.zeros((BUCKETS, n_classes), np.float32), "bias": np.zeros(n_classes, np.float32)}
        )

    def tune(
        self,
        train_texts: Sequence[str],
        train_labels: NDArray[Any],
        held_out_texts: Sequence[str],
        held_out_labels: NDArray[Any],
    ) -> Tuning:
        """From the adapter it holds (zeros at first): a fixed number of full-batch steps."""
        began = time.perf_counter()
        if not len(train_texts):
            raise ValueError("no training texts, so a teacher cannot be tuned; give the client more rows")
        self._descend(words(train_texts), np.eye(self.n_classes)[train_labels])
        found = held_out(self.soft_labels(held_out_texts, 1.0), np.asarray(held_out_labels))
        return Tuning(found.loss, found.accuracy, found.f1, time.perf_counter() - began)

    def soft_labels(self, texts: Sequence[str], temperature: float) -> NDArray[np.float64]:
        """(B, K) softmax of logits / temperature."""
        logits = words(texts) @ self._weight.astype(np.float64) + self._bias.astype(np.float64)
        return softened(logits, temperature)

    def adapter(self) -> Arrays:
        """All of it: weight (buckets, K) and bias (K)."""
        return {"weight": self._weight.copy(), "bias": self._bias.copy()}

    def load_adapter(self, adapter: Arrays) -> None:
        """Another tiny teacher's weights."""
        shapes = {name: array.shape for name, array in adapter.items()}
        wanted = {"weight": (BUCKETS, self.n_classes), "bias": (self.n_classes,)}
        if shapes != wanted:
            raise TeacherError(
                f"the adapter is {shapes}; a tiny teacher of {self.n_classes} classes takes {wanted}: "
                "begin a new run with this recipe"
            )
        self._weight, self._bias = (adapter[name].astype(np.float32) for name in wanted)

    def _descend(self, x_BD: NDArray[np.float64], onehot_BK: NDArray[np.float64]) -> None:
        """Nesterov's accelerated gradient (1983). Rows (x, 1) have length √2, so the Hessian is at most 1 + λ."""
        x = np.column_stack([x_BD, np.ones(len(x_BD))])
        decay = np.append(np.full(BUCKETS, L2), 0.0)[:, None]
        at = np.vstack([self._weight, self._bias]).astype(np.float64)
        ahead = at
        for k in range(STEPS):
            slope = x.T @ (softened(x @ ahead, 1.0) - onehot_BK) / len(x) + decay * ahead
            before, at = at, ahead - slope / (1 + L2)
            ahead = at + k / (k + 3) * (at - before)
        self._weight, self._bias = at[:-1].astype(np.float32), at[-1].astype(np.float32)


def words(texts: Sequence[str]) -> NDArray[np.float64]:
    """(B, buckets) counts of lower-case words by CRC-32, which is equal on every machine; rows of unit length."""
    rows = np.zeros((len(texts), BUCKETS), dtype=np.float64)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            row[zlib.crc32(word.encode()) % BUCKETS] += 1
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = rows / np.maximum(lengths, 1.0)  # a text without words stays 0
    return unit
