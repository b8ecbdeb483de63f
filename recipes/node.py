"""What a node says of itself: `node.yaml`, a file of its own.

The node's environment names it as QFLOCK_NODE, or `--node-config 'node="/etc/qflock/node.yaml"'`, which counts more.

    path: rows.tsv       # its own rows; relative to this file
    executor: shots      # what runs its circuits
    rank: 4              # of its teacher's LoRA adapter

Every key may be left out, and so may the file. A recipe allows each under `nodes`; what it does not allow is refused.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from recipes.load import checked, data_path, made, read_mapping
from recipes.schema import Recipe
from recipes.section import Between, RecipeError, Section, shown


@dataclass(frozen=True, kw_only=True)
class NodeConfig(Section):
    """A node's own choices; what is empty is as the recipe says."""

    path: str = ""
    executor: str | None = None
    rank: Annotated[int, Between(1, 1024)] | None = None

    def chosen(self) -> dict[str, str]:
        """For the ledger: what was chosen, but not where it lies."""
        said: dict[str, Any] = {"rows": "its own" if self.path else None, "executor": self.executor, "rank": self.rank}
        return {key: str(value) for key, value in said.items() if value is not None}


def node_at(file: str, recipe: Recipe) -> NodeConfig:
    """The choices in a file, once the recipe allows them; none without a file."""
    if not file:
        return NodeConfig()
    path = Path(file)
    values = checked(read_mapping(path), f"{path.name}: ", NodeConfig)
    try:
        config = made(NodeConfig, values, "")
        assert isinstance(config, NodeConfig)
        refuse(config, recipe)
    except RecipeError as error:
        raise RecipeError(f"{path.name}: {error}") from None
    return replace(config, path=str(path.parent / config.path)) if data_path(config.path) else config


def refuse(config: NodeConfig, recipe: Recipe) -> None:
    """A choice that is not the node's."""
    if config.path and not recipe.nodes.classes:
        raise RecipeError(
            f"path is {shown(config.path)}; the recipe {recipe.name} deals out the rows itself: leave it out, or let "
            f"the recipe name the classes of nodes' own rows in nodes.classes"
        )
    for key, mine, theirs, allowed in (
        ("executor", config.executor, recipe.executor, recipe.nodes.executors),
        ("rank", config.rank, recipe.teacher.rank, recipe.nodes.ranks),
    ):
        if mine is not None and mine not in (theirs, *allowed):
            may = ", ".join(map(str, dict.fromkeys((theirs, *allowed))))
            raise RecipeError(f"{key} is {shown(mine)}; the recipe {recipe.name} allows {may} (nodes.{key}s)")


def applied(config: NodeConfig, recipe: Recipe) -> Recipe:
    """The recipe as this node works by it. An adapter of another rank has the same scale α/r as everyone's."""
    teacher = recipe.teacher
    if config.rank is not None:
        teacher = replace(teacher, rank=config.rank, alpha=teacher.alpha * config.rank / teacher.rank)
    return replace(recipe, executor=config.executor or recipe.executor, teacher=teacher)
