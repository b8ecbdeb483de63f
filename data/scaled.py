"""An encoder's columns, each scaled to mean 0 and variance 1 over all clients' training rows.

Only sums are exchanged: n, Σx and Σx² over the clients give μ = Σx/n and σ² = Σx²/n − μ². Sums of counts are whole
numbers, so they are exact, whoever holds which row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.stages import Arrays, Stage


class Scaled:
    """A stage around an encoder that learns nothing; of an LLM's states, a few columns are far larger than the rest."""

    name = "encoder"
    exchanges = 1

    def __init__(self, encoder: Stage) -> None:
        self.encoder, self.size = encoder, encoder.size

    def initial(self, seed: int) -> Arrays:
        """Nothing: the first merge makes mean and spread."""
        return {}

    def local(self, arrays: Arrays, rows: Sequence[str], labels: NDArray[Any]) -> Arrays:
        """n, Σx and Σx² of its training rows."""
        x = self.encoder.apply({}, rows)
        return {"count": np.array([float(len(x))]), "sum": x.sum(axis=0), "square": (x**2).sum(axis=0)}

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """Mean and standard deviation; a column that is the same in every row has spread 1, so it becomes 0."""
        n, total, square = (np.sum([answer[key] for answer in answers], axis=0) for key in ("count", "sum", "square"))
        variance = (n * square - total**2) / n**2  # of counts, whole numbers above, so nothing cancels
        return {"mean": total / n, "scale": np.sqrt(np.where(variance > 0, variance, 1))}

    def apply(self, arrays: Arrays, rows: Sequence[str]) -> NDArray[np.float64]:
        """(B, D) scaled columns."""
        return np.asarray((self.encoder.apply({}, rows) - arrays["mean"]) / arrays["scale"], dtype=np.float64)
