"""Words of DNA: counted as scikit-learn counts them, scaled as it scales pooled rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data.corpus import DataError
from data.kmers import Kmers, refuse_foreign, spaced_kmers
from data.scaled import Scaled
from recipes.load import load
from recipes.schema import FeaturesConfig
from server.ready import ready
from teacher.encoders import encoder

NO_LABELS = np.empty(0, dtype=np.int64)
dna = st.text("ACGTN", max_size=30)
k_and_stride = st.tuples(st.integers(1, 4), st.integers(1, 5))


def agreed(stage, shares):
    answers = [stage.local(stage.initial(0), rows, NO_LABELS) for rows in shares]
    return stage.merge(stage.initial(0), answers, [len(rows) for rows in shares])


@settings(max_examples=60)
@given(rows=st.lists(dna, min_size=1, max_size=6), sizes=k_and_stride)
def test_counts_are_scikit_learns_of_the_spaced_words_without_those_that_hold_an_n(rows, sizes):
    from itertools import product

    from sklearn.feature_extraction.text import CountVectorizer

    k, stride = sizes
    every = ["".join(word) for word in product("ACGT", repeat=k)]
    counter = CountVectorizer(vocabulary=every, lowercase=False, token_pattern=r"\S+")
    oracle = counter.transform([spaced_kmers(row, k, stride) for row in rows]).toarray()
    assert_array_equal(Kmers(k, stride).counts(rows), oracle)


def test_small_letters_are_letters():
    stage = Kmers(2, 1)
    assert_array_equal(stage.counts(["acgtn"]), stage.counts(["ACGTN"]))


@settings(max_examples=40)
@given(rows=st.lists(st.text("ACGT", min_size=4, max_size=40), min_size=2, max_size=12), cut=st.integers(0, 12))
def test_scaling_is_scikit_learns_over_pooled_rows_whoever_holds_them(rows, cut):
    from sklearn.preprocessing import StandardScaler

    stage = Scaled(Kmers(2, 1))
    arrays = agreed(stage, [rows[:cut], rows[cut:]])
    counts = stage.encoder.apply({}, rows)
    assert_allclose(stage.apply(arrays, rows), StandardScaler().fit_transform(counts), atol=1e-9)
    whole = agreed(stage, [rows])
    assert all(np.array_equal(arrays[key], whole[key]) for key in whole)


def test_a_sequence_is_read_in_words_one_every_stride():
    assert spaced_kmers("ACGTACGT", 6, 1) == "ACGTAC CGTACG GTACGT"
    assert spaced_kmers("ACGTACGT", 3, 3) == "ACG TAC"
    assert spaced_kmers("ACG", 6, 1) == "ACG"


@given(text=st.text("ACGT", min_size=6, max_size=60), sizes=k_and_stride)
def test_every_word_has_k_letters_and_starts_a_stride_after_the_one_before(text, sizes):
    k, stride = sizes
    words = spaced_kmers(text, k, stride).split(" ")
    assert len(words) == (len(text) - k) // stride + 1
    assert all(text[i * stride :].startswith(word) and len(word) == k for i, word in enumerate(words))


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("ACGU", "'ACGU': letter 4 is 'U'; DNA is A, C, G, T and N: correct the row or remove it"),
        ("good film", "'good film': letter 2 is 'o'; DNA is A, C, G, T and N: correct the row or remove it"),
    ],
)
def test_other_letters_name_the_row_and_the_letter(row, error):
    with pytest.raises(DataError) as raised:
        Kmers(3, 1).counts(["ACGT", row])
    assert str(raised.value) == error


def test_words_of_english_are_refused_before_a_run_begins():
    with pytest.raises(DataError, match="; DNA is A, C, G, T and N: "):
        ready(load("smoke", ["features.encoder=kmers"]), fetch=True)


def test_where_a_row_was_found_is_said():
    with pytest.raises(DataError, match=r"^x\.tsv:7: letter 1 is 'é'; "):
        refuse_foreign("x.tsv:7", "éa")


def test_a_recipe_names_k_and_stride():
    stage = encoder(FeaturesConfig(encoder="kmers", k=4, stride=2))
    assert (stage.size, stage.encoder.stride, stage.exchanges) == (256, 2, 1)
