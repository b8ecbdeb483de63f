"""Which clients count in a round.

The same rule serves two acts. *Invite*: who trains, from the losses each client last reported. *Admit*: whose update is
averaged, from the losses of this round. A rule never sees a clock or an arrival order, so equal seeds choose alike.
"""

from collections.abc import Callable

import numpy as np

from recipes.schema import SelectConfig

Losses = dict[int, float]  # client → its held-out loss
Key = tuple[int, ...]  # seeds a draw
Selector = Callable[[SelectConfig, Losses, float, Key], list[int]]


def everyone(config: SelectConfig, losses: Losses, reference: float, key: Key) -> list[int]:
    """All clients."""
    return sorted(losses)


def uniform(config: SelectConfig, losses: Losses, reference: float, key: Key) -> list[int]:
    """k clients drawn without replacement; the control for every cleverer rule."""
    return drawn(losses, config.takes(len(losses)), key)


def alignment(config: SelectConfig, losses: Losses, reference: float, key: Key) -> list[int]:
    """The k smallest deviations d_i = |L_i − L_reference| (LLM-QFL, arXiv:2505.18656); ties to the lower id."""
    nearest = sorted(losses, key=lambda client: (abs(losses[client] - reference), client))
    return sorted(nearest[: config.takes(len(losses))])


def power_of_choice(config: SelectConfig, losses: Losses, reference: float, key: Key) -> list[int]:
    """Of d clients drawn without replacement, the k with the largest losses (Cho et al. 2020, arXiv:2010.01243).

    d = k is `uniform`. As their π_rpow-d it takes the losses that clients last reported, so that asking costs no visit.
    They draw in proportion to the rows of a client; here evenly, for a client may claim any number of rows.
    """
    candidates = drawn(losses, config.looks_at(len(losses)), key)
    return sorted(sorted(candidates, key=lambda client: (-losses[client], client))[: config.takes(len(losses))])


def drawn(losses: Losses, k: int, key: Key) -> list[int]:
    """k clients, each as likely."""
    return sorted(int(client) for client in np.random.default_rng(key).choice(sorted(losses), k, replace=False))


SELECTORS: dict[str, Selector] = {
    rule.__name__.replace("_", "-"): rule for rule in (everyone, uniform, alignment, power_of_choice)
}


def select(config: SelectConfig, losses: Losses, reference: float, key: Key) -> list[int]:
    """Client ids, ascending. `key` seeds this round's draw."""
    return SELECTORS[config.by](config, losses, reference, key)
