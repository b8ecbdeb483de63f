"""Which client holds which rows.

A partition gives every row to exactly one client and leaves no client without rows. Each function below answers with
one array of row numbers a client.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.corpus import DataError
from data.streams import stream
from recipes.schema import DataConfig

Rows = NDArray[np.int64]

FEWEST = 10  # rows that a client of `dirichlet` holds at least
DRAWS = 1000  # attempts at that


def partition(config: DataConfig, labels: Rows, domains: Rows, n_clients: int, seed: int) -> list[Rows]:
    """Row numbers of every client, ascending; equal seeds give equal partitions."""
    if len(labels) < n_clients:
        raise DataError(f"{len(labels)} rows for {n_clients} clients; use fewer clients or more rows")
    rng = stream(seed, "partition")
    parts = PARTITIONS[config.partition](config, labels, domains, n_clients, rng)
    return [np.sort(part) for part in parts]


def iid(config: DataConfig, labels: Rows, domains: Rows, n_clients: int, rng: np.random.Generator) -> list[Rows]:
    """Every client a uniform sample of everything; sizes differ by one at most."""
    return np.array_split(rng.permutation(len(labels)), n_clients)


def domain(config: DataConfig, labels: Rows, domains: Rows, n_clients: int, rng: np.random.Generator) -> list[Rows]:
    """Client i holds domain i mod D; clients of one domain share its rows evenly, at random."""
    present = np.unique(domains)
    if n_clients < len(present):
        raise DataError(f"{n_clients} clients for {len(present)} domains; use {len(present)} clients or more, or iid")
    parts: list[Rows] = [np.empty(0, dtype=np.int64)] * n_clients
    for d, value in enumerate(present):
        rows = np.flatnonzero(domains == value)
        holders = range(d, n_clients, len(present))
        if len(rows) < len(holders):
            raise DataError(f"domain {value} has {len(rows)} rows for {len(holders)} clients; use fewer clients")
        for client, part in zip(holders, np.array_split(rng.permutation(rows), len(holders)), strict=True):
            parts[client] = part
    return parts


def shards(config: DataConfig, labels: Rows, domains: Rows, n_clients: int, rng: np.random.Generator) -> list[Rows]:
    """Sort by label, cut into C·s equal pieces, deal s to each client (McMahan et al. 2017, arXiv:1602.05629, §3)."""
    pieces = n_clients * config.shards
    if len(labels) < pieces:
        raise DataError(f"{len(labels)} rows for {n_clients} clients × {config.shards} shards; lower data.shards")
    shuffled = rng.permutation(len(labels))
    by_label = np.array_split(shuffled[np.argsort(labels[shuffled], kind="stable")], pieces)
    dealt = rng.permutation(pieces).reshape(n_clients, config.shards)
    return [np.concatenate([by_label[piece] for piece in hand]) for hand in dealt]


def dirichlet(config: DataConfig, labels: Rows, domains: Rows, n_clients: int, rng: np.random.Generator) -> list[Rows]:
    """p_k ~ Dir(α·1_C) for every class k: client c gets the fraction p_kc of the rows of class k.

    Skew by Dirichlet draws is of Hsu et al. 2019 (arXiv:1909.06335), who draw a class mix for clients of equal size;
    we draw a client mix for each class, as Yurochkin et al. 2019 (arXiv:1905.12022) and flwr-datasets do, so sizes
    differ too. Drawn again, from the start, until every client holds 10 rows.
    """
    fewest = f"each of {n_clients} clients {FEWEST} of {len(labels)} rows"
    if len(labels) < FEWEST * n_clients:
        raise DataError(f"dirichlet cannot give {fewest}; use fewer clients or more rows")
    classes = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    counts = np.array([len(rows) for rows in classes])
    for _ in range(DRAWS):
        p_KC = rng.dirichlet(np.full(n_clients, config.alpha), size=len(classes))
        cuts_KC = (np.cumsum(p_KC, axis=1) * counts[:, None]).astype(np.int64)  # ⌊·⌋
        cuts_KC[:, -1] = counts
        if np.diff(cuts_KC, axis=1, prepend=0).sum(axis=0).min() >= FEWEST:
            break
    else:
        raise DataError(
            f"no Dirichlet draw of {DRAWS} gave {fewest}; raise data.alpha ({config.alpha:g}) or use fewer clients"
        )
    hands = [np.split(rng.permutation(rows), cuts[:-1]) for rows, cuts in zip(classes, cuts_KC, strict=True)]
    return [np.concatenate(parts) for parts in zip(*hands, strict=True)]


PARTITIONS: dict[str, Callable[[DataConfig, Rows, Rows, int, np.random.Generator], list[Rows]]] = {
    scheme.__name__: scheme for scheme in (iid, domain, shards, dirichlet)
}
