"""What makes a reply unusable: the reason stands in the ledger under the client's name, and the reply is left out."""

import math
from collections.abc import Iterable

import numpy as np

from strategies.messages import Arrays, Counts, Report, Score

TEACHER = ("teacher_loss", "teacher_accuracy", "teacher_f1")
TIMES = ("seconds", "tuning_seconds", "tokens_per_second")
LATER = ("teacher_precision", "teacher_recall")  # which a client of before did not send
NUMBERS = ("student_loss", "student_accuracy", *TEACHER, *LATER, "rho", "divergence", *TIMES)
MOST_ROWS = 10**9  # of a client
LARGEST = 1e6  # of a number that a model is made of; beyond it lie models that have diverged, and lies
LARGEST_SUM = 1e15  # of one in the statistics of so many rows


def unusable(report: Report, expected: Arrays) -> str | None:
    """The first thing wrong with an update, or None."""
    if not 1 <= report.examples <= MOST_ROWS:
        return f"{report.arm}: trained on {report.examples} rows"
    for name in NUMBERS:
        if (number := getattr(report, name)) is not None and not math.isfinite(number):
            return f"{report.arm}: {name} is {number}"
    absent = [name for name in TEACHER if getattr(report, name) is None]
    if 0 < len(absent) < len(TEACHER):
        return f"{report.arm}: has a teacher without its {', '.join(absent)}"
    for name, value in report.terms.items():
        if not (isinstance(value, int | float) and math.isfinite(value)):
            return f"{report.arm}: its term {name} is {value}"
    if report.divergence < 0:  # which no divergence is; it would buy weight in the average
        return f"{report.arm}: divergence is {report.divergence}"
    return wrong_arrays(report.arrays, expected, f"{report.arm}: ")


def unscored(score: Score, arms: Iterable[str]) -> str | None:
    """The first thing wrong with a score, or None."""
    if not 1 <= score.examples <= MOST_ROWS:
        return f"scored {score.examples} rows"
    for name in ("majority", "logistic", "head", "seconds"):
        if (value := getattr(score, name)) is not None and not math.isfinite(value):
            return f"{name} is {getattr(score, name)}"
    for arm in arms:
        if arm not in score.loss or arm not in score.accuracy:
            return f"sent no score of {arm}"
        if not (math.isfinite(score.loss[arm]) and math.isfinite(score.accuracy[arm])):
            return f"{arm}: loss is {score.loss[arm]}, accuracy {score.accuracy[arm]}"
        for name in ("exact_loss", "shot_loss", "shot_spread"):
            if not all(map(math.isfinite, getattr(score, name).values())):
                return f"{arm}: the {name.replace('_', ' ')} is {getattr(score, name)}"
        if fault := uncrossed(score.confusion.get(arm), score.examples):
            return f"{arm}: {fault}"
    return None


def uncrossed(matrix: object, examples: int) -> str | None:
    """What is wrong with a confusion matrix of so many rows, or None."""
    if not isinstance(matrix, list) or not all(isinstance(row, list) and len(row) == len(matrix) for row in matrix):
        return "its confusion matrix is not square"
    counts = [count for row in matrix for count in row]
    if not all(map(is_count, counts)) or sum(counts) != examples:
        return f"its confusion matrix does not count {examples} rows"
    return None


def uncounted(holds: Counts) -> str | None:
    """What is wrong with how a client counts its rows, or None."""
    for part, counts in holds.items():
        if not isinstance(counts, dict) or not all(map(is_count, counts.values())):
            return f"counts its {part} as {counts}"
    return None


def is_count(value: object) -> bool:
    """A whole number, not below 0; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def wrong_arrays(arrays: Arrays, expected: Arrays, where: str = "", largest: float = LARGEST) -> str | None:
    """The first array that is missing, unexpected, misshapen, not finite or absurdly large, or None."""
    if arrays.keys() != expected.keys():
        return f"{where}sent {', '.join(sorted(arrays)) or 'no arrays'}; expected {', '.join(sorted(expected))}"
    for name, array in arrays.items():
        if array.shape != expected[name].shape or array.dtype != expected[name].dtype:
            found, wanted = (f"{a.dtype}{list(a.shape)}" for a in (array, expected[name]))
            return f"{where}{name} is {found}; expected {wanted}"
        if not np.isfinite(array).all():
            return f"{where}{name} holds {int((~np.isfinite(array)).sum())} values that are not finite"
        if array.size and (most := max(float(array.max()), -float(array.min()))) > largest:
            return f"{where}{name} holds {most:.3g}; no sound value is beyond {largest:.0e}"
    return None
