"""A federation in containers of this machine: docker-compose.yml brought up, given a run's folder, taken down.

The run is submitted and followed inside, by the federation's operator (deploy/submit.py): nothing of it is reachable
from outside. Its folder travels there and back, and so do the corpora's and models' archives that this machine has.
"""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console

from data.assets import MINILM, REVIEWS, SMOLLM2, cache_folder
from data.images import PUBLISHED
from data.whole import write_whole
from recipes.section import InputError
from server.folder import APP
from server.ledger import lines
from strategies.failure import RunFailedError

FILE = APP / "docker-compose.yml"
USER = 10001  # as in deploy/Dockerfile
MOUNTED = ("QFLOCK_DATA", "QFLOCK_NODES")  # folders of this machine
EXTRA = ("gpu", "ibm")  # profiles, each a node more
DEFAULT_CLIENTS = 3
ASK_SECONDS, BUILD_SECONDS, MOVE_SECONDS = 20.0, 3600.0, 600.0
LOCK = "run.lock"
OF_NODES = re.compile(r"client-\d{3}\.yaml")  # as deploy/node.py looks for it


class Compose:
    """Docker, and its Compose, of either version, for docker-compose.yml."""

    def __init__(self) -> None:
        self.env = os.environ | {
            name: str(Path(os.environ[name]).absolute()) for name in MOUNTED if os.environ.get(name)
        }
        self.words = [*compose_command(), "--project-directory", str(APP), "--file", str(FILE)]
        if not FILE.is_file():
            raise RunFailedError(f"{FILE} is not there: containers need a clone of the repository, and qflock from it")

    def __call__(self, *words: str, seconds: float = MOVE_SECONDS) -> str:
        """What a command of Compose's prints; raises RunFailedError with its last lines."""
        return told([*self.words, *words], seconds, self.env)

    def container(self, service: str) -> str | None:
        """The id of a service's running container; the older command also lists those that have ended."""
        known = self("ps", "--quiet", service).split()
        filters = [word for one in known for word in ("--filter", f"id={one}")]
        running = told(["docker", "ps", "--quiet", "--no-trunc", *filters], ASK_SECONDS).split() if known else []
        return running[0] if running else None

    def build(self) -> None:
        """The images, where they are not as the files say."""
        self("build", seconds=BUILD_SECONDS)

    def up(self, clients: int) -> str:
        """Build, start, wait until the SuperLink is well; the operator's container."""
        self.env["QFLOCK_CLIENTS"] = str(plain(clients, self.env.get("COMPOSE_PROFILES", "")))
        self.build()
        self("up", "--detach", "--remove-orphans")
        operator = self.container("operator")
        if operator is None:
            raise RunFailedError(f"the federation has no operator: {' '.join(self.words)} logs says why")
        carry(operator, "/cache", archives())
        return operator

    def down(self) -> None:
        """End it; keys, memories and the SuperLink's own state go with it."""
        profiles = [word for name in EXTRA for word in ("--profile", name)]
        told([*self.words, *profiles, "down", "--volumes", "--remove-orphans"], MOVE_SECONDS, self.env)


def starting() -> Compose:
    """What a federation is started with, once the folders that it is to see are there: Docker would make empty ones."""
    for name in MOUNTED:
        if (said := os.environ.get(name)) and not Path(said).is_dir():
            raise InputError(f"{name} is {said}, which is no folder: name one that is there, or unset {name}")
    if nodes := os.environ.get("QFLOCK_NODES"):
        files = sorted(path.name for path in Path(nodes).iterdir() if path.suffix in (".yaml", ".yml"))
        if odd := [name for name in files if not OF_NODES.fullmatch(name)]:
            raise InputError(
                f"QFLOCK_NODES holds {', '.join(odd)}, which no node would read: a node's file is called "
                "client-000.yaml, client-001.yaml, …"
            )
    return Compose()


def plain(clients: int, profiles: str) -> int:
    """How many nodes are neither the one with a GPU nor the one with a token."""
    special = set(EXTRA) & set(profiles.split(","))
    if clients < max(1, len(special)):
        profiles = f", with a node each for {' and '.join(sorted(special))} (COMPOSE_PROFILES)" if special else ""
        raise InputError(f"clients is {clients}; it must be at least {max(1, len(special))}{profiles}")
    return clients - len(special)


def compose_command() -> list[str]:
    """The Compose of this machine, once an engine answers."""
    docker = shutil.which("docker")
    if docker is None:
        raise RunFailedError("there is no Docker engine: no command docker. Install Docker, or run with --on processes")
    asked = [docker, "version", "--format", "{{.Server.Version}}"]
    try:
        told(asked, ASK_SECONDS)
    except RunFailedError as error:
        raise RunFailedError(f"no Docker engine answers: {error}. Start it, or run with --on processes") from None
    return compose_of(docker)


def compose_of(docker: str) -> list[str]:
    """`docker compose`, or docker-compose 1.29; raises RunFailedError where there is neither."""
    try:
        told([docker, "compose", "version"], ASK_SECONDS)
    except RunFailedError:
        if (older := shutil.which("docker-compose")) is None:
            raise RunFailedError(
                "this Docker has no Compose: install its plugin `docker compose`, or docker-compose 1.29"
            ) from None
        return [older]
    return [docker, "compose"]


def told(command: list[str], seconds: float, env: dict[str, str] | None = None, given: IO[bytes] | None = None) -> str:
    """What a command prints; raises RunFailedError with the last lines of its complaint."""
    read = subprocess.DEVNULL if given is None else given
    try:
        done = subprocess.run(
            command, env=env, stdin=read, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"`{' '.join(command[:2])}` did not end within {seconds:.0f} s") from None
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise RunFailedError(f"{' '.join(said[-4:]) or 'it said nothing'} (code {done.returncode})")
    return done.stdout


@contextmanager
def federation(compose: Compose, clients: int, console: Console) -> Iterator[str]:
    """The operator of a federation; one that was up already is used as it is, and stays."""
    standing = compose.container("operator")
    try:
        with console.status("building and starting the containers (minutes, the first time)"):
            operator = compose.up(clients)
        yield operator
    finally:
        if standing is None:
            with console.status("taking the containers down"):
                compose.down()


def stand(clients: int | None, console: Console) -> None:
    """Bring a federation up that stays."""
    nodes = DEFAULT_CLIENTS if clients is None else clients
    plain(nodes, os.environ.get("COMPOSE_PROFILES", ""))  # refused before an engine is asked
    with console.status("building and starting the containers (minutes, the first time)"):
        starting().up(nodes)
    said = f"{nodes} nodes are up: `qflock run RECIPE --clients {nodes} --on compose`, and `qflock down` at the end"
    console.print(said, highlight=False, soft_wrap=True)


def run_contained(compose: Compose, folder: Path, clients: int, console: Console, spend: int) -> None:
    """A run of a folder in containers; however it ends, the folder holds what it left."""
    with federation(compose, clients, console) as operator:
        there = f"/runs/{folder.name}"
        if not inside(operator, "test", "-d", there):
            carry(operator, "/runs", [(path, str(path.relative_to(folder.parent))) for path in contents(folder)])
        terminal = ["--tty"] if console.is_terminal else []
        command = ["docker", "exec", *terminal, operator, "python", "-m", "deploy.submit", there, str(spend)]
        try:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        finally:
            with console.status("fetching the run's folder"):
                fetch(compose, operator, folder)
    if code:
        ledger = lines(folder)
        why = ledger[-1].get("reason") if ledger else None
        raise RunFailedError(f"{why or f'the operator ended with code {code}'}. Logs: {folder / 'logs'}")


def fetch(compose: Compose, operator: str, folder: Path) -> None:
    """A run's folder, and what all containers said."""
    told(["docker", "cp", f"{operator}:/runs/{folder.name}/.", str(folder)], MOVE_SECONDS)
    write_whole(folder / "logs" / "containers.log", compose("logs", "--no-color", "--timestamps").encode())


def inside(container: str, *words: str) -> bool:
    """Whether a command in a container ends well."""
    return subprocess.run(["docker", "exec", container, *words], capture_output=True, check=False).returncode == 0


def contents(folder: Path) -> list[Path]:
    """A run's folder and files, without the lock that its command here holds."""
    return [folder, *(path for path in sorted(folder.rglob("*")) if path.name != LOCK)]


def archives() -> list[tuple[Path, str]]:
    """What of this machine's cache spares the nodes a download."""
    cache = cache_folder()
    files = [cache / one.file for one in (REVIEWS, MINILM, SMOLLM2)]
    files += [cache / one.name / name for one in PUBLISHED.values() for name in one.files]
    return [(file, str(file.relative_to(cache))) for file in files if file.is_file()]


def carry(container: str, folder: str, paths: Iterable[tuple[Path, str]]) -> None:
    """Copy files and folders into a container's volume, as its user's."""
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path, name in paths:
                tar.add(path, name, recursive=False, filter=owned)
        packed.seek(0)
        told(["docker", "cp", "-", f"{container}:{folder}"], MOVE_SECONDS, given=packed)


def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A file as the containers' user has it."""
    member.uid = member.gid = USER
    member.uname = member.gname = ""
    return member
