"""From a recipe to a finished run on this machine: check the data, start Flower, submit, follow, close."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from recipes.schema import InputError, Recipe
from server.checkpoint import newest
from server.flower import Link, environment, keep_log, status, submit, superlink
from server.ledger import Ledger
from server.live import follow
from server.nodes import Nodes, supernodes
from server.price import afford
from server.ready import ready
from server.summary import summary
from strategies.failure import RunFailedError

ASK_SECONDS = 10.0  # between two questions to Flower whether the run still lives


def launch(
    recipe: Recipe, make_folder: Callable[[], Path], *, simulated: bool, spend: int = 0, spent: float = 0.0
) -> None:
    """Run, and print where everything is; raises RunFailedError with the command that resumes."""
    console = Console()
    with console.status("reading the corpus"):
        ready(recipe, fetch=True)  # fail before anything starts
    afford(recipe, spend, spent)
    folder = make_folder()
    with alone_in(folder), resumable(folder, " --spend SECONDS" * recipe.paid()):
        state = newest(folder, recipe.digest())
        Ledger(folder).rewind(state.round if state else 0)
        console.print(f"{recipe.name} → {folder}", highlight=False, soft_wrap=True)
        with superlink(folder, environment(folder, recipe, spend), simulated=simulated) as link:
            nodes = None if simulated else supernodes(link, recipe.clients, folder / "logs")
            with console.status("submitting to Flower"):
                run_id = submit(
                    link, {"recipe": recipe.as_json(), "spend": spend}, recipe.clients if simulated else None
                )
            last = follow(folder, recipe, console, Watch(link, run_id, nodes, console))
            keep_log(link, run_id, folder / "logs" / "app.log")
        if last["state"] != "completed":
            raise RunFailedError(f"{last['reason']}. Logs: {folder / 'logs'}")
    console.print(summary(folder))
    console.print(f"curves: {folder / 'curves.png'}", highlight=False, soft_wrap=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Nobody else runs in this folder meanwhile."""
    try:
        with FileLock(folder / "run.lock", blocking=False):
            yield
    except Timeout:
        raise InputError(f"{folder} is in use: that run is still going; wait for it, or end it") from None


@contextmanager
def resumable(folder: Path, flags: str = "") -> Iterator[None]:
    """Says how to go on, however a run ends before its time."""
    try:
        yield
    except RunFailedError as error:
        raise RunFailedError(f"{error}. Go on with: qflock resume {folder}{flags}") from None
    except (KeyboardInterrupt, SystemExit):
        Console(stderr=True).print(
            f"stopped. Go on with: qflock resume {folder}{flags}", highlight=False, soft_wrap=True
        )
        raise


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
