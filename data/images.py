"""Corpora of images, pixels from 0 to 255: looked for on this machine, then fetched once from where they are published.

digits    1,797 of 8×8 that scikit-learn carries; they come undivided
fashion   FashionMNIST, 70,000 of 28×28 (Xiao et al. 2017, arXiv:1708.07747, MIT): a train and a test split
cifar10   60,000 in colour of 32×32 (Krizhevsky 2009): a train and a test split
"""

import gzip
import hashlib
import os
import tarfile
import urllib.request
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from data.assets import cache_folder, made
from data.corpus import TEST, TRAIN, Corpus, DataError
from data.whole import write_whole

SECONDS = 30.0  # without a byte, before a download is given up
FASHION_CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@dataclass(frozen=True)
class Published:
    """Files that make a corpus: where a folder of them may lie, and where they are published."""

    name: str
    folder: str  # in $QFLOCK_DATA
    system: str  # a folder that a distribution's package makes
    url: str
    training: int  # rows
    files: dict[str, str]  # file → md5 as published; Debian's have other gzip headers, so the content is checked


FASHION = Published(
    name="fashion",
    folder="fashion_mnist",
    system="/usr/share/datasets/fashion-mnist",
    training=60_000,
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    files={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)
CIFAR10 = Published(
    name="cifar10",
    folder="cifar10",
    system="/usr/share/datasets/cifar-10",
    training=50_000,
    url="https://www.cs.toronto.edu/~kriz/",
    files={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
)
PUBLISHED = {one.name: one for one in (FASHION, CIFAR10)}


def digits() -> Corpus:
    """Handwritten digits, from 0 to 16 as they come."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.rint(found.images * (255 / 16)).astype(np.uint8)[:, None]
    return corpus_of("digits", "scikit-learn", pixels, found.target, [str(digit) for digit in range(10)], None)


def fashion() -> Corpus:
    """FashionMNIST from its four idx files."""
    folder = located(FASHION)
    parts = {
        split: (idx(folder / f"{name}-images-idx3-ubyte.gz", 3), idx(folder / f"{name}-labels-idx1-ubyte.gz", 1))
        for split, name in ((TRAIN, "train"), (TEST, "t10k"))
    }
    pixels = np.concatenate([images for images, _ in parts.values()])[:, None]
    labels = np.concatenate([labels for _, labels in parts.values()])
    splits = np.concatenate([np.full(len(labels), split) for split, (_, labels) in parts.items()])
    return corpus_of("fashion", str(folder), pixels, labels, FASHION_CLASSES, splits)


def cifar10() -> Corpus:
    """CIFAR-10 from its binary archive: records of a label and 3,072 pixels."""
    folder = located(CIFAR10)
    (name,) = CIFAR10.files
    path = folder / name
    try:
        with tarfile.open(path) as archive:
            found = {Path(item.name).name: archive.extractfile(item) for item in archive if item.name.endswith(".bin")}
            parts = {key: np.frombuffer(file.read(), np.uint8) for key, file in sorted(found.items()) if file}
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it, so that it is fetched anew") from None
    if len(parts) != 6 or any(len(part) % 3073 for part in parts.values()):
        raise DataError(f"{path}: found {len(parts)} whole batches of 6; delete it, so that it is fetched anew")
    records = np.concatenate(list(parts.values())).reshape(-1, 3073)
    splits = np.concatenate(
        [np.full(len(part) // 3073, TEST if name.startswith("test") else TRAIN) for name, part in parts.items()]
    )
    return corpus_of("cifar10", str(path), records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0], CIFAR_CLASSES, splits)


def corpus_of(
    name: str,
    source: str,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.generic],
    classes: list[str],
    splits: NDArray[np.int64] | None,
) -> Corpus:
    """A corpus of images in one domain, kept as published: equal images are not looked for."""
    if len(pixels) != len(labels) or len(pixels) == 0 or int(labels.max()) >= len(classes):
        raise DataError(f"{source}: {len(pixels)} images and {len(labels)} labels; they must match, with labels 0 to 9")
    domains = np.zeros(len(labels), dtype=np.int64)
    return Corpus([], labels.astype(np.int64), classes, domains, [name], source, splits, images=pixels)


def places(published: Published) -> list[Path]:
    """The folders of this machine where it may lie, in the order in which they are looked into."""
    root = os.environ.get("QFLOCK_DATA")
    own = [Path(root).expanduser().absolute() / published.folder] if root else []
    return [*own, Path(published.system), cache_folder() / published.name]


def missing(published: Published, place: Path) -> list[str]:
    """The files that a folder lacks."""
    return [file for file in published.files if not (place / file).is_file()]


def folder_of(published: Published) -> Path | None:
    """The first folder of this machine that has all files."""
    return next((place for place in places(published) if not missing(published, place)), None)


def located(published: Published) -> Path:
    """A folder that has all files, after a download where none has."""
    if found := folder_of(published):
        return found
    target = made(cache_folder() / published.name)
    with FileLock(target / ".lock"):
        for file, md5 in published.files.items():
            if not (target / file).is_file():
                write_whole(target / file, downloaded(published, file, md5))
    return target


def downloaded(published: Published, file: str, md5: str) -> bytes:
    """A published file, whole."""
    try:
        with urllib.request.urlopen(f"{published.url}{file}", timeout=SECONDS) as reply:
            content: bytes = reply.read()
        why = "" if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5 else "it has another md5"
    except (OSError, ValueError) as error:
        content, why = b"", str(getattr(error, "reason", error))
    if why:
        raise DataError(
            f"corpus {published.name}: {file} is {nowhere(published)}, and {published.url} did not give it ({why}): "
            f"put {', '.join(published.files)} into one of these folders"
        )
    return content


def nowhere(published: Published) -> str:
    """The folders that were looked into, in words, and what those lack that have some of the files."""
    said = [] if os.environ.get("QFLOCK_DATA") else [f"$QFLOCK_DATA/{published.folder} (QFLOCK_DATA is not set)"]
    for place in places(published):
        lacks = missing(published, place)
        partly = len(lacks) < len(published.files)
        said.append(f"{place} (which lacks {', '.join(lacks)})" if partly else f"{place}")
    return f"neither in {' nor in '.join(said)}"


def idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An array of bytes in the idx format: 0, 0, 8, dimensions, then each size in four bytes."""
    wrong = partial("{}: {}; delete it and fetch it anew".format, path)
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(wrong(f"cannot be read ({error})")) from None
    head = 4 + 4 * dimensions
    if raw[:4] != bytes((0, 0, 8, dimensions)) or len(raw) < head:
        raise DataError(wrong(f"is no idx file of {dimensions} dimensions"))
    sizes = np.frombuffer(raw[4:head], ">u4").tolist()
    if len(raw) != head + int(np.prod(sizes)):
        raise DataError(wrong(f"holds {len(raw) - head} bytes, not {' × '.join(map(str, sizes))}"))
    return np.frombuffer(raw[head:], np.uint8).reshape(sizes)
