"""A deal: disjoint parts for the server and every client, with the classes in proportion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from data.corpus import Corpus, DataError, load
from data.partition import PARTITIONS
from data.split import deal, draw
from recipes.schema import DataConfig


def corpus_of(n, seed=0, p=0.5):
    rng = np.random.default_rng(seed)
    labels, domains = (rng.random(n) < p).astype(np.int64), rng.integers(3, size=n)
    return Corpus([f"row {i}" for i in range(n)], labels, ["no", "yes"], domains, ["x", "y", "z"])


def parts_of(dealt):
    yield dealt.reference
    for share in dealt.shares:
        yield from (share.train, share.validation, share.test)


@pytest.mark.parametrize("scheme", PARTITIONS)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31 - 1),
    n=st.integers(60, 400),
    clients=st.integers(2, 8),
    reference=st.integers(10, 60),
    cap=st.sampled_from([0, 3, 20, 1000]),
)
def test_all_parts_are_disjoint_non_empty_and_carry_their_own_labels(scheme, seed, n, clients, reference, cap):
    corpus = corpus_of(n)
    config = DataConfig(partition=scheme, reference_rows=reference, rows=cap, alpha=1.0)
    try:
        dealt = deal(corpus, config, clients, seed)
    except DataError as refused:
        dealt, error = None, str(refused)
    if dealt is None:
        assert "\n" not in error
        assert "use " in error or "lower " in error or "raise " in error
        return
    parts = list(parts_of(dealt))
    texts = [text for part in parts for text in part.texts]
    assert len(texts) == len(set(texts))
    assert set(texts) <= set(corpus.texts)
    assert all(len(part) > 0 for part in parts)
    for part in parts:
        assert part.labels.tolist() == [corpus.labels[corpus.texts.index(text)] for text in part.texts]
    assert len(dealt.reference) == reference
    assert len(dealt.shares) == clients
    for share in dealt.shares:
        total = len(share.train) + len(share.validation) + len(share.test)
        assert sum(share.domains.values()) == total
        assert len(share.validation) == len(share.test) == total // 5
        assert not cap or total <= cap
    if not cap:
        assert len(texts) == n


@given(n=st.integers(1, 200), seed=st.integers(0, 999), p=st.floats(0, 1), data=st.data())
def test_a_draw_takes_m_rows_with_each_class_in_proportion_up_to_rounding(n, seed, p, data):
    m = data.draw(st.integers(0, n))
    corpus = corpus_of(n, seed, p)
    taken, others = draw(corpus, np.arange(n), m, np.random.default_rng(seed))
    assert len(taken) == m
    assert_array_equal(np.sort(np.r_[taken, others]), np.arange(n))
    for k in (0, 1):
        expected = m * np.sum(corpus.labels == k) / n
        assert abs(np.sum(corpus.labels[taken] == k) - expected) < 1


def test_a_draw_takes_every_row_equally_often():
    corpus = corpus_of(20)
    rng = np.random.default_rng(0)
    counts = np.zeros(20)
    for _ in range(4000):
        counts[draw(corpus, np.arange(20), 5, rng)[0]] += 1
    assert np.all(np.abs(counts / 4000 - 0.25) < 0.035)  # five standard errors


def test_a_deal_depends_on_its_seed_and_on_nothing_else():
    corpus, config = load(DataConfig(), 0), DataConfig(partition="dirichlet", rows=60)
    first = deal(corpus, config, 4, seed=5)
    np.random.seed(1)  # noqa: NPY002
    again, other = deal(corpus, config, 4, seed=5), deal(corpus, config, 4, seed=6)
    assert [part.texts for part in parts_of(first)] == [part.texts for part in parts_of(again)]
    assert [part.texts for part in parts_of(first)] != [part.texts for part in parts_of(other)]


def test_the_reference_rows_do_not_depend_on_who_the_clients_are():
    corpus = load(DataConfig(), 0)
    texts = [
        deal(corpus, DataConfig(partition=scheme, rows=rows), clients, seed=5).reference.texts
        for scheme, rows, clients in (("iid", 0, 2), ("domain", 0, 8), ("shards", 30, 4))
    ]
    assert texts[0] == texts[1] == texts[2]


def test_worked_example():
    """100 rows of two domains, 20 for the server, 4 clients by domain, at most 15 rows each → 9:3:3."""
    labels, domains = np.arange(100) % 2, np.repeat([0, 1], 50)
    corpus = Corpus([f"row {i}" for i in range(100)], labels, ["a", "b"], domains, ["north", "south"])
    dealt = deal(corpus, DataConfig(partition="domain", reference_rows=20, rows=15), 4, seed=0)
    assert np.bincount(dealt.reference.labels).tolist() == [10, 10]
    for client, share in enumerate(dealt.shares):
        assert (len(share.train), len(share.validation), len(share.test)) == (9, 3, 3)
        assert share.domains == {"north" if client % 2 == 0 else "south": 15}


@pytest.mark.parametrize(
    ("n", "clients", "config", "error"),
    [
        (
            100,
            5,
            DataConfig(),
            "data.reference_rows is 200 of 100 rows, and 5 clients need 5 each; "
            "lower data.reference_rows to 75 or less",
        ),
        (
            30,
            5,
            DataConfig(reference_rows=10),
            "data.reference_rows is 10 of 30 rows, and 5 clients need 5 each; use fewer clients or more rows",
        ),
        (
            100,
            5,
            DataConfig(reference_rows=10, rows=4),
            "client 0 holds 4 rows; it needs 5 to train, validate and test: raise data.rows",
        ),
        (
            60,
            8,
            DataConfig(reference_rows=20, partition="domain"),
            "client 0 holds 4 rows; it needs 5 to train, validate and test: use fewer clients or another partition",
        ),
    ],
)
def test_too_few_rows_say_what_to_change(n, clients, config, error):
    with pytest.raises(DataError) as raised:
        deal(corpus_of(n), config, clients, seed=0)
    assert str(raised.value) == error
