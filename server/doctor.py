"""What works on this machine, what is missing, and the command that fixes it.

Nothing is changed, nothing is fetched, and no question leaves the machine unless an IBM account is saved on it. What is
installed works when it can be imported.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil

from data import divided, images
from data.assets import MINILM, REVIEWS, SMOLLM2, Asset, cache_folder
from server.containers import compose_of
from server.page import Column, Sheet
from strategies.failure import RunFailedError
from strategies.messages import FLOWER

State = Literal["works", "missing", "wrong", "optional"]
PYTHONS = ((3, 11), (3, 14))  # from, below
ROOM_GB, MEMORY_GB = 2.0, 2.0  # a run with an LLM: its weights and encoded texts; five clients and Ray
DOCKER_SECONDS, IMPORT_SECONDS = 10.0, 120.0
GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `optional` is missing and needed for a part only."""

    what: str
    state: State
    found: str
    fix: str = ""


def examined() -> Sheet:
    """Everything, in the order in which a run needs it."""
    with ThreadPoolExecutor(len(CHECKS)) as side_by_side:
        checked = list(side_by_side.map(lambda check: list(check()), CHECKS))
    rows = [(one.what, one.state, one.found, one.fix) for found in checked for one in found]
    told = (Column("what"), Column("state"), Column("found", place="last"))
    return Sheet("doctor", "this machine", (*told, Column("to fix or to have it", place="below")), rows)


def python() -> Iterable[Finding]:
    """The interpreter."""
    fits = PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]
    fix = "" if fits else "make setup PYTHON=python3.12"
    yield Finding("Python", "works" if fits else "wrong", f"{sys.version.split()[0]}, {sys.executable}", fix)


def flower() -> Iterable[Finding]:
    """Flower promises nothing between two series."""
    found = installed("flwr")
    fix = f"pip install 'flwr[simulation]=={FLOWER}.*'"
    if found is None:
        yield Finding("Flower", "missing", "not installed", fix)
        return
    said = f"{found}, this app is for {FLOWER}"
    if not found.startswith(f"{FLOWER}."):
        yield Finding("Flower", "wrong", said, fix)
    else:
        yield imported("Flower", "flwr", said, fix.replace("install", "install --force-reinstall"))
    tools = [name for name in ("flwr", "flower-superlink", "flower-supernode") if not on_path(name)]
    if tools:
        yield Finding("Flower's commands", "missing", f"no {', '.join(tools)} beside {sys.executable}", fix)


def simulator() -> Iterable[Finding]:
    """Ray, which simulates."""
    found = installed("ray")
    if found is None:
        lacking = "not installed: no simulation"
        yield Finding("Ray", "missing", lacking, "pip install 'flwr[simulation]', or --on processes")
        return
    yield imported("Ray", "ray", found, "pip install --force-reinstall ray, or --on processes")


def tensors() -> Iterable[Finding]:
    """PyTorch, where it computes and with how many threads."""
    found = installed("torch")
    if found is None:
        yield Finding("PyTorch", "missing", "not installed", "make setup")
        return
    tried = imported("PyTorch", "torch", found, "make clean setup, or pip install --force-reinstall torch")
    if tried.state == "works":
        from teacher.machine import device, number_type

        tried = replace(tried, found=f"{found}, computes on {device()} in {number_type('auto')}")
    yield tried
    said = os.environ.get("OMP_NUM_THREADS")
    found = f"{os.cpu_count()} cores, OMP_NUM_THREADS {said or 'not set'}; a run sets its recipe's threads itself"
    yield Finding("threads", "works", found)


def room() -> Iterable[Finding]:
    """Memory and disk."""
    free = psutil.virtual_memory().available / GB
    short = free < MEMORY_GB
    fix = "end other programs, or lower clients" if short else ""
    yield Finding(
        "free memory", "wrong" if short else "works", f"{free:.1f} GB of {psutil.virtual_memory().total / GB:.1f}", fix
    )
    disks = (
        ("disk of the cache", cache_folder(), "free some, or set QFLOCK_CACHE to a folder elsewhere"),
        ("disk of runs", Path.cwd(), "free some, or name a folder elsewhere with --runs-dir"),
    )
    for what, path, remedy in disks:
        free = shutil.disk_usage(existing(path)).free / GB
        short = free < ROOM_GB
        yield Finding(what, "wrong" if short else "works", f"{free:.1f} GB free at {path}", remedy if short else "")


def assets() -> Iterable[Finding]:
    """What is fetched once and kept."""
    uses: tuple[tuple[Asset, str], ...] = (
        (REVIEWS, "qflock data llm-qfl-reviews"),
        (MINILM, "qflock run llm-qfl-reviews"),
        (SMOLLM2, "qflock run llm-qfl-reviews"),
    )
    for asset, command in uses:
        there = (cache_folder() / asset.file).is_file()
        found = str(cache_folder() / asset.file) if there else f"not fetched: {asset.requirement}"
        yield Finding(asset.name, "works" if there else "optional", found, "" if there else f"{command} fetches it")


def corpora() -> Iterable[Finding]:
    """Published data sets that are not ours to ship."""
    root = os.environ.get("QFLOCK_DATA", "")
    found = [name for name in divided.SOURCES if divided.folder_of(name)]
    found += [one.name for one in images.PUBLISHED.values() if images.folder_of(one)]
    lacking = [name for name in (*divided.SOURCES, *images.PUBLISHED) if name not in found]
    where = f"in {root}" if root else "QFLOCK_DATA is not set"
    state: State = "optional" if lacking else "works"
    fix = f"set QFLOCK_DATA to a folder with {', '.join(lacking)}" if lacking else ""
    yield Finding("corpora", state, f"{', '.join(found) or 'none'}; {where}", fix)


def docker() -> Iterable[Finding]:
    """Whether an engine answers, and what starts several containers on it."""
    if not shutil.which("docker"):
        yield Finding(
            "Docker", "optional", "not installed; nodes in containers need it", "https://docs.docker.com/engine/install"
        )
        return
    try:
        words = ["docker", "version", "--format", "{{.Server.Version}}"]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=DOCKER_SECONDS)
    except subprocess.TimeoutExpired:
        yield Finding(
            *("Docker", "wrong", f"its engine does not answer within {DOCKER_SECONDS:.0f} s"),
            "sudo systemctl restart docker",
        )
        return
    if ran.returncode:
        why = last_line(ran.stderr)
        barred = "permission denied" in why
        fix = "sudo usermod -aG docker $USER, then log in again" if barred else "sudo systemctl start docker"
        yield Finding("Docker", "optional", f"no engine answers: {why}", fix)
        return
    yield Finding("Docker", "works", f"engine {ran.stdout.strip()}")
    try:
        yield Finding("Docker Compose", "works", " ".join(compose_of("docker")))
    except RunFailedError as error:
        lacking, _, remedy = str(error).partition(": ")
        yield Finding("Docker Compose", "optional", f"{lacking}; nodes in containers need it", remedy)


def quantum_account() -> Iterable[Finding]:
    """An account, what it is, and how much of it is left; asked of IBM only when there is one."""
    try:
        import_module("qiskit_ibm_runtime")
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything
        said = f"qiskit-ibm-runtime: its import fails: {type(error).__name__}: {last_line(str(error))}"
        yield Finding("IBM account", "wrong", said, "pip install --force-reinstall qiskit-ibm-runtime")
        return
    from quantum.account import HOW, NoAccountError, cloud
    from quantum.paid import HardwareError, asking

    try:
        with asking("say what the account may spend"):
            service = cloud(batch=False)
            found = f"{service.plan()}, {service.remaining():.0f} QPU seconds left"
    except NoAccountError:
        yield Finding("IBM account", "optional", "none; the executors ibm:… need one", HOW)
    except HardwareError as error:
        yield Finding("IBM account", "wrong", str(error), "check the network and the token")
    else:
        yield Finding("IBM account", "works", found)


def imported(what: str, package: str, found: str, fix: str) -> Finding:
    """Whether a package that is installed can be imported, tried in a process of its own, which an import may end."""
    try:
        words = [sys.executable, "-P", "-c", f"import {package}"]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        return Finding(what, "wrong", f"{found}: its import did not end within {IMPORT_SECONDS:.0f} s", fix)
    if ran.returncode:
        why = f"{found}: its import fails: {last_line(ran.stderr)} (code {ran.returncode})"
        return Finding(what, "wrong", why, fix)
    return Finding(what, "works", found)


def last_line(said: str) -> str:
    return (said.strip().splitlines() or ["no reason given"])[-1]


def installed(package: str) -> str | None:
    """A package's version."""
    try:
        return version(package) if find_spec(package) else None
    except PackageNotFoundError:
        return None


def on_path(command: str) -> bool:
    return (Path(sys.executable).parent / command).is_file() or shutil.which(command) is not None


def existing(path: Path) -> Path:
    """The nearest folder that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


CHECKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    *(python, flower, simulator, tensors, room, assets, corpora, docker, quantum_account),
)
