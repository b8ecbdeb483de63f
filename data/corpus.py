"""A corpus: labelled texts or images and the domain each came from, however they were found."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recipes.schema import DataConfig
from recipes.section import InputError

TRAIN, VALIDATION, TEST = range(3)


class DataError(InputError):
    """Data that cannot be used: one line that names the file and line, what was found and what is allowed."""


@dataclass(frozen=True)
class Corpus:
    """Row i is texts[i], of class classes[labels[i]], from the domain domain_names[domains[i]]."""

    texts: list[str]
    labels: NDArray[np.int64]  # 0..K-1
    classes: list[str]
    domains: NDArray[np.int64]  # 0..D-1
    domain_names: list[str]
    source: str = ""  # where it was found
    splits: NDArray[np.int64] | None = None  # TRAIN, VALIDATION or TEST of every row, where it came divided so
    dropped: dict[str, int] = field(default_factory=dict)  # why → rows as found that are not here
    images: NDArray[np.uint8] | None = None  # (rows, channels, height, width), in place of texts

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that name the rows, whatever place they were found in."""
        splits = None if self.splits is None else self.splits.tolist()
        rows = [self.texts, self.labels.tolist(), self.classes, self.domains.tolist(), self.domain_names, splits]
        named = hashlib.sha256(json.dumps(rows).encode())
        if self.images is not None:
            named.update(self.images.tobytes())
        return named.hexdigest()[:12]


def load(config: DataConfig, seed: int) -> Corpus:
    """The corpus that a recipe names; the seed matters to generated corpora only."""
    return CORPORA[config.corpus](config, seed)


def tidy(
    source: str,
    texts: list[str],
    labels: list[str],
    domains: list[int],
    domain_names: list[str],
    splits: list[int] | None = None,
) -> Corpus:
    """Rows as found → a corpus in which every text occurs once, so that none can leak from one split to another.

    White space is collapsed. Of texts equal but for case the first is kept, or none when their labels contradict;
    `dropped` counts the others.
    """
    texts = [" ".join(text.split()) for text in texts]
    keys = [text.casefold() for text in texts]
    known: dict[str, set[str]] = {}
    for key, label in zip(keys, labels, strict=True):
        known.setdefault(key, set()).add(label)
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    kept = sorted(row for key, row in first.items() if len(known[key]) == 1)
    contradictions = sum(len(known[key]) > 1 for key in keys)
    dropped = {"duplicates": len(keys) - len(kept) - contradictions, "contradictions": contradictions}

    classes = ordered({labels[row] for row in kept})
    refuse_unusable(source, len(kept), classes)
    held = np.array([domains[row] for row in kept], dtype=np.int64)
    for domain, name in enumerate(domain_names):
        if domain not in held:
            raise DataError(f"{source}: {name} has no row of its own; each repeats or contradicts another: remove it")
    number = {label: k for k, label in enumerate(classes)}
    numbers = np.array([number[labels[row]] for row in kept], dtype=np.int64)
    given = None if splits is None else np.array([splits[row] for row in kept], dtype=np.int64)
    return Corpus([texts[row] for row in kept], numbers, classes, held, domain_names, source, given, dropped)


def refuse_unusable(source: str, rows: int, classes: list[str]) -> None:
    """A corpus to learn from has rows, two classes or more, and far fewer classes than rows."""
    if rows == 0:
        raise DataError(f"{source}: no row is left; texts are needed that do not carry contradicting labels")
    if len(classes) < 2:
        raise DataError(f"{source}: every label is {classes[0]!r}; at least two classes are needed")
    if len(classes) > 2 and 2 * len(classes) > rows:
        raise DataError(f"{source}: {len(classes)} different labels in {rows} rows; are text and label swapped?")


def ordered(labels: set[str]) -> list[str]:
    """Class names in the order of their numbers: by value when all are whole numbers, else by spelling."""
    if all(re.fullmatch("-?[0-9]+", label) for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def synthetic(config: DataConfig, seed: int) -> Corpus:
    """Generated sentences: nothing to fetch."""
    from data.synthetic import generate

    return generate(seed)


def reviews(config: DataConfig, seed: int) -> Corpus:
    """Four domains of rated sentences, fetched once by pip."""
    from data.reviews import read

    return read()


def text(config: DataConfig, seed: int) -> Corpus:
    """The user's own rows."""
    from data.text import read

    return read(config)


def divided(config: DataConfig, seed: int) -> Corpus:
    """A published data set with splits of its own."""
    from data.divided import read

    return read(config)


def images(config: DataConfig, seed: int) -> Corpus:
    """A published data set of images."""
    from data import images

    found: Corpus = getattr(images, config.corpus)()
    return found


CORPORA: dict[str, Callable[[DataConfig, int], Corpus]] = {
    "synthetic": synthetic,
    "reviews": reviews,
    "text": text,
    "genomic": divided,
    "tweets": divided,
    "senti": divided,
    "stega": divided,
    "topic": divided,
    "digits": images,
    "fashion": images,
    "cifar10": images,
}
