"""The words in which a teacher reads DNA: which ones a recipe means, and that they are what is tuned and asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from data.corpus import DataError
from data.kmers import spaced_kmers
from recipes.load import load
from recipes.schema import DNA, TeacherConfig
from recipes.section import RecipeError
from server.plan import teaching
from teacher import lora
from teacher.protocol import TEACHERS, teacher

LLM = ("teacher.kind=lora",)
GENOMIC = ("data.corpus=genomic",)


def dna(n_rows, seed):
    """Class 0 is rich in G and T, class 1 in A and C."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % 2
    return ["".join(rng.choice(list("ACGT" if y else "GTAC"), 40, p=[0.4, 0.4, 0.1, 0.1])) for y in labels], labels


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), (0, 1)),
        (LLM, (0, 1)),
        (GENOMIC, (3, 1)),
        ((*GENOMIC, *LLM), (6, 6)),
        ((*GENOMIC, *LLM, "teacher.kmer=3"), (3, 3)),
        ((*GENOMIC, *LLM, "teacher.kmer=6", "teacher.stride=1"), (6, 1)),
        ((*GENOMIC, *LLM, "teacher.kmer=0"), (0, 1)),
        (("data.corpus=text", "data.path=x.tsv", "teacher.kmer=4"), (4, 1)),
    ],
)
def test_a_recipe_means_these_words(overrides, words):
    assert load("smoke", overrides).words() == words


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("teacher.kmer=6",), "teacher.kmer is 6; synthetic is text, which has no kmer: leave it out"),
        (("teacher.stride=2",), "teacher.stride is 2; synthetic is text, which has no stride: leave it out"),
        (
            (*GENOMIC, "teacher.kmer=0"),
            "teacher.kmer is 0; a tiny teacher counts words, and a row of genomic is a single one: leave it out",
        ),
        ((*GENOMIC, *LLM, "teacher.kmer=0", "teacher.stride=2"), "stride is 2; kmer 0 has no stride: leave it out"),
        (
            ("data.corpus=text", "data.path=x.tsv", "teacher.stride=2"),
            "teacher.stride is 2; without kmer a text is read as it stands: leave it out",
        ),
    ],
)
def test_words_that_cannot_be_meant_are_refused(overrides, reason):
    with pytest.raises(RecipeError, match=f"{reason}$"):
        load("smoke", overrides)


@given(k=st.integers(1, 8), stride=st.integers(1, 8), seed=st.integers(0, 99))
def test_a_teacher_of_dna_is_the_one_of_its_spelled_rows(k, stride, seed):
    (train, labels), (held, asked) = dna(12, seed), dna(6, seed + 100)
    ours, plain = teacher(TeacherConfig(), 2, words=(k, stride)), teacher(TeacherConfig(), 2)
    train_words, held_words = ([spaced_kmers(row, k, stride) for row in rows] for rows in (train, held))
    assert ours.tune(train, labels, held, asked).loss == plain.tune(train_words, labels, held_words, asked).loss
    assert_array_equal(ours.soft_labels(held, 2.0), plain.soft_labels(held_words, 2.0))
    other = teacher(TeacherConfig(), 2, words=(k, stride))
    other.load_adapter(ours.adapter())
    assert_array_equal(other.soft_labels(held, 2.0), ours.soft_labels(held, 2.0))


def test_words_make_a_tiny_teacher_of_dna_that_single_rows_do_not():
    rows = (*dna(60, 0), *dna(40, 1))
    assert teacher(TeacherConfig(), 2, words=(3, 1)).tune(*rows).accuracy > 0.9
    assert teacher(TeacherConfig(), 2).tune(*rows).accuracy == 0.5


@pytest.mark.parametrize("kind", TEACHERS)
def test_rows_that_are_no_dna_are_refused_by_their_letter(kind):
    with pytest.raises(DataError, match="'a good film': letter 2 is ' '; DNA is A, C, G, T and N"):
        teacher(TeacherConfig(kind=kind), 2, words=(6, 6)).soft_labels(["a good film"], 1.0)


def test_what_is_kept_of_one_spelling_is_not_found_under_another(tiny_llm, tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    config = TeacherConfig(kind="lora", model=str(tiny_llm()), layers=1, epochs=1, max_tokens=16, dtype="float32")
    (train, labels), (held, asked) = dna(6, 0), dna(4, 1)
    for count, words in enumerate([(6, 6), (6, 1), (3, 3), (0, 1)], 1):
        one = teacher(config, 2, words=words)
        one.tune(train, labels, held, asked)
        assert len(list(tmp_path.glob("teachers/lora-*.npz"))) == count
        assert len(list(tmp_path.glob("features/logits-*.npy"))) == count
    monkeypatch.setattr(lora, "base", lambda *what: pytest.fail("the LLM was loaded again"))
    teacher(config, 2, words=(6, 6)).tune(train, labels, held, asked)


def test_a_plan_says_what_the_teacher_reads():
    assert DNA == ("genomic",)
    said = teaching(load("smoke", [*GENOMIC, *LLM]))
    assert "; reads DNA as words of 6 letters, one every 6; tuned on" in said
