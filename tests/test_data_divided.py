"""Corpora that come divided: where they are looked for, and that nobody crosses their lines."""

import gzip
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from data.baselines import logistic_regression
from data.corpus import CORPORA, TEST, TRAIN, VALIDATION, Corpus, DataError, load
from data.divided import SOURCES
from data.features import Pca
from data.kmers import Kmers
from data.partition import PARTITIONS
from data.scaled import Scaled
from data.split import deal
from recipes.load import load as load_recipe
from recipes.schema import DataConfig
from server.ready import ready

COUNTS = {  # of the files as they were cut
    "genomic": (4800, 1600, 1600),
    "tweets": (6852, 2284, 2285),
    "senti": (9547, 3183, 3182),
    "stega": (1920, 640, 640),
    "topic": (3772, 1258, 1258),
}
real = pytest.mark.skipif(
    not os.environ.get("QFLOCK_DATA"), reason="QFLOCK_DATA is not set: the folder of the corpora that come divided"
)


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        lines = "".join(f"{label}\t{text}\n" for label, text in rows)
        (folder / f"{name}.tsv.gz").write_bytes(gzip.compress(lines.encode()))


def rows(kind, n):
    """n texts that occur nowhere else, sorted by class."""
    return [(i * 2 // n, f"{kind} {i}") for i in range(n)]


@pytest.fixture
def senti(tmp_path, monkeypatch):
    write(tmp_path / "senti", train=rows("train", 60), val=rows("val", 30), test=rows("test", 20))
    monkeypatch.setenv("QFLOCK_DATA", str(tmp_path))
    return DataConfig(corpus="senti", reference_rows=10)


def test_every_row_stays_in_the_split_it_was_found_in(senti, tmp_path):
    corpus = load(senti, 0)
    assert corpus.source == str(tmp_path / "senti")
    assert corpus.classes == ["negative", "positive"]
    names = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
    assert len(corpus.texts) == 110
    for text, label, split in zip(corpus.texts, corpus.labels, corpus.splits, strict=True):
        kind, number = text.split()
        assert (names[split], int(number) * 2 // {"train": 60, "val": 30, "test": 20}[kind]) == (kind, label)


def test_labels_may_be_names(senti, tmp_path):
    write(tmp_path / "senti", test=[("positive", "a"), ("negative", "b")])
    corpus = load(senti, 0)
    assert {text: corpus.classes[k] for text, k in zip(corpus.texts, corpus.labels, strict=True)}["a"] == "positive"


def test_a_text_of_two_splits_stays_in_the_test(senti, tmp_path):
    write(tmp_path / "senti", train=[*rows("train", 60), (0, "TEST 0"), (0, "val 1")])
    corpus = load(senti, 0)
    assert corpus.dropped == {"duplicates": 2, "contradictions": 0}
    assert [np.sum(corpus.splits == split) for split in (TRAIN, VALIDATION, TEST)] == [60, 30, 20]


def divided_corpus(seed, n, p=0.4):
    rng = np.random.default_rng(seed)
    splits = rng.choice(3, size=n, p=[0.6, 0.2, 0.2])
    labels = np.sort(rng.random(n) < p).astype(np.int64)
    texts = [f"row {i}" for i in range(n)]
    return Corpus(texts, labels, ["no", "yes"], np.arange(n) % 2, ["x", "y"], splits=splits)


@pytest.mark.parametrize("scheme", PARTITIONS)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31 - 1),
    n=st.integers(100, 600),
    clients=st.integers(2, 6),
    reference=st.integers(10, 40),
    cap=st.sampled_from([0, 5, 20, 1000]),
)
def test_clients_learn_from_train_alone_and_are_tested_on_the_whole_test(scheme, seed, n, clients, reference, cap):
    corpus = divided_corpus(seed % 100, n)
    split_of = dict(zip(corpus.texts, corpus.splits.tolist(), strict=True))
    config = DataConfig(partition=scheme, reference_rows=reference, rows=cap, alpha=1.0)
    try:
        dealt = deal(corpus, config, clients, seed)
    except DataError as refused:
        dealt, error = None, str(refused)
    if dealt is None:
        assert "\n" not in error
        assert "use " in error or "lower " in error
        return
    texts = {
        VALIDATION: [text for part in (dealt.reference, *(s.validation for s in dealt.shares)) for text in part.texts],
        TRAIN: [text for share in dealt.shares for text in share.train.texts],
        TEST: [text for share in dealt.shares for text in share.test.texts],
    }
    for split, held in texts.items():
        assert {split_of[text] for text in held} == {split}
        assert len(held) == len(set(held))
    assert len(dealt.reference) == reference
    assert sorted(texts[TEST]) == sorted(text for text, split in split_of.items() if split == TEST)
    for share in dealt.shares:
        assert min(len(share.train), len(share.validation), len(share.test)) > 0
        assert not cap or len(share.train) <= 3 * cap // 5
        assert not cap or len(share.validation) <= cap // 5
        for part in (share.train, share.validation, share.test):
            assert part.labels.tolist() == [corpus.labels[corpus.texts.index(text)] for text in part.texts]
    if not cap:
        assert len(texts[TRAIN]) + len(texts[VALIDATION]) + len(texts[TEST]) == n


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(seed=st.integers(0, 9999))
def test_few_rows_of_a_file_sorted_by_class_are_of_every_class_in_proportion(senti, seed):
    """The head of such a file is of one class, which is what llmQFL trained and tested on."""
    corpus = load(senti, 0)
    whole, few = (deal(corpus, replace(senti, rows=rows), 2, seed) for rows in (0, 20))
    assert few.reference.labels.sum() == 5
    for held, share in zip(whole.shares, few.shares, strict=True):
        for all_rows, kept in ((held.train, share.train), (held.validation, share.validation)):
            assert abs(kept.labels.sum() - len(kept) * all_rows.labels.mean()) < 1
        assert len(share.train) == 12
        assert share.test.labels.sum() == held.test.labels.sum()


def test_worked_example(senti):
    dealt = deal(load(senti, 0), DataConfig(corpus="senti", reference_rows=10, rows=30), 2, seed=0)
    sizes = [(len(s.train), len(s.validation), len(s.test), s.domains) for s in dealt.shares]
    tests = [size[2] for size in sizes]
    assert sum(tests) == 20
    assert sizes == [(18, 6, test, {"senti": 24 + test}) for test in tests]


@pytest.mark.parametrize(
    ("config", "clients", "error"),
    [
        (
            {"partition": "domain"},
            2,
            "data.partition is domain, and senti is a single one: use iid, shards or dirichlet",
        ),
        (
            {"reference_rows": 29},
            4,
            "data.reference_rows is 29 of 30 validation rows, and 4 clients need 1 each; "
            "lower data.reference_rows to 26 or less",
        ),
        (
            {"rows": 4},
            2,
            "client 0 holds 29 rows to train on, 12 to validate and 9 to test; it needs some of each: "
            "raise data.rows to 5 or more",
        ),
        (
            {"reference_rows": 28},
            2,
            "client 0 holds 29 rows to train on, 0 to validate and 12 to test; it needs some of each: "
            "use fewer clients or another partition",
        ),
    ],
)
def test_too_few_rows_say_what_to_change(senti, config, clients, error):
    with pytest.raises(DataError) as raised:
        deal(load(senti, 0), DataConfig(corpus="senti", **({"reference_rows": 10} | config)), clients, seed=1)
    assert str(raised.value) == error


FILES = "{train,val,test}.tsv.gz, label<TAB>text a line"


@pytest.mark.parametrize("corpus", ["senti", "stega", "topic"])
def test_a_corpus_without_a_folder_says_what_it_wants(corpus, tmp_path, monkeypatch):
    monkeypatch.delenv("QFLOCK_DATA", raising=False)
    with pytest.raises(DataError) as raised:
        load(DataConfig(corpus=corpus), 0)
    wanted = f"set it to a folder that holds {corpus}/{FILES}"
    assert str(raised.value) == f"corpus {corpus} is not here: QFLOCK_DATA is not set; {wanted}"
    monkeypatch.setenv("QFLOCK_DATA", str(tmp_path))
    with pytest.raises(DataError) as raised:
        load(DataConfig(corpus=corpus), 0)
    looked = f"QFLOCK_DATA is {tmp_path}, without a folder {corpus}"
    assert str(raised.value) == f"corpus {corpus} is not here: {looked}; {wanted}"


def test_a_public_corpus_names_the_hub_too(monkeypatch):
    monkeypatch.delenv("QFLOCK_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError) as raised:
        load(DataConfig(corpus="tweets"), 0)
    assert str(raised.value) == (
        "corpus tweets is not here: QFLOCK_DATA is not set; hf:cardiffnlp/tweet_eval/sentiment needs the package "
        "datasets: pip install 'qflock[hub]' | Make the hub reachable, or set QFLOCK_DATA to a folder that holds "
        f"tweet_sentiment/{FILES}"
    )


def test_a_folder_with_a_file_missing_is_not_passed_over(senti, tmp_path):
    (tmp_path / "senti" / "val.tsv.gz").unlink()
    with pytest.raises(DataError) as raised:
        load(senti, 0)
    assert str(raised.value) == f"{tmp_path}/senti lacks val.tsv.gz; add the file, label<TAB>text a line"


def test_an_unknown_label_names_its_line(senti, tmp_path):
    write(tmp_path / "senti", val=[(0, "a"), (2, "b")])
    with pytest.raises(DataError) as raised:
        load(senti, 0)
    place = f"{tmp_path}/senti/val.tsv.gz:2"
    assert str(raised.value) == f"{place}: the label is '2'; it must be one of 0 (negative), 1 (positive)"


def test_a_sequence_with_other_letters_names_its_line(tmp_path, monkeypatch):
    good = [(0, "ACGT"), (1, "NNAC")]
    write(tmp_path / "human_or_worm", train=[*good, (1, "ACXT")], val=good, test=good)
    monkeypatch.setenv("QFLOCK_DATA", str(tmp_path))
    with pytest.raises(DataError) as raised:
        load(DataConfig(corpus="genomic"), 0)
    place = f"{tmp_path}/human_or_worm/train.tsv.gz:3"
    assert str(raised.value) == f"{place}: letter 3 is 'X'; DNA is A, C, G, T and N: correct the row or remove it"


class FakeSplit:
    """What our reader uses of a split of the `datasets` library."""

    def __init__(self, **columns):
        self.columns, self.column_names, self.features = columns, list(columns), dict.fromkeys(columns)

    def __getitem__(self, name):
        return self.columns[name]


def hub_with(monkeypatch, **splits):
    asked = []
    monkeypatch.delenv("QFLOCK_DATA", raising=False)
    hub = SimpleNamespace(load_dataset=lambda *name: asked.append(name) or splits)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    return asked


def test_tweets_come_from_the_hub_with_their_three_splits(monkeypatch):
    parts = {name: FakeSplit(text=[f"{name} {i}" for i in range(3)], label=[0, 1, 2]) for name in ("train", "test")}
    asked = hub_with(monkeypatch, validation=FakeSplit(text=["valid"], label=[1]), **parts)
    corpus = load(DataConfig(corpus="tweets"), 0)
    assert asked == [("cardiffnlp/tweet_eval", "sentiment")]
    assert corpus.source == "hf:cardiffnlp/tweet_eval/sentiment"
    assert corpus.classes == ["negative", "neutral", "positive"]
    found = dict(zip(corpus.texts, corpus.splits.tolist(), strict=True))
    assert found["valid"] == VALIDATION
    assert all(split == {"train": TRAIN, "test": TEST}[text[:-2]] for text, split in found.items() if text != "valid")


def test_a_hub_data_set_without_a_validation_split_lends_every_fifth_row_of_each_class(monkeypatch):
    words = ["".join("ACGT"[i // 4**j % 4] for j in range(4)) for i in range(60)]
    train = FakeSplit(seq=words[:50], label=[0] * 25 + [1] * 25)
    hub_with(monkeypatch, train=train, test=FakeSplit(seq=words[50:], label=[0, 1] * 5))
    corpus = load(DataConfig(corpus="genomic"), 0)
    counts = [np.bincount(corpus.labels[corpus.splits == split]).tolist() for split in (TRAIN, VALIDATION, TEST)]
    assert counts == [[20, 20], [5, 5], [5, 5]]


@pytest.mark.hub
def test_real_hub_splits_read_like_the_fakes(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the extra: pip install 'qflock[hub]'")
    features = datasets.Features(seq=datasets.Value("string"), label=datasets.Value("int64"))
    parts = {"train": (["AC", "AG", "AT", "CA", "CC"], [0, 0, 1, 1, 1]), "test": (["GG", "TT"], [0, 1])}
    made = {
        name: datasets.Dataset.from_dict({"seq": seq, "label": label}, features=features)
        for name, (seq, label) in parts.items()
    }
    monkeypatch.delenv("QFLOCK_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict(**made))
    corpus = load(DataConfig(corpus="genomic"), 0)
    assert dict(zip(corpus.texts, corpus.splits.tolist(), strict=True)) == (
        {"GG": TEST, "TT": TEST, "CC": VALIDATION} | dict.fromkeys(("AC", "AG", "AT", "CA"), TRAIN)
    )


@pytest.mark.hub
def test_a_hub_out_of_reach_is_one_line(monkeypatch):
    pytest.importorskip("datasets", reason="needs the extra: pip install 'qflock[hub]'")
    monkeypatch.delenv("QFLOCK_DATA", raising=False)  # and conftest sets HF_HUB_OFFLINE
    with pytest.raises(DataError, match=r"^corpus tweets is not here: .*; hf:.* cannot be loaded: "):
        load(DataConfig(corpus="tweets"), 0)


@pytest.mark.parametrize("corpus", SOURCES)
def test_a_plan_knows_the_classes_of_a_corpus_that_is_not_here(corpus, monkeypatch):
    monkeypatch.delenv("QFLOCK_DATA", raising=False)
    recipe = load_recipe("smoke", [f"data.corpus={corpus}"])
    assert ready(recipe, fetch=False) == len(SOURCES[corpus].classes)


def test_every_divided_corpus_has_a_source():
    assert {name for name, reader in CORPORA.items() if reader.__name__ == "divided"} == set(SOURCES) == set(COUNTS)


@real
@pytest.mark.parametrize("corpus", COUNTS)
def test_the_files_at_hand_are_read_whole_and_disjoint(corpus):
    found = load(DataConfig(corpus=corpus), 0)
    assert tuple(np.bincount(found.splits)) == COUNTS[corpus]
    assert sum(found.dropped.values()) == 0
    assert found.classes == list(SOURCES[corpus].classes)


@real
def test_three_letter_words_tell_human_from_worm_as_well_as_they_did():
    """0.923 of all 64 counts, 0.915 of four principal components of them."""
    corpus = load(DataConfig(corpus="genomic"), 0)
    train, test = (np.flatnonzero(corpus.splits == split) for split in (TRAIN, TEST))
    stage, reduction = Scaled(Kmers(3, 1)), Pca(64, 4)
    texts = {part: [corpus.texts[row] for row in part_rows] for part, part_rows in (("train", train), ("test", test))}
    arrays = stage.merge({}, [stage.local({}, texts["train"], corpus.labels[train])], [len(train)])
    x_train, x_test = stage.apply(arrays, texts["train"]), stage.apply(arrays, texts["test"])
    y_train, y_test = corpus.labels[train], corpus.labels[test]
    assert logistic_regression(x_train, y_train, x_test, y_test) == pytest.approx(0.923, abs=0.004)
    parts = reduction.merge({}, [reduction.local({}, x_train, y_train)], [len(train)])
    z_train, z_test = reduction.apply(parts, x_train), reduction.apply(parts, x_test)
    assert logistic_regression(z_train, y_train, z_test, y_test) == pytest.approx(0.915, abs=0.006)


@real
def test_every_client_gets_its_part_of_the_published_test_rows():
    corpus = load(DataConfig(corpus="topic"), 0)
    dealt = deal(corpus, DataConfig(corpus="topic", partition="dirichlet", alpha=0.3, rows=200), 5, seed=3)
    held = sorted(text for share in dealt.shares for text in share.test.texts)
    assert held == sorted(np.array(corpus.texts, dtype=object)[corpus.splits == TEST])
    assert_array_equal(np.bincount(dealt.reference.labels, minlength=4), [50] * 4)
