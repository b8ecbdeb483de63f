"""Rows that a node brings itself: the same classes as everyone's, under the same numbers."""

from dataclasses import replace

import numpy as np

from data.corpus import Corpus, DataError, load
from data.split import Rows, Share, share, shared_out, unlabelled
from recipes.schema import Recipe


def own_rows(path: str, recipe: Recipe, client: int) -> tuple[Corpus, Share, Rows]:
    """What lies at a path, all of it this client's, and the public rows of another corpus."""
    config, classes = replace(recipe.data, path=path), list(recipe.nodes.classes)
    found = load(config, recipe.seed)
    if foreign := [name for name in found.classes if name not in classes]:
        raise DataError(
            f"{path}: the label {foreign[0]!r} is none of {', '.join(classes)}, the classes that nodes.classes of the "
            f"recipe {recipe.name} names: correct the rows, or the recipe"
        )
    numbers = np.array([classes.index(name) for name in found.classes], dtype=np.int64)
    corpus = replace(found, labels=numbers[found.labels], classes=classes)
    every = np.arange(len(corpus.labels))
    public, _ = shared_out(corpus, config, every, recipe.seed)
    return corpus, share(corpus, config, every, client, recipe.seed), unlabelled(public)


def refuse_other_classes(corpus: Corpus, recipe: Recipe) -> None:
    """The server's rows and those of nodes have the same classes, under the same numbers."""
    if recipe.nodes.classes and list(recipe.nodes.classes) != corpus.classes:
        raise DataError(
            f"nodes.classes is {', '.join(recipe.nodes.classes)}; {corpus.source} has {', '.join(corpus.classes)}: "
            f"make them the same, in this order"
        )
