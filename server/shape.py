"""What a line of a ledger looks like, for whoever reads one that this program may not have written.

A shape is a check of one value, or is built of shapes: {key: shape} for keys that may be missing, beside others that
nobody reads; [shape] for a list; Each(shape) for a dictionary of them by any name, or by client.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

LONGEST = 10_000  # letters of a text, or of a key
LARGEST = 2**53  # a count beyond it is no longer exact as a float

HALVES = re.compile("[\ud800-\udfff]")  # of a letter beyond 16 bits


def word(value: Any) -> bool:
    """A text that fits on a page: half a letter, as JSON can write it, is in no encoding."""
    return value is None or (isinstance(value, str) and len(value) <= LONGEST and not HALVES.search(value))


@dataclass(frozen=True)
class Each:
    """A dictionary of values of one shape."""

    shape: Any
    named: Callable[[str], bool] = word


def count(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def amount(value: Any) -> bool:
    """A number that is always known, such as seconds."""
    return (type(value) is int and abs(value) < LARGEST) or (isinstance(value, float) and isfinite(value))


def number(value: Any) -> bool:
    """A number that was perhaps not finite: the ledger then has null."""
    return value is None or amount(value)


def square(value: Any) -> bool:
    """A confusion matrix."""
    return fits(value, [[count]]) and all(len(row) == len(value) for row in value)


def clients(value: Any) -> bool:
    """Clients by number, as a list or as the keys of a dictionary."""
    return fits(value, [count]) or fits(value, by_client(lambda _: True))


def portable(name: str) -> bool:
    """Whether an arm's name may also be that of its figures and their files."""
    return re.fullmatch(r"[\w.-]{1,40}", name, re.ASCII) is not None and name.strip(".") != ""


def by_client(shape: Any) -> Each:
    return Each(shape, lambda key: re.fullmatch(r"\d{1,15}", key, re.ASCII) is not None)


VISIT = {
    **dict.fromkeys(("examples", "evaluations", "shots", "maxiter", "requested"), count),
    **dict.fromkeys(
        ("student_loss", "student_accuracy", "teacher_loss", "teacher_accuracy", "teacher_f1", "rho"), number
    ),
    "note": word,
}
ANY = {
    "failed": by_client(word),
    "holds": by_client({"parts": Each(count), "classes": Each(count), "domains": Each(count)}),
    "seconds": {
        "round": amount,
        "clients": by_client(amount),
        "tuning": by_client({"seconds": amount}),
    },
    **dict.fromkeys(("bytes_up", "bytes_down"), count),
    "corpus": {"digest": word},
    **dict.fromkeys(("stage", "state", "reason"), word),
    "schema": lambda value: value is None or count(value),
}
ARM = {
    **dict.fromkeys(("reference_loss", "reference_accuracy", "cosine", "step"), number),
    "parameters": count,
    "invited": [count],
    "admitted": [count],
    "clients": by_client(VISIT),
}
SCORED = {**ARM, "confusion": square, **dict.fromkeys(("accuracy", "loss"), number)}
TESTED = {
    **dict.fromkeys(("examples", "shots"), count),
    **dict.fromkeys(("accuracy", "loss", "exact_loss", "shot_loss", "shot_spread"), Each(number)),
}
LINES = {  # kind → its shape, and the keys that it must have
    "round": ({**ANY, "round": count, "arms": Each(ARM, portable)}, ("round", "arms")),
    "score": (
        {
            **ANY,
            "arms": Each(SCORED, portable),
            "clients": by_client(TESTED),
            **dict.fromkeys(("head", "logistic", "majority"), number),
        },
        (),
    ),
}
OTHER = ({**ANY, "arms": Each(ARM), "clients": clients}, ())


def sound(line: Any) -> bool:
    """Whether a line has the shape that its readers rely on; single values may be missing."""
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        return False
    shape, needed = LINES.get(line["kind"], OTHER)
    return (
        all(key in line for key in needed)
        and fits(line, shape)
        and (line["kind"] != "round" or all("clients" in arm for arm in line["arms"].values()))
    )


def fits(value: Any, shape: Any) -> bool:
    """Whether a value, as JSON gives it, has a shape."""
    match shape:
        case Each():
            return isinstance(value, dict) and all(shape.named(k) and fits(v, shape.shape) for k, v in value.items())
        case dict():
            return isinstance(value, dict) and all(fits(value[key], of) for key, of in shape.items() if key in value)
        case list():
            return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    return bool(shape(value))
