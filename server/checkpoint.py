"""The federation's state on disk after every round: arrays as safetensors, the rest as JSON; no pickle.

A checkpoint is one folder `checkpoints/round-NNNN`, written under a temporary name, flushed, and renamed when whole.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from data.whole import flush
from recipes.section import InputError
from strategies.messages import Arrays
from strategies.state import ArmState, State

SCHEMA = 2
KEPT = 2  # newest checkpoints that stay


def save(folder: Path, state: State, recipe_digest: str) -> None:
    """Write the state of a finished round."""
    home = folder / "checkpoints"
    temporary = home / "writing"  # one that a killed run has left is of no use
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    arrays: Arrays = {f"shared/{name}": array for name, array in state.shared.items()}
    arrays |= {f"teacher/{name}": array for name, array in state.teacher.items()}
    for name, arm in state.arms.items():
        arrays |= {f"arm/{name}/{key}": array for key, array in arm.arrays.items()}
        arrays |= {f"ahead/{name}/{key}": array for key, array in arm.ahead.items()}
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, temporary / "arrays.safetensors")
    facts = {
        "schema": SCHEMA,
        "recipe_digest": recipe_digest,
        "round": state.round,
        "visited": state.visited,
        "teacher_round": state.teacher_round,
        "slowest_seconds": state.slowest_seconds,
        "arms": {
            name: {
                "client_losses": arm.client_losses,
                "reference_losses": arm.reference_losses,
                "gaps": arm.gaps,
                "converged": arm.converged,
            }
            for name, arm in state.arms.items()
        },
    }
    (temporary / "state.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    for file in (*temporary.iterdir(), temporary):
        flush(file)
    whole = home / f"round-{state.round:04d}"
    shutil.rmtree(whole, ignore_errors=True)
    temporary.rename(whole)
    flush(home)
    for old in by_round(folder)[:-KEPT]:
        shutil.rmtree(old)


def newest(folder: Path, recipe_digest: str) -> State | None:
    """The state after the last finished round, or None when there is none."""
    found = by_round(folder)
    if not found:
        return None
    path, again = found[-1], f"run again with: qflock run {folder / 'recipe.yaml'}"
    try:
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        schema = facts["schema"]
        state = read(facts, load_file(path / "arrays.safetensors")) if schema == SCHEMA else None
    except (OSError, LookupError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path} is damaged ({why}); delete it to go on from the round before") from None
    if state is None:
        raise InputError(f"{path} has schema {schema}, this qflock reads {SCHEMA}: {again}")
    if facts["recipe_digest"] != recipe_digest:
        raise InputError(f"{path} belongs to recipe {facts['recipe_digest']}, this run is {recipe_digest}: {again}")
    return state


def read(facts: dict[str, Any], arrays: Arrays) -> State:
    """The state in a checkpoint's two files."""
    arms = {
        name: ArmState(
            arrays=under(arrays, f"arm/{name}/"),
            ahead=under(arrays, f"ahead/{name}/"),
            client_losses={int(client): loss for client, loss in arm["client_losses"].items()},
            reference_losses=arm["reference_losses"],
            gaps=arm["gaps"],
            converged=arm["converged"],
        )
        for name, arm in facts["arms"].items()
    }
    return State(
        round=facts["round"],
        shared=under(arrays, "shared/"),
        arms=arms,
        teacher=under(arrays, "teacher/"),
        teacher_round=facts["teacher_round"],
        visited={int(client): number for client, number in facts["visited"].items()},
        slowest_seconds=facts["slowest_seconds"],
    )


def by_round(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    numbered = [path for path in (folder / "checkpoints").glob("round-*") if re.fullmatch(r"round-\d+", path.name)]
    return sorted(numbered, key=lambda path: int(path.name.removeprefix("round-")))


def under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
