"""All that a federation must remember between rounds; enough to go on after a crash as if nothing had happened."""

from dataclasses import dataclass, field

from strategies.messages import Arrays


@dataclass(kw_only=True)
class ArmState:
    """One arm: its global arrays and what its rules have seen."""

    arrays: Arrays
    ahead: Arrays = field(default_factory=dict)  # where the clients start, if not there
    client_losses: dict[int, float] = field(default_factory=dict)  # last reported, for *invite*
    reference_losses: list[float] = field(default_factory=list)  # one a round, after aggregation
    gaps: list[float | None] = field(default_factory=list)  # one a round: the student's loss less the teacher's
    converged: bool = False

    def start(self) -> Arrays:
        """What the clients train from."""
        return self.ahead or self.arrays


@dataclass(kw_only=True)
class State:
    """The federation after `round` rounds; `shared` is empty until the feature stages are agreed on."""

    round: int = 0
    shared: Arrays = field(default_factory=dict)
    arms: dict[str, ArmState]
    teacher: Arrays = field(default_factory=dict)  # the global adapter; empty until adapters were averaged
    teacher_round: int = 0  # when they last were
    visited: dict[int, int] = field(default_factory=dict)  # client → the round of its newest memory
    slowest_seconds: float = 0.0  # of any whole visit so far, for the deadline

    def training(self) -> list[str]:
        """The arms that have not converged."""
        return [name for name, arm in self.arms.items() if not arm.converged]
