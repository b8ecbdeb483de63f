"""Deals a corpus out: first the server's held-out rows, then every client's rows, each in three disjoint parts.

A corpus that comes divided stays so: the server's rows are validation rows, a client's three parts are its rows of the
three splits, and the clients' test rows together are the whole test split, so that accuracy on them is accuracy on it.
One that has a train and a test split only, as image data sets do, lends the server test rows: it measures every
round on them and decides nothing by them. Its clients validate on a twentieth of their training rows.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.corpus import TEST, TRAIN, VALIDATION, Corpus, DataError, load
from data.partition import partition
from data.streams import stream
from recipes.schema import DataConfig

SMALLEST = 5  # rows of a client: 3 to train on, 1 for validation, 1 for the test
OTHERWISE = "use fewer clients or another partition"
LENT = 20  # of so many training rows a client validates on one, where no split is given for it

Parts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # to train on, for validation, for the test


@dataclass(frozen=True)
class Rows:
    """Texts or images, and their class numbers; hidden ones have none."""

    texts: list[str]
    labels: NDArray[np.int64]
    images: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.texts if self.images is None else self.images)

    @property
    def raw(self) -> Any:
        """What a student without feature stages reads."""
        return self.texts if self.images is None else self.images


@dataclass(frozen=True)
class Share:
    """What one client holds, 6:2:2 or as given, and how many of its rows come from which domain.

    Whatever reads a label reads `train`: the labels of the other training rows are dropped here.
    """

    train: Rows
    unlabelled: Rows  # training rows whose labels are hidden; for a teacher's soft labels alone
    validation: Rows
    test: Rows
    domains: dict[str, int]


@dataclass(frozen=True)
class Deal:
    """The server's rows, never trained on, one share a client, and texts that all have and nobody has labels of."""

    reference: Rows
    shares: list[Share]
    public: Rows


def deal(corpus: Corpus, config: DataConfig, clients: int, seed: int) -> Deal:
    """Every row to at most one place, but for test rows that the server is lent; equal seeds deal equally."""
    if config.partition == "domain" and len(corpus.domain_names) == 1:
        raise DataError(
            f"data.partition is domain, and {corpus.domain_names[0]} is a single one: use iid, shards or dirichlet"
        )
    every = np.arange(len(corpus.labels))
    lent, kind, needed = every, "rows", SMALLEST
    if corpus.splits is not None:
        validated = VALIDATION in corpus.splits
        lent = np.flatnonzero(corpus.splits == (VALIDATION if validated else TEST))
        kind, needed = ("validation rows", 1) if validated else ("test rows", 0)
    most = len(lent) - needed * clients
    if config.reference_rows > most:
        advice = f"lower data.reference_rows to {most} or less" if most >= 10 else "use fewer clients or more rows"
        found = f"data.reference_rows is {config.reference_rows} of {len(lent)} {kind}"
        raise DataError(f"{found}, and {clients} clients need {needed} each; {advice}")
    rng = stream(seed, "reference")
    held, rest = draw(corpus, lent, config.reference_rows, rng)
    if corpus.splits is not None:
        rest = np.setdiff1d(every, held) if needed else every
    public, rest = shared_out(corpus, config, rest, seed)
    parts = partition(config, corpus.labels[rest], corpus.domains[rest], clients, seed)
    shares = [share(corpus, config, rest[part], client, seed) for client, part in enumerate(parts)]
    return Deal(rows_of(corpus, rng.permutation(held)), shares, unlabelled(public))


def shared_out(
    corpus: Corpus, config: DataConfig, rest: NDArray[np.int64], seed: int
) -> tuple[Rows, NDArray[np.int64]]:
    """The public rows, of this corpus' training rows or of another's, and the rows that are left for the clients."""
    if not config.public_rows:
        return rows_of(corpus, rest[:0]), rest
    source, offered = corpus, rest
    if config.public:
        source = load(DataConfig(corpus=config.public), seed)
        offered = np.arange(len(source.texts))
    if source.splits is not None:
        offered = offered[source.splits[offered] == TRAIN]
    if config.public_rows > len(offered):
        raise DataError(f"data.public_rows is {config.public_rows} of {len(offered)} training rows; lower it")
    taken = stream(seed, "public").permutation(offered)[: config.public_rows]
    return rows_of(source, taken), rest if config.public else rest[~np.isin(rest, taken)]


def share(corpus: Corpus, config: DataConfig, rows: NDArray[np.int64], client: int, seed: int) -> Share:
    """A client's rows, in three parts."""
    rng = stream(seed, "share", client)
    divide = fifths if corpus.splits is None else as_given
    train, validation, test = divide(corpus, config, rows, client, rng)
    names, counts = np.unique(corpus.domains[np.concatenate([train, validation, test])], return_counts=True)
    domains = {corpus.domain_names[d]: int(count) for d, count in zip(names, counts, strict=True)}
    train, validation, test = (rng.permutation(part) for part in (train, validation, test))
    labelled = ceil(config.labelled * len(train))  # the first of shuffled rows: which, no label has a say in
    hidden = unlabelled(rows_of(corpus, train[labelled:]))
    train_rows, validation_rows, test_rows = (rows_of(corpus, part) for part in (train[:labelled], validation, test))
    return Share(train_rows, hidden, validation_rows, test_rows, domains)


def unlabelled(rows: Rows) -> Rows:
    """Rows whose labels are dropped."""
    return replace(rows, labels=np.zeros(0, dtype=np.int64))


def fifths(corpus: Corpus, config: DataConfig, rows: NDArray[np.int64], client: int, rng: np.random.Generator) -> Parts:
    """At most `data.rows` rows: a fifth for validation, a fifth for the test."""
    kept = draw(corpus, rows, config.rows, rng)[0] if 0 < config.rows < len(rows) else rows
    if len(kept) < SMALLEST:
        advice = "raise data.rows" if config.rows and len(rows) >= SMALLEST else OTHERWISE
        raise DataError(
            f"client {client} holds {len(kept)} rows; it needs {SMALLEST} to train, validate and test: {advice}"
        )
    fifth = len(kept) // 5
    test, others = draw(corpus, kept, fifth, rng)
    validation, train = draw(corpus, others, fifth, rng)
    return train, validation, test


def as_given(
    corpus: Corpus, config: DataConfig, rows: NDArray[np.int64], client: int, rng: np.random.Generator
) -> Parts:
    """The rows of each split; of `data.rows`, three fifths to train on and one to validate with, and all test rows."""
    assert corpus.splits is not None
    train, validation, test = (rows[corpus.splits[rows] == split] for split in (TRAIN, VALIDATION, TEST))
    if VALIDATION not in corpus.splits:
        validation, train = draw(corpus, train, ceil(len(train) / LENT), rng)
    enough = len(train) and len(validation) and len(test)
    if not enough or 0 < config.rows < SMALLEST:
        held = f"{len(train)} rows to train on, {len(validation)} to validate and {len(test)} to test"
        advice = f"raise data.rows to {SMALLEST} or more" if enough else OTHERWISE
        raise DataError(f"client {client} holds {held}; it needs some of each: {advice}")
    if config.rows:
        train = draw(corpus, train, min(len(train), 3 * config.rows // 5), rng)[0]
        validation = draw(corpus, validation, min(len(validation), config.rows // 5), rng)[0]
    return train, validation, test


def draw(
    corpus: Corpus, rows: NDArray[np.int64], m: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """m of n rows, and the others: systematic sampling of the shuffled rows sorted by class, then domain.

    With r ~ U{0..n-1}, place j is taken when ⌊((j+1)·m + r)/n⌋ > ⌊(j·m + r)/n⌋: m places, evenly apart, so a class
    of n_k rows loses m·n_k/n of them, rounded up or down.
    """
    n = len(rows)
    shuffled = rng.permutation(rows)
    placed = shuffled[np.lexsort((corpus.domains[shuffled], corpus.labels[shuffled]))]
    steps = (np.arange(n + 1) * m + rng.integers(n)) // n
    taken = np.diff(steps) > 0
    return placed[taken], placed[~taken]


def rows_of(corpus: Corpus, rows: NDArray[np.int64]) -> Rows:
    """The rows themselves."""
    if corpus.images is not None:
        return Rows([], corpus.labels[rows], corpus.images[rows])
    return Rows([corpus.texts[row] for row in rows], corpus.labels[rows])
