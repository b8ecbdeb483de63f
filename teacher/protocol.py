"""What every teacher does: learn one client's texts, say how well, and give soft labels.

B texts, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Tuning:
    """How well a tuned teacher does on texts held out from it."""

    loss: float  # cross-entropy in nats
    accuracy: float
    f1: float  # macro: the mean over the classes seen in labels or answers
    seconds: float


class Teacher(Protocol):
    """The model a client tunes once and measures its student against."""

    name: str

    def tune(
        self,
        train_texts: Sequence[str],
        train_labels: NDArray[Any],
        held_out_texts: Sequence[str],
        held_out_labels: NDArray[Any],
    ) -> Tuning:
        """Learn from the training texts, from scratch or from a loaded adapter; measure on the held-out ones."""
        ...

    def soft_labels(self, texts: Sequence[str], temperature: float) -> NDArray[np.float64]:
        """(B, K) softmax of logits / temperature."""
        ...

    def adapter(self) -> Arrays:
        """What tuning changed; enough to make the same teacher elsewhere."""
        ...

    def load_adapter(self, adapter: Arrays) -> None:
        """Become the teacher that gave this adapter."""
        ...
