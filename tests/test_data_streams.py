"""One seed, many purposes: their numbers have nothing to do with each other."""

from itertools import combinations

import numpy as np
import pytest

from data.corpus import load
from data.partition import partition
from data.split import deal
from data.streams import PURPOSES, stream
from quantum.arms import student, twin
from quantum.executor import executor, visit_seed
from quantum.reduction import TrainedReduction
from quantum.search import Search
from recipes.schema import DataConfig, StudentConfig


def streams_of(seed):
    """Every stream a run may draw from: the purposes, two clients' shares, and what rounds are seeded with."""
    yield from (stream(seed, purpose) for purpose in PURPOSES)
    yield from (stream(seed, "share", client) for client in (0, 1))
    yield from (stream(seed, "visit", client, round_) for client in (0, 1) for round_ in (0, 1))
    yield from (np.random.default_rng(key) for key in (seed, (seed, 0), (seed, 1), (seed, 10_000)))


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_no_two_streams_are_alike_but_for_the_bare_seed_and_its_zero(seed):
    first = [tuple(rng.random(4)) for rng in streams_of(seed)]
    assert len(set(first)) == len(first) - 1  # NumPy takes (seed, 0) for seed, so no purpose is 0


def test_equal_streams_are_equal():
    assert stream(3, "share", 1).random() == stream(3, "share", 1).random()


def test_purposes_are_above_the_rounds():
    assert min(PURPOSES.values()) > 10_000


@pytest.mark.parametrize("seed", [0, 7])
def test_what_students_and_the_reduction_start_from_is_unrelated(seed):
    starts = [
        TrainedReduction(20, 4, 2, 1).initial(seed)["W"].ravel()[:16],
        student(StudentConfig(), 2).initial(seed)["theta"][:16],
        twin(StudentConfig(), 2).initial(seed)["theta"][:8],  # its input weights; biases are 0
        student(StudentConfig(kind="noop", twin=False, size=16), 2).initial(seed)["theta"],
        np.random.default_rng(seed).normal(size=16),
    ]
    for one, two in combinations(starts, 2):
        ratios = one[: len(two)] / two[: len(one)]
        assert ratios.std() > 0.01  # a multiple of the same numbers would give 0


def test_every_purpose_is_drawn_from_by_its_user_and_by_nobody_else(monkeypatch):
    asked = []

    def watched(seed, purpose, *members):
        asked.append((purpose, *members))
        return stream(seed, purpose, *members)

    for module in ("data.synthetic", "data.partition", "data.split", "quantum.reduction", "quantum.noop"):
        monkeypatch.setattr(f"{module}.stream", watched)
    for module in ("quantum.control", "quantum.executor", "quantum.circuit_student", "quantum.search"):
        monkeypatch.setattr(f"{module}.stream", watched)
    corpus = load(DataConfig(), 0)
    deal(corpus, DataConfig(public_rows=1), 2, 0)
    partition(DataConfig(), corpus.labels, corpus.domains, 2, 0)
    TrainedReduction(4, 2, 2, 1).initial(0)
    student(StudentConfig(), 2).initial(0)
    twin(StudentConfig(), 2).initial(0)
    student(StudentConfig(kind="noop", twin=False), 2).initial(0)
    shares = [("share", 0), ("share", 1)]
    executor("shots", shots=1, seed=visit_seed(0, 1, 2))
    Search(None, 1, 0)
    models = [("reduction",), ("student",), ("twin",), ("noop",), ("visit", 1, 2), ("shots",), ("search",)]
    deals = [("reference",), ("public",), ("partition",), *shares, ("partition",)]
    assert asked == [("synthetic",), *deals, *models]
    # tests/test_lora.py, test_minibatch.py, test_generator.py, test_noise.py
    elsewhere = {"adapter", "tuning", "batches", "hash", "pool"}
    assert {purpose for purpose, *_ in asked} == set(PURPOSES) - elsewhere
