"""What every teacher does: learn one client's texts, say how well, and give soft labels.

B texts, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recipes.schema import TeacherConfig
from recipes.section import InputError

Arrays = dict[str, NDArray[Any]]


class TeacherError(InputError):
    """A teacher that cannot be: one line that says what its model, its rows or an adapter lack."""


@dataclass(frozen=True)
class Tuning:
    """How well a tuned teacher does on texts held out from it."""

    loss: float  # cross-entropy in nats
    accuracy: float
    f1: float  # macro: the mean over the classes seen in labels or answers
    seconds: float
    tokens_per_second: float | None = None  # of tuning, wall clock; None where nothing reads tokens


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


def teacher(config: TeacherConfig, n_classes: int, seed: int = 0, client: int = 0) -> Teacher:
    """The teacher a recipe names, for one client. Cheap: what is heavy is loaded when it is used."""
    return TEACHERS[config.kind](config, n_classes, seed, client)


def tiny(config: TeacherConfig, n_classes: int, seed: int, client: int) -> Teacher:
    """A linear model of hashed words; no download, no randomness."""
    from teacher.tiny import TinyTeacher

    return TinyTeacher(n_classes)


def lora(config: TeacherConfig, n_classes: int, seed: int, client: int) -> Teacher:
    """An LLM, LoRA-tuned."""
    from teacher.lora import LoraTeacher

    return LoraTeacher(config, n_classes, seed, client)


TEACHERS: dict[str, Callable[[TeacherConfig, int, int, int], Teacher]] = {"tiny": tiny, "lora": lora}
