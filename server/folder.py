"""A run's folder: the recipe as run, the environment, the ledger, checkpoints and logs."""

import json
import os
import platform
import shutil
import subprocess
import time
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from data.whole import write_whole
from recipes.schema import Recipe
from recipes.section import InputError

APP = Path(__file__).resolve().parent.parent
PACKAGES = ("flwr", "ray", "numpy", "scipy", "scikit-learn", "qiskit", "torch", "transformers", "peft")


def new_folder(recipe: Recipe, runs: Path, name: str = "") -> Path:
    """runs/<time>-<recipe>/, or runs/<name>/, with the recipe as run and the environment in it."""
    name = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{recipe.name}"
    taken = 0
    while True:
        folder = runs.absolute() / (f"{name}-{taken}" if taken else name)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            taken += 1
            if not runs.is_dir():
                raise InputError(f"{runs} is a file; a run needs a folder: give another --runs-dir") from None
        except OSError as error:
            raise InputError(f"{folder} cannot be made ({error.strerror}); give another --runs-dir") from None
    (folder / "logs").mkdir()
    write_whole(folder / "environment.json", environment(recipe, folder.name).encode())
    write_whole(folder / "recipe.yaml", as_yaml(recipe).encode())  # last: with it, a folder is a run's
    return folder


def current_folder(recipe: Recipe, run: str) -> Path:
    """Where the ServerApp writes: $QFLOCK_RUN, which a launcher on this machine sets; else the run config's `run`.

    That is the folder of a run to go on with, as the submitter calls it: it is that folder itself where this machine
    has it, else one of that name under $QFLOCK_RUNS or ./runs, where a new one goes too.
    """
    if chosen := os.environ.get("QFLOCK_RUN"):
        return Path(chosen)
    runs = Path(os.environ.get("QFLOCK_RUNS") or "runs").absolute()
    for folder in (Path(run).absolute(), runs / Path(run).name) if run else ():
        if (folder / "recipe.yaml").is_file():
            return folder
    return new_folder(recipe, runs, Path(run).name)


def run_name(folder: Path) -> str:
    """What the clients call the run: its folder's first name, also after that was renamed."""
    path = folder / "environment.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["run"])
    except FileNotFoundError:
        return folder.name
    except (OSError, LookupError, TypeError, ValueError) as error:
        again = f"qflock run {folder / 'recipe.yaml'}"
        raise InputError(f"{path} is damaged ({error}): put it back, or start a new run with: {again}") from None


def as_yaml(recipe: Recipe) -> str:
    """The resolved recipe; running this file again gives the same ledger."""
    values = json.loads(recipe.as_json())
    if recipe.student.kind != "generator":
        del values["student"]["generator"]  # which no other student reads
    return f"# as run, digest {recipe.digest()}\n\n{yaml.safe_dump(values, sort_keys=False)}"


def environment(recipe: Recipe, run: str) -> str:
    """What the numbers of a run may depend on, as JSON."""
    facts: dict[str, Any] = {
        "schema": 1,
        "run": run,
        "qflock": commit(),
        "python": platform.python_version(),
        "packages": versions(),
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": recipe.threads,
        "recipe_digest": recipe.digest(),
    }
    return json.dumps(facts, indent=1)


def versions() -> dict[str, str]:
    """Of the packages that are here; a container lacks what its part does not need."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit() -> str:
    """The app's version, and the commit when it runs from a checkout."""
    own: str = tomllib.loads((APP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if not (APP / ".git").exists() or not shutil.which("git"):
        return own
    words = ["git", "-C", str(APP), "describe", "--always", "--dirty", "--abbrev=12"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return f"{own} {said}".strip()


def processor() -> str:
    """The CPU's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
