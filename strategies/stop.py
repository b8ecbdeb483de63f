"""When a federation has converged."""

from collections.abc import Sequence
from itertools import pairwise

from recipes.schema import StopConfig


def converged(config: StopConfig, losses: Sequence[float], gaps: Sequence[float | None]) -> bool:
    """Whether either rule of LLM-QFL (arXiv:2505.18656) held in each of the last `patience` rounds.

    |L_t − L_{t−1}| / L_{t−1} < ε, of the reference losses; or L_student − L_teacher ≤ δ, the student within δ of the
    teacher: means over the clients by their rows, both on the clients' held-out rows. A round without teachers has no
    such gap, and the second rule does not hold in it.
    """
    recent, near = losses[-config.patience - 1 :], gaps[-config.patience :]
    still = len(recent) > config.patience and all(
        abs(now - before) < config.epsilon * abs(before) for before, now in pairwise(recent)
    )
    delta = config.delta
    caught_up = delta is not None and all(gap is not None and gap <= delta for gap in near)
    return still or (caught_up and len(near) == config.patience)
