"""From a recipe to a finished run on this machine: check the data, start Flower, submit, follow, close."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from data.corpus import load
from data.split import deal
from recipes.schema import Recipe
from server.live import follow
from server.simulate import environment, keep_log, status, submit, superlink
from server.summary import summary
from strategies.failure import RunFailedError

ASK_SECONDS = 10.0  # between two questions to Flower whether the run still lives


def launch(recipe: Recipe, make_folder: Callable[[], Path]) -> None:
    """Run, and print where everything is; raises RunFailedError with the command that resumes."""
    console = Console()
    with console.status("reading the corpus"):
        deal(load(recipe.data, recipe.seed), recipe.data, recipe.clients, recipe.seed)  # fail before anything starts
    folder = make_folder()
    console.print(f"{recipe.name} → {folder}", highlight=False, soft_wrap=True)
    env = environment(folder, recipe)
    with superlink(folder, env) as process:
        with console.status("submitting to Flower"):
            run_id = submit(folder, recipe, env)
        asked = time.monotonic()

        def alive() -> str | None:
            nonlocal asked
            if process.poll() is not None:
                return f"the SuperLink ended with code {process.returncode}"
            if time.monotonic() - asked < ASK_SECONDS:
                return None
            word, details = status(run_id, env)
            asked = time.monotonic()
            return f"Flower says {word}: {details}" if word.startswith("finished") else None

        last = follow(folder, recipe, console, alive)
        keep_log(folder, run_id, env)
    if last["state"] != "completed":
        raise RunFailedError(f"{last['reason']}. Logs: {folder / 'logs'}. Go on with: qflock resume {folder}")
    console.print(summary(folder))
    console.print(f"curves: {folder / 'curves.png'}", highlight=False, soft_wrap=True)
