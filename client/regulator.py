"""How many objective evaluations a client may spend next round (LLM-QFL, arXiv:2505.18656).

With the loss ratio ρ = L_student / L_teacher, both held-out cross-entropies in nats, a law maps (m, ρ) to the next
budget m′ ≥ 1, before capping. The paper's laws act when ρ > 1 and never take budget away; `twoway` is ours and may.
Incremental and adaptive are the same function for whole m: the paper counts them as two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log

from recipes.schema import RegulateConfig

Law = Callable[[int, float, int], int]


def none(m: int, rho: float, step_cap: int) -> int:
    """m′ = m."""
    return m


def incremental(m: int, rho: float, step_cap: int) -> int:
    """m′ = m + ⌊m·(ρ − 1)⌋."""
    return m + floor(m * (rho - 1))


def dynamic(m: int, rho: float, step_cap: int) -> int:
    """m′ = ⌊m·(1 + ρ)/2⌋, halfway between standing still and `adaptive`."""
    return floor(m * (1 + rho) / 2)


def logarithmic(m: int, rho: float, step_cap: int) -> int:
    """m′ = m + ⌊m·ln(1 + ρ)⌋."""
    return m + floor(m * log(1 + rho))


def adaptive(m: int, rho: float, step_cap: int) -> int:
    """m′ = ⌊m·ρ⌋."""
    return floor(m * rho)


def hybrid(m: int, rho: float, step_cap: int) -> int:
    """m′ = m + min(⌊m·ρ⌋, step cap)."""
    return m + min(floor(m * rho), step_cap)


def twoway(m: int, rho: float, step_cap: int) -> int:
    """m′ = ⌊m·ρ⌋, also when ρ < 1: a student ahead of its teacher gives evaluations back."""
    return max(1, floor(m * rho))


LAWS: dict[str, Law] = {
    law.__name__: law for law in (none, incremental, dynamic, logarithmic, adaptive, hybrid, twoway)
}


@dataclass(frozen=True)
class Budget:
    """What a student may spend in a round, and why."""

    maxiter: int
    requested: int  # by the law, before the cap
    rho: float

    def held_back(self, law: str) -> str:
        """What a reader of the ledger should know of a law that wants more than its cap."""
        return f"{law} asked for {self.requested} evaluations at ρ {self.rho:.3g}, capped at {self.maxiter}"


def regulate(config: RegulateConfig, m: int, student_loss: float, teacher_loss: float) -> Budget:
    """Next maxiter: m when the student already beats its teacher (but for `twoway`), at most the cap when it grows."""
    rho = student_loss / max(teacher_loss, 1e-12)  # a perfect teacher asks for the whole cap
    requested = m if rho <= 1 and config.law != "twoway" else LAWS[config.law](m, rho, config.step_cap)
    return Budget(min(requested, max(m, config.cap)), requested, rho)
