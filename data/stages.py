"""From text to the numbers a circuit encodes, in stages whose statistics are agreed on without moving a text.

A stage that must learn something (document frequencies, a projection) learns it before round 1, in `exchanges` visits:
every client answers with `local` arrays computed on its training rows, the server merges them, everyone applies them.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Stage(Protocol):
    """One step of the way: an encoder (texts → vectors) or a reduction (vectors → n numbers in [0, 1])."""

    name: str
    exchanges: int  # visits to every client that this stage needs; 0 when it learns nothing
    size: int  # columns of what `apply` returns

    def initial(self, seed: int) -> Arrays:
        """What everyone starts from; empty when the first merge makes it."""
        ...

    def local(self, arrays: Arrays, rows: Any, labels: NDArray[np.int64]) -> Arrays:
        """A client's answer, from its training rows alone."""
        ...

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """The agreed arrays, from all answers in the order of client ids."""
        ...

    def apply(self, arrays: Arrays, rows: Any) -> NDArray[np.float64]:
        """Rows through this stage."""
        ...


class Frozen:
    """What an encoder that learns nothing answers to the exchanges of a stage: nothing."""

    name = "encoder"
    exchanges = 0

    def initial(self, seed: int) -> Arrays:
        """No arrays."""
        return {}

    def local(self, arrays: Arrays, rows: Sequence[str], labels: NDArray[Any]) -> Arrays:
        """Nothing to answer."""
        return {}

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """Nothing to agree on."""
        return {}


def through(stages: list[Stage], shared: Arrays, rows: Any) -> Any:
    """Rows through the stages in turn; `shared` holds every stage's arrays as `stage/array`."""
    for stage in stages:
        rows = stage.apply(arrays_of(stage, shared), rows)
    return rows


def arrays_of(stage: Stage, shared: Arrays) -> Arrays:
    """The arrays of one stage, out of everyone's."""
    return {key.partition("/")[2]: array for key, array in shared.items() if key.startswith(f"{stage.name}/")}


def named(stage: Stage, arrays: Arrays) -> Arrays:
    """A stage's arrays under their shared names."""
    return {f"{stage.name}/{key}": array for key, array in arrays.items()}
