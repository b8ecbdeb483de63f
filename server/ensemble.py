"""Ensemble distillation on the server: FedDF (Lin et al. 2020, arXiv:2006.07242, algorithm 1).

The average of the clients' students learns, on public texts without labels, from all of them together: AVGLOGITS, the
softmax of their mean logits. Here with equal say for every client, as there, and for a fixed number of epochs.
B rows, C clients, K classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from data.stages import through
from quantum.executor import visit_seed
from quantum.guidance import Guidance
from quantum.readout import SMALLEST, softmax
from recipes.schema import Recipe
from server.reference import Reference
from strategies.messages import Arrays


class Ensemble:
    """What the server does with an average before it goes out again."""

    def __init__(self, recipe: Recipe, reference: Reference) -> None:
        self.recipe, self.reference = recipe, reference

    def __call__(self, arm: str, number: int, mean: Arrays, updates: Sequence[Arrays]) -> Arrays:
        """θ ← argmin KL(softmax(1/C Σ_c logits_c) ‖ student(θ)), from the mean on."""
        recipe, model = self.recipe, self.reference.arms[arm]
        logits_CBK = np.log([np.maximum(model.predict(update, self.x), SMALLEST) for update in updates])
        guidance = Guidance(softmax(logits_CBK.mean(axis=0)), weight=1.0, labels=0.0)
        optimiser = replace(recipe.optimiser.at(number), epochs=recipe.aggregate.epochs)
        none, seed = np.zeros(0, np.int64), visit_seed(recipe.seed, recipe.clients, number)  # that no client has
        return model.fit(mean, self.x, none, optimiser, optimiser.budget, guidance=guidance, seed=seed).arrays

    @cached_property
    def x(self) -> Any:
        """The public rows through the agreed stages."""
        return through(self.reference.stages, self.reference.shared, self.reference.public.texts)
