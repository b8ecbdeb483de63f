"""Whether a run can go on: its folder read, and its parts held against one another, before anything is started."""

import re
from pathlib import Path

from recipes.load import load
from recipes.schema import Recipe
from recipes.section import InputError
from server.checkpoint import newest
from server.folder import run_name
from server.ledger import whole


def unfinished(folder: Path) -> Recipe:
    """The recipe of a run that can go on; anything else is one line that says what to do."""
    file = folder / "recipe.yaml"
    if not file.is_file():
        raise InputError(f"{folder} is not a run folder: it has no recipe.yaml")
    again = f"qflock run {file}"
    ledger = whole(folder)
    if ledger and ledger[-1].get("state") == "completed":
        raise InputError(f"{folder} is complete; run its recipe again with: {again}")
    recipe = load(str(file))
    as_run = re.match(r"# as run, digest (\w+)", file.read_text(encoding="utf-8"))
    if as_run and as_run[1] != recipe.digest():
        raise InputError(
            f"{file} is not as the run began: its digest is {recipe.digest()}, it was {as_run[1]}. "
            f"Undo what was edited (or take the qflock that began it), or start a new run with: {again}"
        )
    run_name(folder)
    state = newest(folder, recipe.digest())
    rounds = [line["round"] for line in ledger if line["kind"] == "round"]
    if state and rounds[: state.round] != list(range(1, state.round + 1)):
        raise InputError(
            f"{folder} has a checkpoint of round {state.round}, and its ledger lacks rounds before that: "
            f"put rounds.jsonl back, or start a new run with: {again}"
        )
    return recipe
