"""A recipe with its parts taken out: what `qflock ablate` runs, every arm at every seed.

A part is what LLM-QFL (arXiv:2505.18656) adds to plain federated learning of a student. The arms follow from the
recipe: those of its parts that do something. All else is the same in every arm, and none stops early unless it is asked
to: work is compared over as many rounds.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from recipes.load import load
from recipes.section import InputError
from server.sweep import Sweep, planned

WITHOUT = {  # part → what takes it out of a recipe
    "regulation": ("regulate.law=none",),
    "selection": ("select.by=everyone", "select.candidates=100"),
    "distillation": ("distil.weight=0", "distil.shannon=0", "distil.labels=1", "distil.proximal=0", "aggregate.tau=0"),
}
USES_TEACHER = {"regulation", "distillation"}
ALONE = ("teacher.federate=none", "teacher.rounds=1", "teacher.merged_rank=0")  # nobody asks a global teacher
UNSTOPPED = ("stop.epsilon=0", "stop.delta=null")
PLAIN, FULL = "plain", "full"


def arms(recipe: str, overrides: list[str]) -> dict[str, list[str]]:
    """Name → changes: plain, each part alone, regulation with selection, full; fewer for a recipe of fewer parts."""
    overrides = [*UNSTOPPED, *overrides]
    own = load(recipe, overrides)
    parts = [part for part, out in WITHOUT.items() if load(recipe, [*overrides, *out]) != own]
    if not parts:
        raise InputError(f"{own.name} has nothing to take out: it has no regulation, no selection and no distillation")
    chosen: dict[str, set[str]] = {PLAIN: set()}
    for part in parts if len(parts) > 1 else []:
        if part == "distillation" and len(parts) == len(WITHOUT):
            chosen[f"regulation + selection ({own.select.percent:g}%)"] = {"regulation", "selection"}
        chosen[f"{part} only"] = {part}
    chosen[FULL] = set(parts)
    return {name: [*overrides, *taken_out(parts, kept)] for name, kept in chosen.items()}


def taken_out(parts: Iterable[str], kept: set[str]) -> list[str]:
    """The changes that leave a recipe these parts only."""
    out = [change for part in parts if part not in kept for change in WITHOUT[part]]
    return out if kept & USES_TEACHER else [*out, *ALONE]


def ablation(recipe: str, overrides: list[str], seeds: range, runs_dir: Path) -> Sweep:
    """Every arm at every seed; runs are named after their arm."""
    named = arms(recipe, overrides)
    sweep = planned(recipe, list(named.values()), seeds, runs_dir, "ablation")
    names = [f"{name} seed={seed}" for seed in seeds for name in named]
    return replace(sweep, runs=[replace(run, label=name) for run, name in zip(sweep.runs, names, strict=True)])
