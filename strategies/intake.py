"""What arrives, judged before anything is made of it: how much, of what type, and under which names.

Arrays travel in NumPy's own format: a header with a type and a shape, then the bytes. NumPy would reserve whatever a
header asks for, so a header is believed only when as many bytes follow it. Nothing is unpickled.
"""

import json
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from strategies.messages import Arrays

LARGEST_WHOLE, LONGEST_TEXT, LONGEST_NAME = 2**63 - 1, 10_000, 200
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
KINDS = "biuf"  # truth values, whole numbers, fractions


class Sent(Protocol):
    """An array as Flower carries it."""

    stype: str
    data: bytes


def facts_in(text: str) -> dict[str, Any]:
    """The JSON of a message; numbers and texts out of all proportion are refused."""
    facts = json.loads(text, parse_int=whole)
    if not isinstance(facts, dict):
        raise ValueError("its facts have no names")
    refuse_long(facts)
    return facts


def arrays_in(record: Mapping[str, Sent], most_bytes: int) -> Arrays:
    """The arrays of a message, unless there are more bytes than a message of the run may hold."""
    for name in record:
        refuse_path(name)
    refuse_large(sum(len(array.data) for array in record.values()), most_bytes)
    return {name: numbers(name, array) for name, array in record.items()}


def refuse_large(size: int, most_bytes: int) -> None:
    """What is larger than any message of a run."""
    if size > most_bytes:
        raise ValueError(f"{size:,} bytes; the messages of this recipe take at most {most_bytes:,}")


def refuse_path(name: str) -> None:
    """A name that leads elsewhere, should it ever become one of a file."""
    parts = name.split("/")
    if PurePosixPath(name).is_absolute() or {"", ".", ".."} & set(parts) or set(name) & set("\\\0"):
        raise ValueError(f"the name {name[:LONGEST_NAME]!r} is a path")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name):,} letters")


def numbers(name: str, array: Sent) -> NDArray[Any]:
    """An array's numbers, in memory of their own."""
    if array.stype != "numpy.ndarray":
        raise ValueError(f"{name} is no array of NumPy")
    file = BytesIO(array.data)
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"{name} is in version {version} of NumPy's format")
    shape, by_columns, dtype = HEADERS[version](file)
    body = array.data[file.tell() :]
    if dtype.kind not in KINDS:
        raise ValueError(f"{name} holds {dtype}, which are no numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{name} says that it is {dtype}{list(shape)}, and holds {len(body):,} bytes")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if by_columns else "C").copy(order="K")


def whole(digits: str) -> int:
    """A whole number of JSON that fits into eight bytes."""
    if len(digits) > 20 or not -LARGEST_WHOLE <= (number := int(digits)) <= LARGEST_WHOLE:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return number


def refuse_long(value: Any) -> None:
    """A text, anywhere in the facts, that nobody would read to its end."""
    if isinstance(value, dict):
        refuse_long([*value, *value.values()])
    elif isinstance(value, list):
        for part in value:
            refuse_long(part)
    elif isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ValueError(f"a text of {len(value):,} letters")
