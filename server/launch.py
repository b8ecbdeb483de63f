"""From a recipe to a finished run: check the data, start Flower or find it, submit, follow, close."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from rich.console import Console

from recipes.schema import Recipe
from recipes.section import InputError
from server.checkpoint import newest
from server.console import plain_console
from server.containers import run_contained, starting
from server.flower import OwnLink, end, environment, keep_log, started_for, status, submit, superlink
from server.ledger import Ledger
from server.links import HERE, named
from server.live import follow
from server.nodes import Nodes, supernodes
from server.price import afford
from server.ready import ready
from server.record import record
from server.remote import link_of, run_there
from server.report import FILE as REPORT
from server.signs import signs
from server.summary import summary
from strategies.failure import RunFailedError

ASK_SECONDS = 10.0  # between two questions to Flower whether the run still lives; each takes a second of a core, so
SEEN_SECONDS = 60.0  # seldom where the ServerApp is seen: that it ended is then known at once
SECURED = {"sim": "a simulation is one program", "compose": "containers are always secured"}
SECURED_BY_NAME = "whether {} is secured, Flower's configuration says"
APP_COMMANDS = ("flwr-serverapp", "flwr-simulation")


def launch(
    recipe: Recipe, make_folder: Callable[[], Path], *, on: str, secure: bool, spend: int = 0, spent: float = 0.0
) -> None:
    """Run, and print where everything is; raises RunFailedError with the command that resumes."""
    console = plain_console()
    if secure and on != "processes":
        raise InputError(f"--secure is for --on processes; {SECURED.get(on, SECURED_BY_NAME.format(on))}")
    link = None if on in HERE else link_of(named(on))
    compose = starting() if on == "compose" else None
    if link is None:
        with console.status("reading the corpus"):
            ready(recipe, fetch=True)  # fail before anything starts; of another machine's files we know nothing
    afford(recipe, spend, spent, here=on in ("sim", "processes"))
    folder = make_folder()
    flags = (f" --on {on}" if on != "sim" else "") + " --secure" * secure + " --spend SECONDS" * recipe.paid()
    with alone_in(folder), resumable(f"qflock resume {folder}{flags}", "Follow it again" if link else "Stopped. Go on"):
        if compose:
            run_contained(compose, folder, recipe.clients, console, spend)
        elif link is None:
            run_here(recipe, folder, console, simulated=on == "sim", secure=secure, spend=spend)
        elif not run_there(recipe, folder, link, console, spend):
            return
    console.print(summary(folder))
    if found := ", ".join(sign.name for sign in signs(record(folder))):
        console.print(f"warnings: {found}; the report says what helps", highlight=False, soft_wrap=True)
    console.print(f"report: {folder / REPORT}", highlight=False, soft_wrap=True)


def run_here(recipe: Recipe, folder: Path, console: Console, *, simulated: bool, secure: bool, spend: int) -> None:
    """A run on a SuperLink of its own."""
    if left := started_for(folder):
        console.print(f"ending {len(left)} processes that outlived a killed qflock", highlight=False)
        end(folder, None)
    state = newest(folder, recipe.digest())
    Ledger(folder).rewind(state.round if state else 0)
    console.print(f"{recipe.name} → {folder}", highlight=False, soft_wrap=True)
    with superlink(folder, environment(folder, recipe, spend), simulated=simulated, secure=secure) as link:
        with console.status("submitting to Flower"):
            nodes = None if simulated else supernodes(link, recipe.clients, folder / "logs")
            values = {"recipe": recipe.as_json(), "spend": spend}
            run_id = submit(link, values, recipe.clients if simulated else None)
        last = follow(folder, recipe, console, Watch(link, run_id, nodes, console))
        keep_log(link, run_id, folder / "logs" / "app.log")
    if last["state"] != "completed":
        raise RunFailedError(f"{last['reason']}. Logs: {folder / 'logs'}")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Nobody else runs in this folder meanwhile."""
    try:
        with FileLock(folder / "run.lock", blocking=False):
            yield
    except Timeout:
        raise InputError(f"{folder} is in use: that run is still going; wait for it, or end it") from None


@contextmanager
def resumable(again: str, interrupted: str) -> Iterator[None]:
    """Says how to go on, however a run ends before its time."""
    try:
        yield
    except RunFailedError as error:
        raise RunFailedError(f"{error}. Go on with: {again}") from None
    except (KeyboardInterrupt, SystemExit):
        plain_console(stderr=True).print(f"{interrupted} with: {again}", highlight=False, soft_wrap=True)
        raise


class Watch:
    """Whether a run still lives: asks the processes every time, and Flower itself now and then."""

    def __init__(self, link: OwnLink, run_id: str, nodes: Nodes | None, console: Console) -> None:
        self.link, self.run_id, self.nodes, self.console = link, run_id, nodes, console
        self.asked = time.monotonic()
        self.app: psutil.Process | None = None  # that the ServerApp runs in, once seen

    def __call__(self) -> str | None:
        """Why no more can come, or None."""
        if self.link.process.poll() is not None:
            return f"the SuperLink ended with code {self.link.process.returncode}"
        for news in self.nodes.tend() if self.nodes else []:
            self.console.print(news, highlight=False, soft_wrap=True)
        if self.nodes and (why := self.nodes.hopeless()):
            return why
        self.app = self.app or app_process(self.link)
        gone = self.app is not None and ended(self.app)
        if not gone and time.monotonic() - self.asked < (SEEN_SECONDS if self.app else ASK_SECONDS):
            return None
        word, details = status(self.link, self.run_id)
        self.asked = time.monotonic()
        if word.startswith("finished"):
            return f"Flower says {word}: {details}"
        return "the ServerApp was killed, perhaps for want of memory" if gone else None


def app_process(link: OwnLink) -> psutil.Process | None:
    """The process of the ServerApp; Flower itself takes a minute to miss it."""
    with suppress(psutil.Error):
        for process in psutil.Process(link.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if any(Path(word).name in APP_COMMANDS for word in process.cmdline()[:2]):
                    return process
    return None


def ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or waits only for its parent to notice."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
