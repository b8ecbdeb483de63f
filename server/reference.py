"""The server's own held-out rows: nobody trains on them; every arm is measured on them exactly, after every round."""

from typing import Any

import numpy as np

from data.corpus import load
from data.split import deal
from data.stages import Stage, through
from quantum.arms import arms
from quantum.circuit_student import CircuitStudent
from quantum.objective import cross_entropy
from quantum.reduction import reduction
from quantum.student import Student
from recipes.schema import Recipe
from strategies.messages import Arrays
from teacher.encoders import encoder


class Reference:
    """Loss and accuracy of an arm's arrays on the reference rows."""

    def __init__(self, recipe: Recipe) -> None:
        corpus = load(recipe.data, recipe.seed)
        self.corpus = {
            "source": corpus.source or recipe.data.corpus,
            "rows": len(corpus.texts),
            "digest": corpus.digest,
        }
        self.rows = deal(corpus, recipe.data, recipe.clients, recipe.seed).reference
        self.arms: dict[str, Student] = arms(recipe.student, len(corpus.classes))
        self.stages: list[Stage] = []
        if recipe.student.kind != "noop":
            first = encoder(recipe.features)
            self.stages = [first, reduction(recipe.features, first.size, recipe.student.qubits, len(corpus.classes))]
        self._x: Any = None

    def encode(self, shared: Arrays) -> None:
        """Send the reference rows through the agreed stages, once."""
        self._x = through(self.stages, shared, self.rows.texts)

    def periods(self) -> dict[str, Arrays]:
        """Arm → of its angles; a twin has none."""
        return {name: arm.periods for name, arm in self.arms.items() if isinstance(arm, CircuitStudent)}

    def __call__(self, arm: str, arrays: Arrays) -> tuple[float, float]:
        """Cross-entropy in nats and accuracy."""
        probs_BK = self.arms[arm].predict(arrays, self._x)
        return cross_entropy(probs_BK, self.rows.labels), float(np.mean(probs_BK.argmax(1) == self.rows.labels))
