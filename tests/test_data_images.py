"""Corpora of images: the formats they come in, where they are looked for, and whose rows are whose."""

import gzip
import hashlib
import io
import os
import tarfile
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from rich.console import Console
from sklearn.datasets import load_digits

from data import images
from data.corpus import TEST, TRAIN, DataError, load
from data.images import FASHION, folder_of, idx
from data.split import deal
from recipes.load import load as load_recipe
from recipes.schema import DataConfig
from server.plan import priced

DRAWS = np.random.default_rng(0)


def as_idx(array):
    """The format of http://yann.lecun.com/exdb/mnist, written from its description."""
    head = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)  # tests have the same names in every process


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    """A small FashionMNIST where QFLOCK_DATA says, 10 training images and 3 test images of each class."""
    folder = tmp_path / "fashion_mnist"
    folder.mkdir()
    for name, each in (("train", 10), ("t10k", 3)):
        labels = np.repeat(np.arange(10, dtype=np.uint8), each)
        pixels = DRAWS.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(as_idx(pixels))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(as_idx(labels))
    monkeypatch.setenv("QFLOCK_DATA", str(tmp_path))
    return folder


@given(array=arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=5)))
def test_an_idx_file_is_read_as_it_was_written(array, tmp_path_factory):
    path = tmp_path_factory.mktemp("idx") / "x.gz"
    path.write_bytes(as_idx(array))
    assert_array_equal(idx(path, array.ndim), array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no gzip", "cannot be read"),
        (gzip.compress(b"short", mtime=0), "is no idx file of 3 dimensions"),
        (as_idx(np.zeros(5, np.uint8)), "is no idx file of 3 dimensions"),
        (
            gzip.compress(gzip.decompress(as_idx(np.zeros((2, 3, 4), np.uint8)))[:-1], mtime=0),
            "holds 23 bytes, not 2 × 3 × 4",
        ),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(content, said, tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        idx(path, 3)
    assert str(path) in str(error.value)


def test_the_digits_are_scikit_learns():
    corpus, theirs = load(DataConfig(corpus="digits"), 0), load_digits()
    assert corpus.images.shape == (1797, 1, 8, 8)
    assert_array_equal(corpus.labels, theirs.target)
    assert_array_equal(np.rint(corpus.images[:, 0] * (16 / 255)), theirs.images)


def test_the_server_of_a_train_and_test_corpus_holds_test_rows_and_nobody_trains_on_them(fashion):
    corpus = load(DataConfig(corpus="fashion"), 0)
    assert corpus.source == str(fashion)
    assert np.bincount(corpus.splits).tolist() == [100, 0, 30]
    config = DataConfig(corpus="fashion", reference_rows=30)
    dealt = deal(corpus, config, 4, 0)
    number = {image.tobytes(): row for row, image in enumerate(corpus.images)}

    def rows(part):
        return [number[image.tobytes()] for image in part.images]

    test = np.flatnonzero(corpus.splits == TEST)
    assert_array_equal(np.sort(rows(dealt.reference)), test)
    assert_array_equal(np.sort(np.concatenate([rows(share.test) for share in dealt.shares])), test)
    own = np.concatenate([rows(part) for share in dealt.shares for part in (share.train, share.validation)])
    assert_array_equal(np.sort(own), np.flatnonzero(corpus.splits == TRAIN))
    assert all(len(share.validation) == -(-(len(share.train) + len(share.validation)) // 20) for share in dealt.shares)
    with pytest.raises(DataError, match="reference_rows is 31 of 30 test rows"):
        deal(corpus, replace(config, reference_rows=31), 4, 0)


@pytest.mark.parametrize("partition", ["iid", "shards", "dirichlet"])
def test_images_are_dealt_like_texts(partition):
    config = DataConfig(corpus="digits", partition=partition)
    dealt = deal(load(config, 0), config, 5, 0)
    assert sum(len(s.train) + len(s.validation) + len(s.test) for s in dealt.shares) + len(dealt.reference) == 1797
    for share in dealt.shares:
        assert share.train.images.shape == (len(share.train.labels), 1, 8, 8)
        assert len(share.unlabelled) == 0


def test_a_corpus_that_is_nowhere_names_every_place(tmp_path, monkeypatch):
    def unreachable(url, timeout):
        raise URLError("no route to host")

    monkeypatch.setattr(images.urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("QFLOCK_DATA", str(tmp_path))
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(images.PUBLISHED, "fashion", replace(FASHION, system=str(tmp_path / "none")))
    monkeypatch.setattr(images, "FASHION", images.PUBLISHED["fashion"])
    with pytest.raises(DataError) as error:
        load(DataConfig(corpus="fashion"), 0)
    line = str(error.value)
    looked = [tmp_path / place for place in ("fashion_mnist", "none", "cache/fashion")]
    assert f"neither in {' nor in '.join(map(str, looked))}, and" in line
    assert all(said in line for said in (FASHION.url, "no route"))
    first, *others = FASHION.files
    for place in looked:
        place.mkdir(parents=True, exist_ok=True)
        (place / first).touch()
        with pytest.raises(DataError) as error:
            load(DataConfig(corpus="fashion"), 0)
        assert f"{place} (which lacks {', '.join(others)})" in str(error.value)
    monkeypatch.delenv("QFLOCK_DATA")
    with pytest.raises(DataError, match=r"\$QFLOCK_DATA/cifar10 \(QFLOCK_DATA is not set\)"):
        load(DataConfig(corpus="cifar10"), 0)


def test_a_plan_says_where_a_corpus_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_DATA", str(tmp_path))
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    console = Console(width=300)
    with console.capture() as captured:
        console.print(
            priced(load_recipe("qfed-batched", ["student.generator={by: full, chunk: 1}", "student.twin=false"]))
        )
    assert f"not here yet: neither in {tmp_path}/cifar10 nor in /usr/share/datasets/cifar-10" in captured.get()


def cifar(path, batches=6):
    """A small CIFAR-10 archive; its labels in order."""
    labels = []
    with tarfile.open(path, "w:gz") as archive:
        for number in range(batches):
            name = "test_batch.bin" if number == 5 else f"data_batch_{number + 1}.bin"
            records = DRAWS.integers(0, 256, (10, 3073), dtype=np.uint8)
            records[:, 0] = np.arange(10)
            labels += list(records[:, 0])
            item = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            item.size = records.size
            archive.addfile(item, io.BytesIO(records.tobytes()))
    return labels


def test_a_download_is_checked_kept_and_not_repeated(tmp_path, monkeypatch):
    labels = cifar(tmp_path / "published.tar.gz")
    content, asked = (tmp_path / "published.tar.gz").read_bytes(), []

    def served(url, timeout):
        asked.append(url)
        return io.BytesIO(content)

    monkeypatch.setattr(images.urllib.request, "urlopen", served)
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("QFLOCK_DATA", raising=False)
    with pytest.raises(DataError, match="it has another md5"):
        load(DataConfig(corpus="cifar10"), 0)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(images, "CIFAR10", replace(images.CIFAR10, files={"cifar-10-binary.tar.gz": md5}))
    for _ in range(2):
        corpus = load(DataConfig(corpus="cifar10"), 0)
    assert len(asked) == 2
    assert corpus.images.shape == (60, 3, 32, 32)
    assert_array_equal(corpus.labels, labels)
    assert np.bincount(corpus.splits).tolist() == [50, 0, 10]


def test_an_archive_that_lacks_a_batch_is_refused(tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("QFLOCK_DATA", str(tmp_path))
    cifar(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", batches=5)
    with pytest.raises(DataError, match="found 5 whole batches of 6"):
        load(DataConfig(corpus="cifar10"), 0)
    (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        load(DataConfig(corpus="cifar10"), 0)


@pytest.mark.skipif(
    not os.environ.get("QFLOCK_DATA") or folder_of(FASHION) is None,
    reason="QFLOCK_DATA is not set to a folder that holds fashion_mnist",
)
def test_fashion_mnist_is_whole():
    corpus = load(DataConfig(corpus="fashion"), 0)
    assert np.bincount(corpus.splits).tolist() == [60000, 0, 10000]
    assert np.bincount(corpus.labels).tolist() == [7000] * 10
    assert corpus.images.mean() == pytest.approx(72.97, abs=0.05)  # 0.286 of 255, as published for the training set
