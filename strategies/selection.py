"""Which clients count in a round.

The same rule serves two acts. *Invite*: who trains, from the losses each client last reported. *Admit*: whose update is
averaged, from the losses of this round. A rule never sees a clock or an arrival order, so equal seeds choose alike.
"""

from collections.abc import Callable

import numpy as np

from recipes.schema import SelectConfig

Losses = dict[int, float]  # client → its held-out loss
Selector = Callable[[Losses, float, int, tuple[int, ...]], list[int]]


def everyone(losses: Losses, reference: float, k: int, key: tuple[int, ...]) -> list[int]:
    """All clients."""
    return sorted(losses)


def uniform(losses: Losses, reference: float, k: int, key: tuple[int, ...]) -> list[int]:
    """k clients drawn without replacement; the control for every cleverer rule."""
    return sorted(int(client) for client in np.random.default_rng(key).choice(sorted(losses), k, replace=False))


def alignment(losses: Losses, reference: float, k: int, key: tuple[int, ...]) -> list[int]:
    """The k smallest deviations d_i = |L_i − L_reference| (LLM-QFL, arXiv:2505.18656); ties to the lower id."""
    return sorted(sorted(losses, key=lambda client: (abs(losses[client] - reference), client))[:k])


SELECTORS: dict[str, Selector] = {rule.__name__: rule for rule in (everyone, uniform, alignment)}


def select(config: SelectConfig, losses: Losses, reference: float, key: tuple[int, ...]) -> list[int]:
    """Client ids, ascending. `key` seeds this round's draw."""
    return SELECTORS[config.by](losses, reference, config.takes(len(losses)), key)
