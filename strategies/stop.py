"""When a federation has converged."""

from collections.abc import Sequence
from itertools import pairwise

from recipes.schema import StopConfig


def converged(config: StopConfig, losses: Sequence[float], gaps: Sequence[float]) -> bool:
    """Whether either rule of LLM-QFL (arXiv:2505.18656) held in each of the last `patience` rounds.

    |L_t − L_{t−1}| / L_{t−1} < ε, of the reference losses; or L_student − L_teacher ≤ δ, the student within δ of the
    teacher: means over the clients by their rows, both on the clients' held-out rows.
    """
    recent, near = losses[-config.patience - 1 :], gaps[-config.patience :]
    still = len(recent) > config.patience and all(
        abs(now - before) < config.epsilon * abs(before) for before, now in pairwise(recent)
    )
    delta = config.delta
    return still or (delta is not None and len(near) == config.patience and all(gap <= delta for gap in near))
