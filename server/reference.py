"""The server's own held-out rows: nobody trains on them; every arm is measured on them exactly, after every round."""

from statistics import fmean
from typing import Any

import numpy as np

from data.corpus import load
from data.own import refuse_other_classes
from data.split import deal
from data.stages import Stage, through
from quantum.arms import arms
from quantum.guidance import cross_entropy
from quantum.reduction import stages
from quantum.student import Student
from recipes.schema import UNSTAGED, Recipe
from strategies.messages import Arrays
from teacher.encoders import encoder


class Reference:
    """Loss and accuracy of an arm's arrays on the reference rows."""

    def __init__(self, recipe: Recipe) -> None:
        corpus = load(recipe.data, recipe.seed)
        refuse_other_classes(corpus, recipe)
        self.corpus = {
            "source": corpus.source or recipe.data.corpus,
            "rows": len(corpus.labels),
            "digest": corpus.digest,
        }
        dealt = deal(corpus, recipe.data, recipe.clients, recipe.seed)
        self.rows, self.public = dealt.reference, dealt.public
        targets = recipe.student.generator.targets
        owners = [targets.index(name) for name in dict.fromkeys(targets)] or [0]
        n_classes, staged = len(corpus.classes), recipe.student.kind not in UNSTAGED
        self.n_classes = n_classes
        self.stages: list[Stage] = stages(recipe, encoder(recipe.features), n_classes) if staged else []
        columns = self.stages[0].size if staged else 0
        members = [arms(recipe.student, n_classes, client=owner, columns=columns) for owner in owners]
        self.arms: dict[str, Student] = members[0]
        self.members = {name: [one[name] for one in members] for name in self.arms}  # one a network that clients have
        self.shared: Arrays = {}
        self._x: Any = None

    def encode(self, shared: Arrays) -> None:
        """Send the reference rows through the agreed stages, once."""
        self.shared = shared
        self._x = through(self.stages, shared, self.rows.raw)

    def periods(self) -> dict[str, Arrays]:
        """Arm → of its angles; a twin has none."""
        return {name: arm.periods for name, arm in self.arms.items() if hasattr(arm, "periods")}

    def __call__(self, arm: str, arrays: Arrays) -> tuple[float, float]:
        """Cross-entropy in nats and accuracy; where clients have different networks, means over these."""
        y, all_BK = self.rows.labels, [member.predict(arrays, self._x) for member in self.members[arm]]
        return (
            fmean(cross_entropy(probs_BK, y) for probs_BK in all_BK),
            fmean(float(np.mean(probs_BK.argmax(1) == y)) for probs_BK in all_BK),
        )
