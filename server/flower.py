"""Flower from outside: a SuperLink of our own on a free loopback port, what is submitted to it, and its end by pid."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from recipes.schema import Recipe
from server.certificates import AUTHORITY, CERTIFICATE, KEY, certify
from server.folder import APP
from strategies.failure import RunFailedError

START_SECONDS, ANSWER_SECONDS = 60.0, 120.0
PORTS, TAKEN = 5, "address already in use"
LINK = "qflock"  # the SuperLink's name in the Flower configuration of the run


def environment(folder: Path, recipe: Recipe, spend: int = 0) -> dict[str, str]:
    """What the SuperLink and everything it starts inherits: quiet, offline, and as many threads as the recipe says."""
    threads = str(recipe.threads)
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(folder / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "QFLOCK_RUN": str(folder),
        "QFLOCK_MEMORY": str(folder / "memory"),
        "QFLOCK_SPEND": str(spend / recipe.clients),  # what the nodes that we start grant
    }


@dataclass(frozen=True)
class Link:
    """A SuperLink that a run is submitted to."""

    name: str  # in the Flower configuration that `env` leads to
    env: dict[str, str]


@dataclass(frozen=True)
class OwnLink(Link):
    """One that we started."""

    process: subprocess.Popen[bytes]
    port: int
    secure: Path | None = None  # where certificates and node keys are; None: it speaks plain HTTP and takes every node


@contextmanager
def superlink(folder: Path, env: dict[str, str], *, simulated: bool, secure: bool = False) -> Iterator[OwnLink]:
    """A SuperLink for one run; it and all that it started are gone afterwards."""
    home = folder / "flower"
    home.mkdir(exist_ok=True)
    keys = folder / "secure" if secure else None
    if keys:
        certify(keys)
    link = None
    try:
        for _ in range(PORTS):
            link = started(folder, env, free_port(), keys, simulated=simulated)
            if listens(link, folder):
                break
        else:
            raise RunFailedError(f"{PORTS} free ports in a row were taken before the SuperLink had them; try again")
        yield link
    finally:
        end(folder, link.process if link else None)
        shutil.rmtree(home, ignore_errors=True)


def started(folder: Path, env: dict[str, str], port: int, keys: Path | None, *, simulated: bool) -> OwnLink:
    """A SuperLink that begins, and a Flower configuration that names it."""
    command = ["flower-superlink", "--host", "127.0.0.1", "--port", str(port)] + ["--simulation"] * simulated
    if keys:
        said = f'root-certificates = "{keys / AUTHORITY}"'
        command += ["--ssl-ca-certfile", str(keys / AUTHORITY), "--ssl-certfile", str(keys / CERTIFICATE)]
        command += ["--ssl-keyfile", str(keys / KEY), "--enable-supernode-auth"]
    else:
        said = "insecure = true"
        command += ["--insecure"]
    (folder / "flower" / "config.toml").write_text(f'[superlink.{LINK}]\naddress = "127.0.0.1:{port}"\n{said}\n')
    with (folder / "logs" / "superlink.log").open("ab") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    return OwnLink(LINK, env, process, port, keys)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def listens(link: OwnLink, folder: Path) -> bool:
    """True once the SuperLink listens, False when somebody else took its port in the meantime."""
    end_time = time.monotonic() + START_SECONDS
    while time.monotonic() < end_time:
        if link.process.poll() is not None:
            log = folder / "logs" / "superlink.log"
            if TAKEN in log.read_text(encoding="utf-8", errors="replace")[-2000:]:
                return False
            raise RunFailedError(f"the SuperLink ended at once with code {link.process.returncode}; see {log}")
        with suppress(psutil.Error):  # it has just ended
            ports = psutil.Process(link.process.pid).net_connections("tcp")
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == link.port for one in ports):
                return True
        time.sleep(0.05)
    raise RunFailedError(f"the SuperLink does not listen after {START_SECONDS:.0f} s; see {folder / 'logs'}")


def end(folder: Path, process: subprocess.Popen[bytes] | None) -> None:
    """End a SuperLink and all that the run started, asked first, then killed; also what outlived its parent."""
    with patient():
        family = started_for(folder)
        if process and process.poll() is None:
            family += psutil.Process(process.pid).children(recursive=True)
            process.terminate()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.send_signal(number)
            psutil.wait_procs(family, timeout=8)
            family = [*(member for member in family if member.is_running()), *started_for(folder)]
        if process:
            process.kill()  # does nothing to one that has ended
            process.wait()


@contextmanager
def patient() -> Iterator[None]:
    """Who asks us to stop a second time waits until what we started has ended: it would be left for good."""
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def started_for(folder: Path) -> list[psutil.Process]:
    """The processes that carry the run's folder in their environment, but for this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get("QFLOCK_RUN") == str(folder):
                found.append(process)
    return found


def register(link: Link, public_key: Path) -> None:
    """Let a node with this key take part."""
    done = told(["flwr", "supernode", "register", str(public_key), link.name, "--format", "json"], link)
    said = answered(done.stdout)
    if not said.get("success"):
        raise RunFailedError(f"the SuperLink does not register {public_key}: {complaint(done)}")


def submit(link: Link, values: dict[str, Any], clients: int | None, app: Path = APP) -> str:
    """Hand an app and its run config to the SuperLink, with as many simulated clients if it simulates; the run's id."""
    command = ["flwr", "run", str(app), link.name, "--format", "json"]
    if clients is not None:
        resources = f"client-resources-num-cpus=1 init-args-num-cpus={at_once(clients)}"
        command += ["--federation-config", f"num-supernodes={clients} {resources}"]
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as config:
        config.writelines(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        config.flush()
        command += ["--run-config", config.name]
        done = told(command, link)
    said = answered(done.stdout)
    if done.returncode or "run-id" not in said:
        raise RunFailedError(f"Flower refused the run: {complaint(done)}")
    return str(said["run-id"])


def at_once(clients: int) -> int:
    """How many clients a simulation runs side by side, one a core."""
    return min(os.cpu_count() or 1, clients)


def status(link: Link, run_id: str) -> tuple[str, str]:
    """Flower's own word on a run: (status, details)."""
    command = ["flwr", "list", link.name, "--run-id", run_id, "--format", "json"]
    done = told(command, link)
    runs = answered(done.stdout).get("runs", [])
    return (runs[0]["status"], runs[0].get("status-details", "")) if runs else ("unknown", done.stderr.strip())


def keep_log(link: Link, run_id: str, path: Path) -> None:
    """What the ServerApp and simulated clients said; Flower keeps it only as long as the SuperLink lives."""
    command = ["flwr", "log", run_id, link.name, "--show"]
    done = told(command, link)
    path.write_text(done.stdout + done.stderr, encoding="utf-8")


def told(command: list[str], link: Link) -> subprocess.CompletedProcess[str]:
    """Flower's command line, and what it said."""
    try:
        return subprocess.run(
            command, env=link.env, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise RunFailedError(
            f"`{' '.join(command[:2])}` had no answer from the SuperLink in {ANSWER_SECONDS:.0f} s"
        ) from None


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What a command of Flower's said, in one line."""
    said = str(answered(done.stdout).get("error-message") or done.stdout + done.stderr)
    return " ".join(said.split())[:500]


def answered(text: str) -> dict[str, Any]:
    """The JSON object that a command printed, after whatever else it printed; empty when there is none."""
    try:
        found = json.loads(text[text.index("{") :])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
