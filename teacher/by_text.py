"""Vectors of single texts, kept: another deal of the same corpus, another seed or another client finds them again.

A folder for each encoder. What a call has to compute it adds as one file, whole; files never change, so processes
need no lock: two that add a text at once add the same bits, as a text is computed alone, without others beside it.
"""

import hashlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.assets import cache_folder, made
from teacher.kept import digest, keeping, read_table

Floats = NDArray[np.float32]


def by_text(name: str, facts: str, texts: Sequence[str], columns: int, make: Callable[[list[str]], Floats]) -> Floats:
    """(B, columns), a row a text; `make` computes those that are not there, each text once."""
    folder = cache_folder() / "features" / f"{name}-{digest(facts, [])[:32]}"
    known = found(folder, columns)
    keys = {text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest().encode() for text in texts}
    if missing := [text for text, key in keys.items() if key not in known]:
        made(folder)  # before the work, not after it
        rows = np.zeros(len(missing), kind(columns))
        rows["key"], rows["vector"] = [keys[text] for text in missing], make(missing)
        content = BytesIO()
        np.save(content, rows)
        with keeping(folder / f"{digest('', missing)[:32]}.npy") as file:
            file.write_bytes(content.getvalue())
        known |= vectors(rows)
    return np.array([known[keys[text]] for text in texts], np.float32).reshape(len(texts), columns)


def found(folder: Path, columns: int) -> dict[bytes, Floats]:
    """Key → vector, out of all files of a folder that can be read."""
    known: dict[bytes, Floats] = {}
    for path in sorted(folder.glob("*.npy")) if folder.is_dir() else ():
        rows = read_table(path, kind(columns))
        known |= {} if rows is None else vectors(rows)
    return known


def vectors(rows: NDArray[np.void]) -> dict[bytes, Floats]:
    """The same of one file; a view into it, so that only the rows that are wanted are read from a disk."""
    return dict(zip(rows["key"].tolist(), np.asarray(rows["vector"]), strict=True))


def kind(columns: int) -> np.dtype[np.void]:
    """A row of a file: the text's SHA-256 and its vector."""
    return np.dtype([("key", "S64"), ("vector", np.float32, (columns,))])
