"""The federation's state on disk after every round: arrays as safetensors, the rest as JSON; no pickle.

A checkpoint is one folder `checkpoints/round-NNNN`, written under a temporary name and renamed when whole.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recipes.schema import InputError
from strategies.messages import Arrays
from strategies.state import ArmState, State

SCHEMA = 2
KEPT = 2  # newest checkpoints that stay


def save(folder: Path, state: State, recipe_digest: str) -> None:
    """Write the state of a finished round."""
    home = folder / "checkpoints"
    temporary = home / f"writing-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    arrays: Arrays = {f"shared/{name}": array for name, array in state.shared.items()}
    arrays |= {f"teacher/{name}": array for name, array in state.teacher.items()}
    for name, arm in state.arms.items():
        arrays |= {f"arm/{name}/{key}": array for key, array in arm.arrays.items()}
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
    whole = home / f"round-{state.round:04d}"
    shutil.rmtree(whole, ignore_errors=True)
    temporary.rename(whole)
    for old in by_round(folder)[:-KEPT]:
        shutil.rmtree(old)


def newest(folder: Path, recipe_digest: str) -> State | None:
    """The state after the last finished round, or None when there is none."""
    found = by_round(folder)
    if not found:
        return None
    try:
        facts = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
        arrays = load_file(found[-1] / "arrays.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{found[-1]} cannot be read ({error}); delete it to go on from the one before") from None
    if facts["schema"] != SCHEMA or facts["recipe_digest"] != recipe_digest:
        raise InputError(
            f"{found[-1]} belongs to recipe {facts['recipe_digest']} (schema {facts['schema']}), "
            f"this run is {recipe_digest} (schema {SCHEMA}): start a new run"
        )
    arms = {
        name: ArmState(
            arrays=under(arrays, f"arm/{name}/"),
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
    return sorted((folder / "checkpoints").glob("round-*"), key=lambda path: int(path.name.removeprefix("round-")))


def under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
