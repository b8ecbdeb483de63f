"""Clients that lie, for tests and benchmarks; the product has none.

A lie stands where `client.round.train` does: it takes a client and its assignment, and answers with reports. Only
training is poisoned: a liar's part of the feature stages is honest, and so are its losses and its teacher.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from client.participant import Participant
from client.round import train
from data.split import Rows
from strategies.messages import Assignment, Report, Tuned

Said = list[Report | Tuned]
Lie = Callable[[Participant, Assignment], Said]

SIGN_TIMES = 10.0  # s of `sign`: one liar of five, as long as the others, outweighs them
NOISE_STD = 10.0  # σ of `noise`: more than a turn of an angle, and enough to saturate the twin


def flip(who: Participant, assignment: Assignment) -> Said:
    """Trains on labels y → K − 1 − y (as in Tolpegin et al. 2020, arXiv:2007.08432), its teacher too."""
    return train(flipped(who), assignment)


def sign(who: Participant, assignment: Assignment) -> Said:
    """Trains honestly, then sends θ − s·(θ_i − θ)."""
    lies: Said = []
    for report in train(who, assignment):
        if isinstance(report, Tuned):
            lies.append(report)
            continue
        start = assignment.arms[report.arm]
        turned = {
            name: (start[name] - SIGN_TIMES * (array - start[name])).astype(array.dtype)
            for name, array in report.arrays.items()
        }
        lies.append(replace(report, arrays=turned))
    return lies


def noise(who: Participant, assignment: Assignment) -> Said:
    """Trains honestly, then sends θ_i + N(0, σ²); drawn anew for every client, round and arm."""
    lies: Said = []
    for arm, report in enumerate(train(who, assignment)):
        if isinstance(report, Tuned):
            lies.append(report)
            continue
        draw = np.random.default_rng((who.recipe.seed, assignment.round, who.number, arm))
        noisy = {
            name: (array + draw.normal(0, NOISE_STD, array.shape)).astype(array.dtype)
            for name, array in report.arrays.items()
        }
        lies.append(replace(report, arrays=noisy))
    return lies


@lru_cache(maxsize=64)
def flipped(who: Participant) -> Participant:
    """The same client with its training labels turned round; validation and test rows stay."""
    liar = Participant(who.recipe, who.number)
    rows = who.share.train
    liar.share = replace(who.share, train=Rows(rows.texts, who.n_classes - 1 - rows.labels))
    return liar


LIES: dict[str, Lie] = {lie.__name__: lie for lie in (flip, sign, noise)}
