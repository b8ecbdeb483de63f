"""The user's own rows: four formats read alike, and every malformed file is one line that says where and what."""

import csv
import gzip
import io
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus import DataError, load
from recipes.schema import DataConfig

ROWS = [("good", "Fine, said she"), ("bad", 'He said "no"'), ("good", "a \u2028 b\x85c"), ("bad", "naïve 🙂\ttabbed")]
ROWS += [("good", "yes"), ("bad", "no")]
MORE = b"1\tc\n1\td\n0\te\n0\tf\n"
CLEAN = ["Fine, said she", 'He said "no"', "a b c", "naïve 🙂 tabbed", "yes", "no"]


def written(rows, suffix):
    """Label and text rows in one of the formats."""
    if suffix == ".jsonl":
        return "".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in rows)
    if suffix == ".csv":
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows([("id", "text", "label"), *((1, text, label) for label, text in rows)])
        return buffer.getvalue()
    return "".join(f"{label}\t{text}\n" for label, text in rows)


def read(path, **columns):
    return load(DataConfig(corpus="text", path=str(path), **columns), seed=0)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("suffix", [".tsv", ".txt", ".csv", ".jsonl"])
def test_all_formats_read_the_same_rows(tmp_path, suffix, zipped):
    raw = written(ROWS, suffix).encode()
    path = tmp_path / f"rows{suffix}{'.gz' if zipped else ''}"
    path.write_bytes(gzip.compress(raw, mtime=0) if zipped else raw)
    corpus = read(path)
    assert corpus.texts == CLEAN
    assert [corpus.classes[k] for k in corpus.labels] == ["good", "bad"] * 3
    assert corpus.classes == ["bad", "good"]
    assert corpus.domain_names == ["rows"]


words = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\t"), min_size=1).filter(str.strip)


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
@given(texts=st.lists(words, min_size=6, max_size=8, unique_by=lambda text: " ".join(text.split()).casefold()))
def test_any_text_survives_but_for_its_white_space(tmp_path_factory, suffix, texts):
    rows = [(str(i % 2), text) for i, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("any") / f"rows{suffix}"
    path.write_text(written(rows, suffix), encoding="utf-8", newline="")
    assert read(path).texts == [" ".join(text.split()) for text in texts]


def test_a_header_windows_line_ends_a_byte_order_mark_and_empty_lines_are_no_rows(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes("\ufefflabel\ttext\r\n\r\n1\tone\r\n0\tzero\r\n\r\n".encode() + MORE)
    corpus = read(path)
    assert corpus.texts == ["one", "zero", "c", "d", "e", "f"]
    assert corpus.classes == ["0", "1"]


def test_whole_number_labels_sort_by_value(tmp_path):
    path = tmp_path / "rows.jsonl"
    values = [10, 9, -1, 9, 10, -1, -1, 9, 10]
    path.write_text("".join(json.dumps({"label": v, "text": f"row {i}"}) + "\n" for i, v in enumerate(values)))
    corpus = read(path)
    assert corpus.classes == ["-1", "9", "10"]
    assert corpus.labels.tolist() == [2, 1, 0, 1, 2, 0, 0, 1, 2]


def test_columns_are_named_in_the_recipe(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('stars,review\n1,"two\nlines"\n5,great\n5,good\n5,fine\n1,bad\n1,poor\n')
    corpus = read(path, text_column="review", label_column="stars")
    assert corpus.texts == ["two lines", "great", "good", "fine", "bad", "poor"]


def test_a_folder_is_one_domain_a_file_in_the_order_of_names(tmp_path):
    (tmp_path / "b.tsv").write_text("1\tbee\n0\tbat\n")
    (tmp_path / "a.csv").write_text("label,text\n1,ant\n0,ape\n1,BEE\n0,asp\n1,auk\n")
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".hidden.tsv").write_text("not data")
    corpus = read(tmp_path)
    assert corpus.texts == ["ant", "ape", "BEE", "asp", "auk", "bat"]  # "bee" repeats BEE and goes
    assert corpus.domain_names == ["a", "b"]
    assert corpus.domains.tolist() == [0, 0, 0, 0, 0, 1]


def test_files_of_one_name_keep_their_endings(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"1\tbee\n" + MORE)
    (tmp_path / "a.csv").write_text("label,text\n0,ant\n")
    assert read(tmp_path).domain_names == ["a.csv", "a.tsv"]


ENDINGS = ".tsv, .txt, .csv, .jsonl, each also with .gz"
SET = "set data.text_column and data.label_column"
CORRECT = "correct the label, remove it or add rows"
MALFORMED = [
    ("x.tsv", b"", "{path}: no rows; expected a label and a text a line"),
    ("x.csv", b"label,text\n", "{path}: no rows; expected a label and a text a line"),
    ("x.tsv", b"1\ta\n\n0 b\n", "{path}:3: found '0 b' without a tab; expected label<TAB>text"),
    ("x.tsv", b"1\ta\n0\t \n", "{path}:2: the text is empty; give this row a text or remove it"),
    ("x.tsv", b"\ta\n", "{path}:1: the label is empty; give this row a label or remove it"),
    ("x.jsonl", b'{"label": null, "text": "a"}', "{path}:1: the label is empty; give this row a label or remove it"),
    ("x.tsv", b"1\ta\n0\tcaf\xe9\n", "{path}:2: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
    ("x.tsv", b"1\ta\n1\tb\n", "{path}: every label is '1'; at least two classes are needed"),
    ("x.tsv", b"1\ta\n0\tA\n", "{path}: no row is left; texts are needed that do not carry contradicting labels"),
    ("x.tsv", b"a b\t1\nc d\t0\ne f\t2\n", "{path}: 3 different labels in 3 rows; are text and label swapped?"),
    (
        "x.tsv",
        b"\nsentiment\treview\n1\ta\n0\tb\n" + MORE,
        "{path}:2: the label 'sentiment' has 1 row; every class needs 3 or more: if this line is a header, "
        "set data.label_column to 'sentiment' and data.text_column to 'review', else " + CORRECT,
    ),
    (
        "x.tsv",
        b"label\ttext\n1\ta\n0\tb\nlabel\ttext\n" + MORE,
        "{path}:4: the label 'label' has 1 row; every class needs 3 or more: " + CORRECT,
    ),
    (
        "x.jsonl",
        b"".join(b'{"label": %d, "text": "%d"}\n' % (i % 7 < 2, i) for i in range(7)),
        "{path}:1: the label '1' has 2 rows; every class needs 3 or more: " + CORRECT,
    ),
    ("x.csv", b"stars,review\n1,a\n", "{path}:1: no column label; found stars, review: " + SET),
    ("x.csv", b"label;text\n1;a\n", "{path}:1: no column label; found label;text: " + SET),
    ("x.csv", b"label,text\n1,a\n0,b,c\n", "{path}:3: found 3 cells; the header has 2"),
    (
        "x.csv",
        b'label,text\n1,"a\nb"\n0,"open\n',
        "{path}:4: not CSV (unexpected end of data); quote a text that holds commas or quotes",
    ),
    ("x.jsonl", b'{"label": 1, "body": "a"}\n', "{path}:1: no column text; found label, body: " + SET),
    (
        "x.jsonl",
        b'{"label": 1, "text": "a"}\n{"label": 0,\n',
        "{path}:2: not JSON (Expecting property name enclosed in double quotes at character 13): '{{\"label\": 0,'",
    ),
    ("x.jsonl", b"[1, 2]\n", "{path}:1: found '[1, 2]'; expected a JSON object such as {{...}}"),
    ("x.jsonl", b'{"label": 1, "text": 5}\n', "{path}:1: the text is '5'; it must be text"),
    ("x.jsonl", b'{"label": 0.5, "text": "a"}\n', "{path}:1: the label is '0.5'; it must be text or a whole number"),
    (
        "x.jsonl",
        b'{"label": 1, "text": "a"}\n{"label": ' + b"9" * 5000 + b', "text": "a"}\n',
        '{path}:2: a number is too long; write it as text, in quotes: \'{{"label": ' + "9" * 30 + "…'",
    ),
    (
        "x.jsonl",
        b'{"label": 1, "text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
        '{path}:1: too deeply nested; a label and a text are enough: \'{{"label": 1, "text": ' + "[" * 19 + "…'",
    ),
    ("x.jsonl", b'{"label": 1, "text": [[5]]}\n', "{path}:1: the text is '[…]'; it must be text"),
    ("x.parquet", b"PAR1", "{path}: the ending .parquet is not known; use " + ENDINGS),
    ("x", b"1\ta\n", "{path}: the ending (none) is not known; use " + ENDINGS),
    ("x.tsv.gz", b"1\ta\n0\tb\n", "{path}: not a whole gzip file (Not a gzipped file (b'1\\t')); compress it again"),
    (
        "x.tsv.gz",
        gzip.compress(b"1\ta\n0\tb\n", mtime=0)[:-9],
        "{path}: not a whole gzip file (Compressed file ended before the end-of-stream marker was reached); "
        "compress it again",
    ),
]


@pytest.mark.parametrize(("name", "content", "error"), MALFORMED)
def test_a_malformed_file_is_one_line_that_says_where_and_what(tmp_path, name, content, error):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read(path)
    assert str(raised.value) == error.format(path=path)


def test_a_path_that_is_not_there_says_where_it_starts(tmp_path):
    with pytest.raises(DataError) as raised:
        read(tmp_path / "no.tsv")
    wanted = f"{tmp_path / 'no.tsv'}: no such file or folder; data.path is relative to where qflock was started"
    assert str(raised.value) == wanted


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("x" * 5000, f"'{'x' * 40}…': cannot be read (File name too long); change data.path"),
        ("~nobodyy/x.tsv", "'~nobodyy/x.tsv': no such home folder; write data.path without the ~"),
    ],
)
def test_a_path_that_the_file_system_refuses_is_one_line(path, error):
    with pytest.raises(DataError) as raised:
        read(path)
    assert str(raised.value) == error


def test_a_folder_without_data_says_what_it_may_hold(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    wanted = f"{tmp_path}: no file in this folder can be read; one file a domain is expected: {ENDINGS}"
    assert str(raised.value) == wanted


def test_a_header_in_every_file_of_a_folder_is_found_out(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.tsv").write_text(f"stars\treview\n1\tgood {name}\n0\tbad {name}\n")
    with pytest.raises(DataError, match=r"a\.tsv:1: the label 'stars' has 1 row"):
        read(tmp_path)
    assert read(tmp_path, label_column="stars", text_column="review").classes == ["0", "1"]


def test_a_file_that_repeats_another_is_named(tmp_path):
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text("1\tone\n0\tzero\n")
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    wanted = f"{tmp_path}: b has no row of its own; each repeats or contradicts another: remove it"
    assert str(raised.value) == wanted


class FakeSplit(dict):
    """What our reader uses of a split of the `datasets` library."""

    @property
    def column_names(self):
        return list(self)

    features: dict


def hub_with(monkeypatch, splits, names=None):
    for split in splits.values():
        split.features = {name: SimpleNamespace(names=names if name == "label" else None) for name in split}
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda name: splits))


def test_a_hub_dataset_gives_its_train_rows_with_named_classes(monkeypatch):
    train = FakeSplit(text=["a", "b"], label=[0, 1])
    hub_with(monkeypatch, {"train": train, "test": FakeSplit(text=["c"], label=[1])}, names=["neg", "pos"])
    corpus = read("hf:me/mine")
    assert corpus.texts == ["a", "b"]
    assert corpus.classes == ["neg", "pos"]
    assert corpus.domain_names == ["me/mine"]


def test_a_hub_dataset_without_train_gives_all_its_rows(monkeypatch):
    hub_with(monkeypatch, {"x": FakeSplit(text=["a"], label=[0]), "y": FakeSplit(text=["c"], label=[1])})
    assert read("hf:me/mine").texts == ["a", "c"]


def test_a_hub_dataset_without_the_column_lists_those_it_has(monkeypatch):
    hub_with(monkeypatch, {"train": FakeSplit(text=["a"], stars=[0])})
    with pytest.raises(DataError, match=r"hf:me/mine: no column label; found text, stars: set data\.text_column"):
        read("hf:me/mine")


@pytest.mark.parametrize(("text", "label"), [(None, 1), (" ", 1), ("b", None), ("b", -1)])
def test_a_hub_row_without_text_or_label_is_numbered(monkeypatch, text, label):
    hub_with(monkeypatch, {"train": FakeSplit(text=["a", text], label=[0, label])}, names=["neg", "pos"])
    with pytest.raises(DataError) as raised:
        read("hf:me/mine")
    wanted = "hf:me/mine: row 1 lacks its label or text; save the rows you want as a .tsv file"
    assert str(raised.value) == wanted


def test_without_the_extra_the_hub_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError) as raised:
        read("hf:me/mine")
    assert str(raised.value) == "hf:me/mine needs the package datasets: pip install 'qflock[hub]'"


def test_a_hub_dataset_that_cannot_be_loaded_gives_the_reason(monkeypatch):
    def refuse(name):
        raise FileNotFoundError(f"Dataset '{name}' doesn't exist\non the Hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=refuse))
    with pytest.raises(DataError) as raised:
        read("hf:me/mine")
    assert str(raised.value) == "hf:me/mine cannot be loaded: Dataset 'me/mine' doesn't exist on the Hub"


@pytest.mark.hub
def test_a_real_hub_dataset_object_reads_like_the_fake(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the extra: pip install 'qflock[hub]'")
    features = datasets.Features(body=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    train = datasets.Dataset.from_dict({"body": ["a", "b", "c"], "label": [1, 0, 1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict(train=train))
    corpus = read("hf:me/mine", text_column="body")
    assert corpus.texts == ["a", "b", "c"]
    assert corpus.classes == ["neg", "pos"]
    assert corpus.labels.tolist() == [1, 0, 1]
