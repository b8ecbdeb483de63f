"""Corpora hold every text once, whatever they were made from."""

import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from data.baselines import logistic_regression
from data.corpus import CORPORA, DataError, load, tidy
from data.features import TfIdf
from data.split import deal
from recipes.schema import DataConfig

raw = st.lists(
    st.tuples(st.sampled_from(["a b", "A  b", "c", "d\te", "f", "ß", "SS"]), st.sampled_from("01")), max_size=12
)


@given(raw)
def test_a_tidy_corpus_has_no_text_twice_and_no_contradiction(rows):
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    keys = [" ".join(text.split()).casefold() for text in texts]
    sound = {key for key in keys if len({label for k, label in zip(keys, labels, strict=True) if k == key}) == 1}
    try:
        corpus = tidy("here", texts, labels, [0] * len(rows), ["only"])
    except DataError as refused:
        corpus, error = None, str(refused)
    if corpus is None:
        assert len({label for key, label in zip(keys, labels, strict=True) if key in sound}) < 2
        assert error.startswith("here: ")
        return
    found = [text.casefold() for text in corpus.texts]
    assert len(found) == len(set(found))
    assert set(found) == sound
    assert len(corpus.texts) + sum(corpus.dropped.values()) == len(rows)
    assert corpus.dropped["contradictions"] == sum(key not in sound for key in keys)
    assert [labels[keys.index(key)] for key in found] == [corpus.classes[k] for k in corpus.labels]


def test_the_first_of_equal_texts_is_the_one_that_stays():
    corpus = tidy("here", ["Yes ", "no", "YES", "odd", "Odd"], list("10101"), [0, 0, 1, 0, 1], ["x"])
    assert corpus.texts == ["Yes", "no"]
    assert corpus.dropped == {"duplicates": 1, "contradictions": 2}


def test_every_corpus_a_recipe_may_name_is_there():
    from typing import get_args, get_type_hints

    assert set(CORPORA) == set(get_args(get_type_hints(DataConfig)["corpus"]))


@pytest.mark.parametrize("seed", [0, 1])
def test_synthetic_is_its_seed(seed):
    first, again, other = (load(DataConfig(), s) for s in (seed, seed, seed + 1))
    assert first.texts == again.texts
    assert_array_equal(first.labels, again.labels)
    assert first.texts != other.texts


def test_synthetic_is_small_balanced_and_quick():
    load(DataConfig(), 0)
    start = time.process_time()
    corpus = load(DataConfig(), 0)
    assert time.process_time() - start < 0.2  # about 0.02
    assert 590 <= len(corpus.texts) <= 600
    assert len(corpus.domain_names) == 4
    assert_array_equal(np.bincount(corpus.domains) > 140, [True] * 4)
    assert abs(corpus.labels.mean() - 0.5) < 0.02


def tfidf_accuracy(corpus, train, test):
    stage = TfIdf(1024)
    texts = [corpus.texts[row] for row in train]
    arrays = stage.merge({}, [stage.local({}, texts, corpus.labels[train])], [len(train)])
    x_train, x_test = stage.apply(arrays, texts), stage.apply(arrays, [corpus.texts[row] for row in test])
    return logistic_regression(x_train, corpus.labels[train], x_test, corpus.labels[test])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_model_learns_synthetic_well_but_not_perfectly_and_one_domain_teaches_little_of_another(seed):
    corpus = load(DataConfig(), seed)
    rows = np.random.default_rng(seed).permutation(len(corpus.texts))
    assert 0.84 <= tfidf_accuracy(corpus, rows[:400], rows[400:]) <= 0.96
    own, others = np.flatnonzero(corpus.domains == 0), np.flatnonzero(corpus.domains > 0)
    assert 0.55 <= tfidf_accuracy(corpus, own, others) <= 0.84


@pytest.mark.network
def test_reviews_are_as_many_as_were_published():
    """Counts of sentences with |rating| ≥ 0.5 in Hutto & Gilbert's four files."""
    from data.reviews import FILES, rated

    texts, ratings, domains = rated()
    assert dict(zip(FILES, np.bincount(domains).tolist(), strict=True)) == {
        "movies": 10072,
        "amazon": 2985,
        "nyt": 2970,
        "tweets": 3432,
    }
    assert min(map(abs, ratings)) >= 0.5
    assert any(" & " in text for text in texts)
    corpus = load(DataConfig(corpus="reviews"), 0)
    assert corpus.classes == ["negative", "positive"]
    assert np.bincount(corpus.domains).tolist() == [10070, 2976, 2930, 3372]
    share = [corpus.labels[corpus.domains == d].mean() for d in range(4)]
    np.testing.assert_allclose(share, [0.50, 0.59, 0.40, 0.69], atol=0.006)
    assert any("é" in text for text in corpus.texts)
    dealt = deal(corpus, DataConfig(corpus="reviews", partition="domain"), 8, seed=0)
    assert [list(s.domains) for s in dealt.shares] == [["movies"], ["amazon"], ["nyt"], ["tweets"]] * 2


def test_loading_a_corpus_imports_no_other_and_nothing_heavy():
    import subprocess

    program = """
import sys
from data.corpus import load
from recipes.schema import DataConfig
import data.split, data.features, data.baselines, data.assets, data.text
load(DataConfig(), 0)
print([m for m in ("sklearn", "datasets", "torch", "flwr", "data.reviews", "data.hub") if m in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
