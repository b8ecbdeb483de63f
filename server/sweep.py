"""Many runs of one recipe: every combination of values, every seed, side by side; what is done is not done again.

A sweep is a folder, named after its recipes without their seeds, so that more seeds continue it. What remains to be
done is read from the run folders in it; `sweep.json` only says which runs were asked for, and in what order.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Literal

from data.whole import write_whole
from recipes.load import load
from recipes.schema import Recipe
from recipes.section import InputError, RecipeError
from server.ledger import holds, whole
from server.outcome import reached

SCHEMA = 1  # of sweep.json


@dataclass(frozen=True)
class Planned:
    """One run of a sweep, and the words after `qflock run` that start it."""

    recipe: Recipe
    label: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """The runs, seed by seed, so that an interrupted sweep has all combinations at its first seeds."""

    folder: Path
    runs: list[Planned]


@dataclass(frozen=True)
class Standing:
    """Where one run of a sweep is."""

    state: Literal["new", "unfinished", "failed", "completed"]
    folder: Path | None = None
    round: int = 0
    reason: str = ""


def grid(sets: Iterable[str]) -> list[list[str]]:
    """Every combination of `key=a,b,…`, the last key changing fastest."""
    keys: dict[str, list[str]] = {}
    for text in sets:
        key, equals, values = text.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {text}: write it as key=value,value, for example --set student.reps=1,2,3")
        if key.strip() == "seed":
            raise RecipeError(f"--set {text}: a sweep counts its seeds itself; say --seeds 5, and --seed for the first")
        keys[key.strip()] = split(values)
    return [[f"{key}={value}" for key, value in zip(keys, chosen, strict=True)] for chosen in product(*keys.values())]


def split(values: str) -> list[str]:
    """The values between commas; a comma inside brackets or quotes belongs to its value."""
    parts, depth, quote = [""], 0, ""
    for letter in values:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def planned(recipe: str, combinations: Sequence[list[str]], seeds: range, runs_dir: Path, kind: str = "sweep") -> Sweep:
    """Every combination at every seed, checked before anything starts."""
    recipes = {load(recipe, [*changes, f"seed={seed}"]): (changes, seed) for seed in seeds for changes in combinations}
    unseeded = sorted({replace(one, seed=0).digest() for one in recipes})
    digest = hashlib.sha256(" ".join(unseeded).encode()).hexdigest()[:8]
    name = next(iter(recipes)).name
    folder = (runs_dir / f"{name}-{kind}-{digest}").resolve()
    runs = []
    for one, (changes, seed) in recipes.items():
        words = [word for change in changes for word in ("--set", change)]
        label = " ".join([*changes, f"seed={seed}"])
        runs.append(Planned(one, label, (recipe, *words, "--seed", str(seed), "--runs-dir", str(folder))))
    return Sweep(folder, runs)


def record(sweep: Sweep) -> None:
    """Write sweep.json: what was asked for last, for people and for `qflock compare`, whose first group it decides."""
    runs = [{"digest": run.recipe.digest(), "label": run.label, "run": shlex.join(run.words)} for run in sweep.runs]
    write_whole(sweep.folder / "sweep.json", json.dumps({"schema": SCHEMA, "runs": runs}, indent=1).encode())


def standings(sweep: Sweep) -> dict[Planned, Standing]:
    """Where every run of a sweep is."""
    found = by_digest(sweep.folder, [run.recipe.digest() for run in sweep.runs])
    return {run: found[run.recipe.digest()] for run in sweep.runs}


def by_digest(folder: Path, digests: Iterable[str]) -> dict[str, Standing]:
    """Where the runs of these recipes are among the run folders in a folder; of two for one recipe, the better."""
    better = ("new", "failed", "unfinished", "completed")
    found = {digest: Standing("new") for digest in digests}
    for path in sorted(folder.glob("*/recipe.yaml")):
        digest, seen = looked(path.parent, *(stamp(path.with_name(name)) for name in ("recipe.yaml", "rounds.jsonl")))
        if digest in found and better.index(seen.state) >= better.index(found[digest].state):
            found[digest] = seen
    return found


def runs_in(folders: Iterable[Path]) -> list[Path]:
    """The run folders that a user means: a sweep's folder stands for its runs, in its order."""
    found: list[Path] = []
    for folder in folders:
        if not holds(folder, "sweep.json"):
            found.append(folder)
            continue
        asked = asked_for(folder)
        at = by_digest(folder, [run["digest"] for run in asked])
        for run in asked:
            place = at[run["digest"]].folder
            if place is None:
                raise InputError(f"{folder} is not finished: {run['label']} {missing(folder, at[run['digest']])}")
            found.append(place)
    return found


def missing(folder: Path, at: Standing) -> str:
    """Why a sweep's folder has no run to compare, and what to do."""
    if at.reason:
        return f"is of no use: {at.reason}"
    for path in sorted(folder.glob("*/recipe.yaml")):
        try:
            load(str(path))
        except RecipeError as error:
            return f"has not been run, unless it is {path.parent}, which cannot be read: {error}"
    return "has not been run. Give its command again"


def asked_for(folder: Path) -> list[dict[str, str]]:
    """The runs in a sweep.json, in its order."""
    file, again = folder / "sweep.json", "give the sweep's command again, which writes it anew and skips what is done"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        schema, runs = said["schema"], said["runs"]
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged ({error}): {again}") from None
    if schema != SCHEMA:
        raise InputError(f"{file} has schema {schema}, this qflock reads {SCHEMA}: {again}")
    if not (isinstance(runs, list) and all(map(sound, runs))):
        raise InputError(f"{file} is damaged (a run is without its digest or its label): {again}")
    if not runs:
        raise InputError(f"{file} asks for no run: {again}")
    return runs


def sound(run: object) -> bool:
    """Whether an entry of a sweep.json has what is read of it."""
    return isinstance(run, dict) and all(isinstance(run.get(key), str) for key in ("digest", "label"))


@lru_cache(maxsize=4096)  # a sweep asks about all its runs twice a second
def looked(folder: Path, *stamps: tuple[int, int]) -> tuple[str, Standing]:
    """The digest of a run folder's recipe and where the run is; read again when a file's stamp is another."""
    digest = digest_of(folder / "recipe.yaml")
    return digest, standing(folder) if digest else Standing("new")


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    try:
        found = path.stat()
    except OSError:  # it is not there, or nobody may look: whoever reads it says which
        return 0, 0
    return found.st_size, found.st_mtime_ns


def digest_of(path: Path) -> str:
    """The digest of a recipe as run; none for a file that a killed run left half written."""
    try:
        return load(str(path)).digest()
    except RecipeError:
        return ""


def standing(folder: Path) -> Standing:
    """How far a run is, by its ledger."""
    try:
        ledger = whole(folder)
    except InputError as error:
        return Standing("failed", None, 0, str(error))  # its folder is of no use: the next attempt is a new run
    number = reached(ledger)
    if not ledger or ledger[-1]["kind"] != "end":
        return Standing("unfinished", folder, number)
    if ledger[-1].get("state") != "completed":
        return Standing("failed", folder, number, str(ledger[-1].get("reason")))
    return Standing("completed", folder, number)


def command(run: Planned, at: Standing) -> tuple[str, ...]:
    """The words after `qflock` that begin a run, or go on with it."""
    return ("resume", str(at.folder)) if at.folder else ("run", *run.words)


def default_jobs() -> int:
    """One run a core: a run waits for Flower and Ray about as long as it computes, so two on two cores pay."""
    return os.cpu_count() or 1
