"""One client in place of many: with the rows of all, and about as many steps a round as each of them took."""

from recipes.schema import Recipe


def central(recipe: Recipe) -> list[str]:
    """What to change in a recipe, as `--set` takes it."""
    clients, search = recipe.clients, recipe.optimiser
    changes = ["clients=1", "min_reports=1", "data.partition=iid"]
    if recipe.data.rows:  # which are those of a client
        changes.append(f"data.rows={clients * recipe.data.rows}")
    if search.kind == "minibatch":
        epochs = round(search.epochs / clients)
        changes.append(f"optimiser.epochs={max(1, epochs)}")
        if not epochs:  # and one epoch is too many steps
            changes.append(f"optimiser.batch={round(search.batch * clients / search.epochs)}")
    return changes
