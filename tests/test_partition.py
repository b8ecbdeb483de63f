"""Who holds what: partitions are partitions, whatever the scheme, and agree with those of flwr-datasets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from data.corpus import DataError
from data.partition import FEWEST, PARTITIONS, dirichlet, partition
from recipes.schema import DataConfig


def rows(seed, n, n_classes=3, n_domains=3):
    rng = np.random.default_rng(seed)
    return rng.integers(n_classes, size=n), np.r_[np.arange(n_domains), rng.integers(n_domains, size=n - n_domains)]


@pytest.mark.parametrize("scheme", PARTITIONS)
@given(seed=st.integers(0, 2**31 - 1), n=st.integers(20, 300), n_clients=st.integers(1, 12))
def test_every_row_goes_to_exactly_one_client_and_no_client_is_empty_or_the_error_says_what_to_change(
    scheme, seed, n, n_clients
):
    labels, domains = rows(seed, n)
    config = DataConfig(partition=scheme, alpha=1.0)
    try:
        parts = partition(config, labels, domains, n_clients, seed)
    except DataError as refused:
        parts, error = [], str(refused)
    if not parts:
        assert scheme != "iid" or n < n_clients
        assert "use " in error or "lower " in error or "raise " in error
        assert "\n" not in error
        return
    assert len(parts) == n_clients
    assert min(len(part) for part in parts) > 0
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


@pytest.mark.parametrize("scheme", PARTITIONS)
def test_a_partition_depends_on_its_seed_and_on_nothing_else(scheme):
    labels, domains = rows(0, 200)
    config = DataConfig(partition=scheme)
    first = partition(config, labels, domains, 4, seed=7)
    np.random.seed(123)  # noqa: NPY002
    again = partition(config, labels, domains, 4, seed=7)
    other = partition(config, labels, domains, 4, seed=8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@given(n=st.integers(1, 200), n_clients=st.integers(1, 20), seed=st.integers(0, 99))
def test_iid_clients_differ_by_one_row_at_most(n, n_clients, seed):
    labels, domains = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
    if n < n_clients:
        with pytest.raises(DataError, match=f"{n} rows for {n_clients} clients; use fewer clients or more rows"):
            partition(DataConfig(), labels, domains, n_clients, seed)
        return
    sizes = [len(part) for part in partition(DataConfig(), labels, domains, n_clients, seed)]
    assert max(sizes) - min(sizes) <= 1


@given(n_clients=st.integers(3, 9), seed=st.integers(0, 99))
def test_by_domain_client_i_holds_only_domain_i_mod_d_in_even_parts(n_clients, seed):
    labels, domains = rows(seed, 150)
    parts = partition(DataConfig(partition="domain"), labels, domains, n_clients, seed)
    for client, part in enumerate(parts):
        assert set(domains[part]) == {client % 3}
        assert abs(len(part) - len(parts[client % 3])) <= 1


@given(n_clients=st.integers(2, 10), shards=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_client_of_s_shards_holds_s_classes_when_every_shard_is_one_class(n_clients, shards, seed):
    labels = np.repeat(np.arange(n_clients * shards), 6)  # as many classes as shards: no shard straddles a cut
    config = DataConfig(partition="shards", shards=shards)
    for part in partition(config, labels, np.zeros_like(labels), n_clients, seed):
        assert len(set(labels[part])) == shards
        assert len(part) == 6 * shards


def test_small_alpha_skews_classes_and_large_alpha_does_not():
    labels, domains = rows(1, 4000)

    def skew(alpha):
        parts = partition(DataConfig(partition="dirichlet", alpha=alpha), labels, domains, 5, seed=3)
        return np.mean([np.bincount(labels[part], minlength=3).max() / len(part) for part in parts])

    assert skew(0.2) > 0.6
    assert skew(1000.0) < 0.4


def test_every_client_of_a_dirichlet_draw_holds_ten_rows():
    labels, domains = rows(2, 200)
    for seed in range(30):
        parts = partition(DataConfig(partition="dirichlet", alpha=0.3), labels, domains, 6, seed)
        assert min(len(part) for part in parts) >= FEWEST


@pytest.mark.parametrize(
    ("config", "n", "n_clients", "error"),
    [
        (DataConfig(), 3, 4, "3 rows for 4 clients; use fewer clients or more rows"),
        (DataConfig(partition="domain"), 9, 2, "2 clients for 3 domains; use 3 clients or more, or iid"),
        (DataConfig(partition="domain"), 6, 6, "domain 0 has 1 rows for 2 clients; use fewer clients"),
        (DataConfig(partition="shards", shards=5), 20, 5, "20 rows for 5 clients × 5 shards; lower data.shards"),
        (
            DataConfig(partition="dirichlet"),
            40,
            5,
            "dirichlet cannot give each of 5 clients 10 of 40 rows; use fewer clients or more rows",
        ),
        (
            DataConfig(partition="dirichlet", alpha=0.01),
            60,
            5,
            "no Dirichlet draw of 1000 gave each of 5 clients 10 of 60 rows; "
            "raise data.alpha (0.01) or use fewer clients",
        ),
    ],
)
def test_an_impossible_partition_says_what_to_change(config, n, n_clients, error):
    labels, domains = np.arange(n) % 2, np.array([0, 1, 2] + [1, 2] * n)[:n]
    with pytest.raises(DataError) as raised:
        partition(config, labels, domains, n_clients, seed=0)
    assert str(raised.value) == error


def as_dataset(labels, domains):
    pytest.importorskip("flwr_datasets", reason="needs the extra: pip install 'qflock[hub]'")
    import datasets

    columns = {"row": range(len(labels)), "label": labels.tolist(), "domain": domains.tolist()}
    return datasets.Dataset.from_dict(columns)


@pytest.mark.hub
@pytest.mark.parametrize("alpha", [0.1, 0.5, 5.0])
@pytest.mark.parametrize("seed", range(5))
def test_dirichlet_class_counts_are_those_of_flwr_datasets_for_the_same_seed(alpha, seed):
    labels, domains = rows(seed, 2000)
    dataset = as_dataset(labels, domains)
    from flwr_datasets.partitioner import DirichletPartitioner

    theirs = DirichletPartitioner(5, "label", alpha, min_partition_size=FEWEST, self_balancing=False, seed=seed)
    theirs.dataset = dataset
    rng = np.random.default_rng(seed)  # theirs; `partition` would pass a stream of its own
    ours = dirichlet(DataConfig(partition="dirichlet", alpha=alpha), labels, domains, 5, rng)
    for client, part in enumerate(ours):
        expected = np.bincount(theirs.load_partition(client)["label"], minlength=3)
        assert_array_equal(np.bincount(labels[part], minlength=3), expected)


@pytest.mark.hub
def test_iid_sizes_are_those_of_flwr_datasets():
    labels, domains = rows(0, 203)
    dataset = as_dataset(labels, domains)
    from flwr_datasets.partitioner import IidPartitioner

    theirs = IidPartitioner(8)
    theirs.dataset = dataset
    ours = partition(DataConfig(), labels, domains, 8, seed=0)
    assert sorted(map(len, ours)) == sorted(len(theirs.load_partition(client)) for client in range(8))


@pytest.mark.hub
def test_domains_are_the_natural_ids_of_flwr_datasets():
    labels, domains = rows(0, 200)
    dataset = as_dataset(labels, domains)
    from flwr_datasets.partitioner import NaturalIdPartitioner

    theirs = NaturalIdPartitioner("domain")
    theirs.dataset = dataset
    expected = {tuple(theirs.load_partition(client)["row"]) for client in range(3)}
    ours = partition(DataConfig(partition="domain"), labels, domains, 3, seed=0)
    assert {tuple(part.tolist()) for part in ours} == expected


@pytest.mark.hub
def test_shards_hold_as_many_classes_as_those_of_flwr_datasets():
    labels, domains = np.repeat(np.arange(10), 60), np.zeros(600, dtype=int)
    dataset = as_dataset(labels, domains)
    from flwr_datasets.partitioner import ShardPartitioner

    def classes(parts):
        return np.mean([len(set(part)) for part in parts])

    ours, expected = [], []
    for seed in range(20):
        theirs = ShardPartitioner(num_partitions=10, partition_by="label", num_shards_per_partition=2, seed=seed)
        theirs.dataset = dataset
        expected.append(classes([theirs.load_partition(client)["label"] for client in range(10)]))
        parts = partition(DataConfig(partition="shards", shards=2), labels, domains, 10, seed)
        ours.append(classes([labels[part] for part in parts]))
    assert abs(np.mean(ours) - np.mean(expected)) < 0.1
