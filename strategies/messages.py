"""What server and clients say to each other; plain values, no Flower.

An *arm* is one model federated in a run: `student`, and beside it `twin`, its classical control. One visit to a client
carries the assignments of all arms, so both see the same rows in the same round.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Counts = dict[str, dict[str, int]]  # rows: parts, classes, domains → name → how many
Kind = Literal["prepare", "train", "score"]
FLOWER = "1.41"  # the series that this app is for; Flower promises nothing between two of them, nor checks
FLOWER_BYTES = 2**31 - 1  # the most that Flower moves at once


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Server → client: one visit."""

    kind: Kind
    run: str  # names the client's memory
    recipe_digest: str
    most_bytes: int = FLOWER_BYTES  # of arrays that a message of this run may hold, either way
    corpus_digest: str = ""  # `prepare`: of the server's corpus, in a hello
    round: int = 0
    stage: str = ""  # `prepare`: which feature stage is being agreed on; "" only says hello
    memory_round: int = 0  # `train`: the round whose memory to start from; 0 is none
    teacher_round: int = 0  # `train`: the round whose adapters made the global teacher; 0 is none, use your own
    spend_seconds: float = 0.0  # QPU seconds that this client may use in the run; does not travel
    shared: Arrays = field(default_factory=dict)  # agreed feature arrays, as `stage/array`
    arms: dict[str, Arrays] = field(default_factory=dict)  # arm → its global arrays
    teacher: Arrays = field(default_factory=dict)  # the global adapter, for who has not seen it yet


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Client → server after `prepare`: its part of a stage's statistics."""

    client: int
    examples: int
    arrays: Arrays
    seconds: float
    holds: Counts = field(default_factory=dict)  # to a hello: its rows by part, class and domain
    chosen: dict[str, str] = field(default_factory=dict)  # to a hello: what its node chose for itself


@dataclass(frozen=True, kw_only=True)
class Report:
    """Client → server after `train`: one arm's update. Losses are held-out cross-entropies in nats."""

    client: int
    arm: str
    arrays: Arrays
    examples: int
    student_loss: float
    student_accuracy: float
    teacher_loss: float | None  # as the next two, None of a client without a teacher
    teacher_accuracy: float | None
    teacher_f1: float | None  # macro
    maxiter: int  # evaluations allowed this round
    evaluations: int  # evaluations used
    shots: int
    seconds: float  # without those of tuning a teacher
    tuning_seconds: float = 0.0  # of this visit; 0 when nothing was tuned, or it had been before and was kept
    tokens_per_second: float = 0.0  # of that tuning
    requested: int = 0  # evaluations the regulator's law asked for, before its caps
    teacher_precision: float | None = None  # macro, as the next
    teacher_recall: float | None = None
    rho: float = 0.0  # L_student / L_teacher that it saw; 0 without a loss of an earlier round or a teacher
    divergence: float = 0.0  # mean KL(teacher‖student) on the held-out rows, nats; 0 without a teacher
    terms: dict[str, float] = field(default_factory=dict)  # of what was minimised, nats; if taught
    note: str = ""  # what a reader of the ledger should know, such as a lost memory


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Client → server after `train` when adapters are federated: the teacher as this client tuned it."""

    client: int
    arrays: Arrays
    examples: int
    base: str = ""  # names the frozen weights below the adapter


@dataclass(frozen=True, kw_only=True)
class Score:
    """Client → server after `score`: the final arrays on this client's test rows."""

    client: int
    examples: int
    accuracy: dict[str, float]  # arm → accuracy
    loss: dict[str, float]  # arm → cross-entropy in nats
    confusion: dict[str, list[list[int]]]  # arm → test rows by class (row of the matrix) and answer (column)
    majority: float  # accuracy of always answering this client's most frequent training class
    logistic: float | None  # of logistic regression on the client's unreduced features, trained on its rows alone
    head: float | None  # of the linear head that the reduction was trained with; None, as above, where there is none
    shots: int
    seconds: float
    exact_loss: dict[str, float] = field(default_factory=dict)  # as `loss` on the exact engine, where that is another
    shot_loss: dict[str, float] = field(default_factory=dict)  # and with as many shots of it: their mean,
    shot_spread: dict[str, float] = field(default_factory=dict)  # and standard deviation over repetitions


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Client → server: why this client cannot do its assignment."""

    client: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Halt(Refusal):
    """A refusal without which the round must not close: work that is paid for would be lost. The run can be resumed."""


Reply = Answer | list[Report | Tuned] | Score | Refusal
