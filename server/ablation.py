"""Named variations of a recipe, each changing one thing: what `qflock ablate` runs beside the recipe itself."""

from pathlib import Path

from recipes.load import load
from server.sweep import Sweep, planned

VARIATIONS: dict[str, tuple[str, ...]] = {
    "no regulation": ("regulate.law=none",),
    "adaptive regulation": ("regulate.law=adaptive",),
    "everyone admitted": ("select.by=everyone",),
    "clients drawn at random": ("select.by=uniform",),
    "selection by alignment": ("select.by=alignment",),
    "reduction by PCA": ("features.reduction=pca",),
    "hashed words": ("features.encoder=tfidf",),
    "feature map ry": ("student.feature_map=ry", "student.scale=3.141592653589793"),  # each map with its own scale
    "feature map z": ("student.feature_map=z", "student.scale=1.5707963267948966"),  # its phases are 2·scale·x
    "feature map zz": ("student.feature_map=zz", "student.scale=0.5"),  # quantum/feature_maps.py says why
}


def ablation(recipe: str, overrides: list[str], seeds: range, runs_dir: Path) -> Sweep:
    """The recipe, then every variation that differs from it."""
    own = load(recipe, overrides)
    different = [list(change) for change in VARIATIONS.values() if load(recipe, [*overrides, *change]) != own]
    return planned(recipe, [[*overrides, *change] for change in [[], *different]], seeds, runs_dir, "ablation")
