"""The FAB is what Flower runs, the wheel gives one command; both hold the same app, and neither leaks module names."""

import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"server", "client", "strategies", "quantum", "teacher", "data", "recipes"}
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}

pytestmark = pytest.mark.slow


def python(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | QUIET
    if path:
        env["PYTHONPATH"] = str(path)
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def fab_of(app: Path) -> zipfile.ZipFile:
    from flwr.cli.build import build_fab_from_disk

    return zipfile.ZipFile(BytesIO(build_fab_from_disk(app)))


@pytest.fixture(scope="module")
def fab():
    return fab_of(ROOT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    built = python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    done = python("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel), cwd=site)
    assert done.returncode == 0, done.stderr
    return site


def contents(archive: zipfile.ZipFile, below: str = "") -> dict[str, bytes]:
    return {
        name.removeprefix(below): archive.read(name)
        for name in archive.namelist()
        if name.startswith(below) and name.removeprefix(below).partition("/")[0] in OURS
    }


def test_the_fab_holds_our_folders_and_nothing_else(fab):
    allowed = (".py", ".yaml")
    extra = [n for n in fab.namelist() if n.partition("/")[0] not in OURS and not n.startswith(".info/")]
    assert set(extra) <= {"pyproject.toml", "LICENSE", ".info/CONTENT"}
    assert all(name.endswith(allowed) for name in contents(fab))
    assert {f"recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")} <= set(fab.namelist())


def test_the_fab_is_far_below_the_ten_megabytes_that_flower_takes(fab):
    assert sum(info.compress_size for info in fab.infolist()) < 2_000_000  # it is code alone, and not compressed


def test_wheel_and_fab_hold_the_same_app(fab, wheel):
    assert contents(zipfile.ZipFile(wheel), "qflock/app/") == contents(fab)


def test_flower_builds_the_same_fab_from_the_installed_app(fab, installed):
    again = fab_of(installed / "qflock" / "app")
    assert {n: again.read(n) for n in again.namelist()} == {n: fab.read(n) for n in fab.namelist()}


def test_a_wheel_adds_one_importable_name(wheel):
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"qflock"}


def test_the_installed_command_works_from_anywhere_and_hides_our_folders(installed, tmp_path):
    listed = python(
        "-c", "import qflock, sys; sys.argv = ['qflock', 'recipes']; qflock.main()", cwd=tmp_path, path=installed
    )
    assert listed.returncode == 0, listed.stderr
    assert "smoke" in listed.stdout
    for name in ("server", "client", "strategies", "quantum", "teacher", "data", "recipes", "tests"):
        found = python("-c", f"import importlib.util as u; print(u.find_spec('{name}'))", cwd=tmp_path, path=installed)
        assert found.stdout.strip() == "None", name


def test_an_editable_install_puts_only_the_launcher_on_the_path(tmp_path):
    site = tmp_path / "site"
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    done = python("-m", "pip", "install", *options, "-e", str(ROOT), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (pth,) = site.glob("*.pth")
    (added,) = pth.read_text().split()
    assert [path.name for path in Path(added).iterdir() if path.name != "__pycache__"] == ["qflock"]
    assert not OURS & {path.name for path in site.iterdir()}


@pytest.mark.parametrize("component", ["server.app", "client.app"])
def test_the_unzipped_fab_loads_in_a_fresh_process_elsewhere(fab, component, tmp_path):
    fab.extractall(tmp_path / "app")
    code = f"import {component} as m; print(type(m.app).__name__, m.__file__)"
    loaded = python("-c", code, cwd=tmp_path, path=tmp_path / "app")
    assert loaded.returncode == 0, loaded.stderr
    name, file = loaded.stdout.split()
    assert name in ("ServerApp", "ClientApp")
    assert Path(file).is_relative_to(tmp_path)
