"""A SuperNode whose clients begin warm; run as a script, with the flags of `flower-supernode`.

Flower's own node looks for a message every three seconds and starts a new Python for each one, which imports Flower and
the app's libraries again. This one looks five times a second, and beside it lives a worker that has imported whatever
earlier messages needed and forks a process for the next. So a message still has a process of its own: it begins without
any state of another message or run, computes the same bits, and may crash.

The app is what the SuperLink sends, so this file imports none of it. Of Flower it replaces five things: the clock of
the node's loop, the choice of an executor, what the node takes for the end of its connection, the unpacking of the app,
which Flower does for every message, and the second that passes before it asks again for a message's pieces: a message
is known before these are there.
"""

import argparse
import importlib
import logging
import os
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

import httpx
from flwr.cli.install import install_from_fab
from flwr.common.constant import APP_DIR, FAB_HASH_TRUNCATION
from flwr.supercore.cli.flower_superexec import flower_superexec
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree, pull_objects
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult
from flwr.supercore.tls import get_client_tls_args
from flwr.supercore.utils import get_flwr_home
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.cli import flower_supernode
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp
from flwr.supernode.runtime import run_clientapp

log = logging.getLogger(f"flwr.{__name__}")

LOOK_SECONDS = 0.2  # the longest pause between two looks of the node
AGAIN_SECONDS = 0.05  # until a piece that was not there is asked for again; the pauses double
WHOLE = ".whole"  # the mark in an unpacked app
CUT = ("UNEXPECTED_EOF", "EOF occurred", "Connection reset")  # in the middle of a handshake
LIBRARIES = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


def main() -> None:
    """Node and worker: two processes that share what is imported by now, and end together."""
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--host", required=True)
    flags.add_argument("--port", required=True)
    said, _ = flags.parse_known_args()
    node = os.getpid()
    worker = os.fork()
    if worker:
        signal.signal(signal.SIGCHLD, lambda *_: follow(worker))
        replace(start_client_internal, "time", SimpleNamespace(sleep=nap))
        replace(start_client_internal, "pull_objects", partial(pull_objects, initial_backoff=AGAIN_SECONDS))
        replace(fleet_http_connection, "make_simple_http_retry_invoker", patient)
        sys.argv = ["flower-supernode", *sys.argv[1:], "--isolation", "process"]
        flower_supernode()
    else:
        replace(run_superexec, "get_executor", lambda *_, **__: Forks())
        replace(run_clientapp, "install_from_fab", unpacked)
        pull = partial(pull_and_inflate_object_from_tree, initial_backoff=AGAIN_SECONDS)
        replace(run_clientapp, "pull_and_inflate_object_from_tree", pull)
        address = ["--runtime-api-address", f"{said.host}:{said.port}"]
        sys.argv = ["flower-superexec", "--insecure", *address, "--parent-pid", str(node)]
        flower_superexec()


def replace(module: ModuleType, name: str, ours: Any) -> None:
    """Put ours in the place of something that a module of Flower 1.41 has."""
    if not hasattr(module, name):
        raise RuntimeError(f"this Flower has no {module.__name__}.{name}; qflock needs version 1.41")
    setattr(module, name, ours)


def nap(seconds: float) -> None:
    """A pause of the node's loop."""
    time.sleep(min(seconds, LOOK_SECONDS))


def patient() -> RetryInvoker:
    """As Flower's, which takes every error of TLS for a wrong certificate, gives up for good, and leaves a node that
    lives and does nothing. A handshake that gets no answer, or ends in its middle, is a network that is cut.
    """
    invoker = make_simple_http_retry_invoker()
    known = invoker.should_giveup

    def final(error: Exception) -> bool:
        cut = isinstance(error, httpx.TimeoutException) or any(word in str(error) for word in CUT)
        return not cut and (known is None or known(error))

    invoker.should_giveup = final
    return invoker


def unpacked(fab: bytes, **how: Any) -> None:
    """Install an app, once: Flower unpacks and checks all of it for every message, and then finds it there already.

    Flower takes a folder that is there for a whole one. This one is made file by file, each of them whole, by however
    many nodes of a machine at once; a mark that comes last says that nothing is missing.
    """
    apps, name = get_flwr_home() / APP_DIR, sha256(fab).hexdigest()[:FAB_HASH_TRUNCATION]
    if any(apps.glob(f"*.{name}/{WHOLE}")):
        return
    apps.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=apps) as place:
        app = install_from_fab(fab, install_dir=Path(place), **how)
        for file in (path for path in app.rglob("*") if path.is_file()):
            there = apps / app.name / file.relative_to(app)
            there.parent.mkdir(parents=True, exist_ok=True)
            file.replace(there)
    (apps / app.name / WHOLE).touch()


def follow(worker: int) -> None:
    """A node without its worker would answer nobody: it ends, and whoever tends it starts it anew."""
    if os.waitpid(worker, os.WNOHANG)[0]:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


class Forks:
    """A Flower executor: every task is a fork of this process."""

    def __init__(self) -> None:
        self.children: dict[int, IO[str]] = {}  # process → the names of the libraries that it had at its end

    def get_eligible_capacity(self, supported_task_types: set[TaskType], **_: Any) -> tuple[set[TaskType], set[str]]:
        """Which tasks it takes: those of clients."""
        return supported_task_types & {TaskType.CLIENT_APP}, set()

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """What the command `flwr-clientapp` does, without starting Python."""
        names = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read and closed when the child has ended)
        child = os.fork()
        if not child:
            address = ["--runtime-api-address", spec.runtime_api_address, "--token", spec.token]
            tls = get_client_tls_args(spec.insecure, spec.root_certificates_path)
            sys.argv = ["flwr-clientapp", *address, *tls, "--parent-pid", str(spec.parent_pid)]
            try:
                os._exit(answered(names))
            finally:  # also where the disk is full: a child that went on would be a second worker
                os._exit(1)
        self.children[child] = names
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Between two looks for tasks: import what children that have ended well had imported."""
        for child in list(self.children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                with self.children.pop(child) as names:
                    names.seek(0)
                    warm(names.read().split() if status == 0 else [])

    def close(self) -> None:
        """Children see by themselves that their parent ends."""


def answered(names: IO[str]) -> int:
    """Run the client in this process; its exit code."""
    code = 1
    try:
        flwr_clientapp()
    except SystemExit as end:  # how Flower's commands end
        code = int(end.code or 0)
    except Exception:
        log.exception("the client's process failed")
    names.write("\n".join(libraries()))
    for stream in (names, sys.stdout, sys.stderr):
        stream.flush()
    return code


def libraries() -> Iterator[str]:
    """Imported modules of installed packages, in the order in which their imports began."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec and spec.name == name and (spec.origin or "").startswith(LIBRARIES):
            yield name


def warm(names: list[str]) -> None:
    """Import libraries here, so that the next child has them."""
    for name in names:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:  # a client that needs it imports it itself
                log.exception("%s cannot be imported ahead", name)


if __name__ == "__main__":
    main()
