"""What a client's teacher has said of its rows: all that a student needs of it, kept, so that an LLM loads seldom.

In round 1, or as long as nobody else's counts, a client's teacher is its own, tuned on its labelled rows. Once adapters
have been averaged it is the global one. B rows that a student is fitted on, labelled ones first; V held-out rows.
"""

import hashlib
import logging
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from client.memory import home
from client.participant import Participant
from data.whole import write_whole
from recipes.section import InputError
from strategies.messages import Assignment, Tuned
from teacher.models import below
from teacher.protocol import Teacher
from teacher.soft_labels import held_out

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

Floats = NDArray[np.float64]
OWN = 0  # the round of the teacher that a client tuned by itself


@dataclass(frozen=True)
class Lessons:
    """A teacher's answers, and what it took to tune it in this visit."""

    soft: Floats  # (B, K) at the recipe's temperature; no rows when nothing is distilled
    beliefs: Floats  # (V, K) on the held-out rows, at temperature 1
    loss: float | None  # cross-entropy on the held-out rows, nats
    accuracy: float | None
    f1: float | None  # macro, as the next two
    precision: float | None
    recall: float | None
    tuning_seconds: float = 0.0  # 0 when nothing was tuned, or had been before; does not last
    tokens_per_second: float = 0.0


NOTHING = np.zeros((0, 0))
# no teacher: it teaches, regulates, weighs and stops nothing
ABSENT = Lessons(NOTHING, NOTHING, None, None, None, None, None)


def attend(who: Participant, assignment: Assignment) -> tuple[Lessons, list[Tuned], str]:
    """This round's lessons, the teacher to send in a round that federates it, and what a reader should know of that.

    A global teacher that is tuned further in this round teaches as it came: of its next state all clients shall learn.
    """
    run, number = assignment.run, assignment.teacher_round
    config = who.recipe.teacher
    if config.kind == "none":
        return ABSENT, [], ""
    tunes = config.tunes(assignment.round)
    kept, note = recalled(who, run, number), ""
    if number > OWN and not kept and not assignment.teacher:
        note = f"what the teacher of round {number} said was lost or is of other rows, its own one teaches"
        kept, number = recalled(who, run, OWN), OWN
    if kept and not tunes:
        return kept, [], note
    teacher = who.new_teacher()
    if number > OWN:
        teacher.load_adapter(teacher.adapter() | assignment.teacher)  # what does not travel is the same for all
        kept = kept or keep(said(who, teacher), who, run, number)
    seconds, speed = 0.0, 0.0
    try:
        if tunes or not kept:
            rows, validation = who.share.train, who.share.validation
            tuning = teacher.tune(rows.texts, rows.labels, validation.texts, validation.labels)
            seconds, speed = tuning.seconds, tuning.tokens_per_second
    except InputError as error:
        log.warning("client %03d goes on with no teacher of its own: %s", who.number, error)
        return kept or ABSENT, [], f"no teacher of its own: {error}"
    kept = replace(kept or keep(said(who, teacher), who, run, OWN), tuning_seconds=seconds, tokens_per_second=speed)
    if not tunes:
        return kept, [], note
    arrays = {name: array for name, array in teacher.adapter().items() if travels(name, config.federate)}
    tuned = Tuned(client=who.number, arrays=arrays, examples=len(who.share.train), base=below(config))
    return kept, [tuned], note


def travels(name: str, federate: str) -> bool:
    """Whether an array of an adapter is sent: under ffa, all but the A that everyone starts from and nobody changes."""
    return federate != "ffa" or not name.endswith("/A")


def spoken_of(who: Participant) -> list[str]:
    """The texts that this client's students meet while they learn."""
    return who.share.train.texts + who.share.unlabelled.texts + who.public.texts


def fingerprint(who: Participant) -> str:
    """Of all that lessons depend on: the texts that they are about and the labels behind them, in their order."""
    train_rows, validation = who.share.train, who.share.validation
    labels = [str(rows.labels.tolist()) for rows in (train_rows, validation)]
    return hashlib.sha256("\0".join([*spoken_of(who), *validation.texts, *labels]).encode()).hexdigest()


def said(who: Participant, teacher: Teacher) -> Lessons:
    """Ask a teacher about all rows that this client's students meet while they learn."""
    distil, share, texts = who.recipe.distil, who.share, spoken_of(who)
    beliefs_VK = teacher.soft_labels(share.validation.texts, 1.0)
    soft_BK = teacher.soft_labels(texts, distil.temperature) if distil.teaches else beliefs_VK[:0]
    return Lessons(soft_BK, beliefs_VK, *held_out(beliefs_VK, share.validation.labels))


def path(who: Participant, run: str, number: int) -> Path:
    """Where the lessons of the teacher of a round lie."""
    return home(run, who.number) / f"lessons-{number:04d}.npz"


def recalled(who: Participant, run: str, number: int) -> Lessons | None:
    """Lessons of before, or None where there are none: another disk, a cleared cache, a power cut, other rows."""
    file = path(who, run, number)
    if not file.is_file() or not file.stat().st_size:
        return None
    try:
        with np.load(file) as kept:
            soft_BK, beliefs_VK = kept["soft"], kept["beliefs"]
            if "rows" in kept and str(kept["rows"]) != fingerprint(who):
                return None
        return Lessons(soft_BK, beliefs_VK, *held_out(beliefs_VK, who.share.validation.labels))
    except (BadZipFile, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete it, and this client asks its teacher anew") from None


def keep(lessons: Lessons, who: Participant, run: str, number: int) -> Lessons:
    """The lessons, once they are on disk; not flushed, as a client's memory."""
    file, written = path(who, run, number), BytesIO()
    np.savez(written, soft=lessons.soft, beliefs=lessons.beliefs, rows=fingerprint(who))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, written.getvalue(), durable=False)
    return lessons
