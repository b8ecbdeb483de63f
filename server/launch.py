"""From a recipe to a finished run on this machine: check the data, start Flower, submit, follow, close."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from data.corpus import load
from data.split import deal
from recipes.schema import Recipe
from server.flower import Link, environment, keep_log, status, submit, superlink
from server.live import follow
from server.nodes import Nodes, supernodes
from server.summary import summary
from strategies.failure import RunFailedError

ASK_SECONDS = 10.0  # between two questions to Flower whether the run still lives


def launch(recipe: Recipe, make_folder: Callable[[], Path], *, simulated: bool) -> None:
    """Run, and print where everything is; raises RunFailedError with the command that resumes."""
    console = Console()
    with console.status("reading the corpus"):
        deal(load(recipe.data, recipe.seed), recipe.data, recipe.clients, recipe.seed)  # fail before anything starts
    folder = make_folder()
    console.print(f"{recipe.name} → {folder}", highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        link = stack.enter_context(superlink(folder, environment(folder, recipe), simulated=simulated))
        nodes = None if simulated else stack.enter_context(supernodes(link, recipe.clients, folder / "logs"))
        with console.status("submitting to Flower"):
            run_id = submit(link, {"recipe": recipe.as_json()}, recipe.clients if simulated else None)
        last = follow(folder, recipe, console, Watch(link, run_id, nodes, console))
        keep_log(link, run_id, folder / "logs" / "app.log")
    if last["state"] != "completed":
        raise RunFailedError(f"{last['reason']}. Logs: {folder / 'logs'}. Go on with: qflock resume {folder}")
    console.print(summary(folder))
    console.print(f"curves: {folder / 'curves.png'}", highlight=False, soft_wrap=True)


class Watch:
    """Whether a run still lives: asks the processes every time, and Flower itself every few seconds."""

    def __init__(self, link: Link, run_id: str, nodes: Nodes | None, console: Console) -> None:
        self.link, self.run_id, self.nodes, self.console = link, run_id, nodes, console
        self.asked = time.monotonic()

    def __call__(self) -> str | None:
        """Why no more can come, or None."""
        if self.link.process.poll() is not None:
            return f"the SuperLink ended with code {self.link.process.returncode}"
        for news in self.nodes.tend() if self.nodes else []:
            self.console.print(news, highlight=False)
        if time.monotonic() - self.asked < ASK_SECONDS:
            return None
        word, details = status(self.link, self.run_id)
        self.asked = time.monotonic()
        return f"Flower says {word}: {details}" if word.startswith("finished") else None
