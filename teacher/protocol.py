"""What every teacher does: learn one client's texts, say how well, and give soft labels.

B texts, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.kmers import refuse_foreign, shortened, spaced_kmers
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
    seconds: float  # of tuning; 0 where the same tuning was done before and kept
    tokens_per_second: float = 0.0  # of tuning, wall clock; 0 where none are read


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


def teacher(
    config: TeacherConfig, n_classes: int, seed: int = 0, client: int = 0, words: tuple[int, int] = (0, 1)
) -> Teacher:
    """The teacher a recipe names, for one client. Cheap: what is heavy is loaded when it is used.

    `words` are k and stride of those that it reads DNA in; k is 0 for texts as they stand.
    """
    made = TEACHERS[config.kind](config, n_classes, seed, client)
    k, stride = words
    return Spelling(made, k, stride) if k else made


class Spelling:
    """A teacher that reads DNA as words of k letters, one every `stride` letters."""

    def __init__(self, inner: Teacher, k: int, stride: int) -> None:
        self.name, self.adapter, self.load_adapter = inner.name, inner.adapter, inner.load_adapter
        self._inner, self._k, self._stride = inner, k, stride

    def tune(
        self,
        train_texts: Sequence[str],
        train_labels: NDArray[Any],
        held_out_texts: Sequence[str],
        held_out_labels: NDArray[Any],
    ) -> Tuning:
        """As the teacher within, on spelled rows."""
        train, held_out = self._spelled(train_texts), self._spelled(held_out_texts)
        return self._inner.tune(train, train_labels, held_out, held_out_labels)

    def soft_labels(self, texts: Sequence[str], temperature: float) -> NDArray[np.float64]:
        """(B, K) softmax of logits / temperature."""
        return self._inner.soft_labels(self._spelled(texts), temperature)

    def _spelled(self, texts: Sequence[str]) -> list[str]:
        for text in texts:
            refuse_foreign(shortened(text), text)
        return [spaced_kmers(text, self._k, self._stride) for text in texts]


def tiny(config: TeacherConfig, n_classes: int, seed: int, client: int) -> Teacher:
    """A linear model of hashed words; no download, no randomness."""
    from teacher.tiny import TinyTeacher

    return TinyTeacher(n_classes)


def lora(config: TeacherConfig, n_classes: int, seed: int, client: int) -> Teacher:
    """An LLM, LoRA-tuned."""
    from teacher.lora import LoraTeacher

    return LoraTeacher(config, n_classes, seed, client)


TEACHERS: dict[str, Callable[[TeacherConfig, int, int, int], Teacher]] = {"tiny": tiny, "lora": lora}
