"""What becomes of a run when nodes fail: `python -m bench.faults` makes every fault happen, and writes down what did.

A federation of plain Flower processes under TLS, every node with a key of its own, as on several machines: a SuperLink
with its state on disk, four nodes, one of which reaches it through a line that can be cut. Runs are submitted to it by
name. Faults of one kind share a run: lies and lateness, where a round goes on without a client, and losses, where it
waits for one (on_loss: repeat) and must end with the bits of a run that was left alone.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import create_connection, create_server, socket
from threading import Event, Thread
from typing import Any

import psutil
from rich.markup import escape
from rich.table import Table

from bench.kills import compared, final, same_arrays
from bench.machine import facts, wide_console
from data.whole import write_whole
from recipes.load import load as load_recipe
from server.certificates import AUTHORITY, CERTIFICATE, KEY, certify, node_key
from server.checkpoint import newest
from server.flower import Link, free_port, register
from server.folder import APP
from server.ledger import lines
from strategies.failure import RunFailedError

RESULTS = Path(__file__).parent / "results" / "faults.json"
FAULTY = Path(__file__).parent / "faulty"
CLIENTS, KILLED_ONE, CUT_OFF = 4, 1, 2  # nodes; the one that is killed, the one behind the line
CUT_SECONDS, DEADLINE_SECONDS = 60.0, 30.0
HEARD_SECONDS = 10.0  # in which every node has the round's message
LOOK_SECONDS, LONGEST_SECONDS = 0.1, 600.0
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
ROUNDS = 8  # one after the last fault, to see who is back
LIARS = [f"rounds={ROUNDS}", f"deadline_seconds={DEADLINE_SECONDS}", "min_reports=2"]
LOSSES = ["rounds=3", "on_loss=repeat", "features.reduction=pca"]
SCRIPT = {1: {1: "nan", 2: "shape", 3: "huge", 4: "recipe", 5: "gigabyte", 7: "full"}, 2: {6: "slow"}}

Row = dict[str, Any]


class Wire:
    """A TCP line to the SuperLink that loses nothing and delivers nothing while it is cut."""

    def __init__(self, port: int) -> None:
        self.port, self.whole, self.server = port, Event(), create_server(("127.0.0.1", 0))
        self.whole.set()
        Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        """Join every caller with the SuperLink."""
        with suppress(OSError):  # of the end
            while True:
                here, _ = self.server.accept()
                self.whole.wait()
                try:
                    there = create_connection(("127.0.0.1", self.port))
                except OSError:
                    here.close()
                    continue
                for one, other in ((here, there), (there, here)):
                    Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one: socket, other: socket) -> None:
        """Bytes from one end to the other."""
        with suppress(OSError), one, other:
            while data := one.recv(65536):
                self.whole.wait()
                other.sendall(data)


class Federation:
    """The processes, by name; what each says goes to a file of that name."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.secure = home, free_port(), home / "secure"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.line = Wire(self.port)
        self.script = home / "faults.json"
        self.env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "OMP_NUM_THREADS": "1",
            "QFLOCK_MEMORY": str(home / "memory"),
            "QFLOCK_FAULTS": str(self.script),
        }
        certify(self.secure)
        said = f'address = "127.0.0.1:{self.port}"\nroot-certificates = "{self.secure / AUTHORITY}"\n'
        (home / "config.toml").write_text(f"[superlink.lab]\n{said}")

    def start(self, name: str, command: list[str], **env: str) -> subprocess.Popen[bytes]:
        """One process, in a group of its own."""
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.home, env=self.env | env, stdout=log, stderr=log, start_new_session=True
            )
        return self.processes[name]

    def superlink(self) -> None:
        """With its state in a file."""
        command = ["flower-superlink", "--host", "127.0.0.1", "--port", str(self.port), "--database", "state.db"]
        command += ["--ssl-ca-certfile", str(self.secure / AUTHORITY), "--ssl-certfile", str(self.secure / CERTIFICATE)]
        command += ["--ssl-keyfile", str(self.secure / KEY), "--enable-supernode-auth"]
        self.start("superlink", command)
        until(lambda: answering(self.port))

    def node(self, client: int, key: Path) -> subprocess.Popen[bytes]:
        """The SuperNode that is a client, with this key."""
        port = self.line.server.getsockname()[1] if client == CUT_OFF else self.port
        command = [sys.executable, "-P", str(APP / "server" / "supernode.py"), "--superlink", f"127.0.0.1:{port}"]
        command += ["--root-certificates", str(self.secure / AUTHORITY), "--auth-supernode-private-key", str(key)]
        command += ["--host", "127.0.0.1", "--port", str(free_port())]
        command += ["--node-config", f"partition-id={client} num-partitions={CLIENTS}"]
        return self.start(f"node-{client}", command, PYTHONPATH=str(FAULTY))

    def joined(self, client: int) -> Path:
        """Register a client's key and start its node; returns the key."""
        key = node_key(self.secure, client)
        register(Link("lab", self.env), key.with_suffix(".pub"))
        self.node(client, key)
        return key

    def kill(self, name: str) -> None:
        """A process and all that it has started, as when its machine loses power."""
        with suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    def qflock(self, *words: str) -> subprocess.Popen[bytes]:
        """Our command."""
        return self.start("qflock", [*QFLOCK, *words], PYTHONPATH=str(APP), COLUMNS="200")

    def run(self, recipe: str, changes: list[str], runs: str) -> tuple[subprocess.Popen[bytes], Path]:
        """A run on this federation, and its folder."""
        sets = [word for change in [f"clients={CLIENTS}", *changes] for word in ("--set", change)]
        process = self.qflock("run", recipe, "--on", "lab", "--runs-dir", str(self.home / runs), *sets)
        folders = until(lambda: list((self.home / runs).glob("*/recipe.yaml")), process)
        return process, folders[0].parent

    def said(self, name: str) -> str:
        """What a process has said, newest last."""
        return (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """All of it."""
        self.line.server.close()
        for name in self.processes:
            self.kill(name)


def main() -> None:
    """Make every fault happen; print and keep the table."""
    asked = argparse.ArgumentParser(prog="bench.faults", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--results", type=Path, default=RESULTS)
    path = asked.parse_args().results
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is ended
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as home:
        rows = happened(Path(home))
    results = {"schema": 1, **facts(("flwr", "numpy", "qiskit")), "rows": rows}
    results["seconds"] = round(time.monotonic() - began)
    write_whole(path, f"{json.dumps(results, indent=1, ensure_ascii=False)}\n".encode())
    wide_console().print(table(results))


def happened(home: Path) -> list[Row]:
    """Every fault, in its order."""
    with ExitStack() as ends:
        here = Federation(home)
        ends.callback(here.end)
        here.superlink()
        keys = [here.joined(client) for client in range(CLIENTS - 1)]
        stranger = here.node(CLIENTS - 1, node_key(home / "stranger", CLIENTS - 1))
        rows = [*lies(here, stranger)]
        here.joined(CLIENTS - 1)
        calm = finished(here, *here.run("smoke", LOSSES, "calm"))
        rows += [*losses(here, keys[KILLED_ONE], calm), restart(here, calm), serverapp(here, calm)]
    return rows


def lies(here: Federation, stranger: subprocess.Popen[bytes]) -> Iterator[Row]:
    """A run in which one node cannot join, one lies, one is late and one cannot write: rounds go on without it."""
    here.script.write_text(json.dumps(SCRIPT))
    process, folder = here.run("noop", LIARS, "lies")
    finished(here, process, folder)
    here.script.unlink()
    ledger = lines(folder)
    rounds = {line["round"]: line for line in ledger if line["kind"] == "round"}
    whole = ledger[-1]["state"] == "completed" and len(rounds) == ROUNDS
    why = re.search(r"\[code: 2004\].*", here.said(f"node-{CLIENTS - 1}"))
    hello = ledger[0]["failed"].get(str(CLIENTS - 1), "")
    yield row(
        WRONG_KEY,
        f"the node ends with code {stranger.wait()}: {why[0] if why else 'it said nothing'}; the run does without it",
        f"prepare: client {CLIENTS - 1}: {hello.partition(';')[0]}",
        passed=whole and bool(why) and "key that is not registered" in hello,
    )
    for number in TOLD:
        yield told(number, rounds, whole=whole)


def told(number: int, rounds: dict[int, Row], *, whole: bool) -> Row:
    """A fault in one round: it goes on without the client, which is back in the next if it has no fault there."""
    name, wanted = TOLD[number]
    client = next(client for client, faults in SCRIPT.items() if number in faults)
    others = sorted(set(range(CLIENTS - 1)) - {client})
    said = rounds[number]["failed"].get(str(client), "")
    admitted, after = (rounds[one]["arms"]["student"]["admitted"] for one in (number, number + 1))
    back, due = client in after, number + 1 not in SCRIPT[client]
    return row(
        name,
        f"round {number} closes with clients {', '.join(map(str, admitted))}"
        + f"; client {client} is back in round {number + 1}" * back,
        f"round {number}: client {client}: {said}",
        passed=whole and admitted == others and wanted in said and back == due,
    )


def losses(here: Federation, key: Path, calm: Path) -> Iterator[Row]:
    """In round 2 one node is killed and started anew, another one is cut off for a minute: the round waits for both."""
    process, folder = in_round_two(here, "losses")
    here.line.whole.clear()
    here.kill(f"node-{KILLED_ONE}")
    began = time.monotonic()
    starts = 0
    while time.monotonic() < began + CUT_SECONDS:
        starts += revived(here, key)
        time.sleep(1.0)
    here.line.whole.set()
    while process.poll() is None:
        starts += revived(here, key)
        time.sleep(1.0)
    finished(here, process, folder)
    equal = same(folder, calm)
    took = next(line for line in lines(folder) if line["kind"] == "round" and line["round"] == 2)["seconds"]["round"]
    story = f"round 2: took {took:.0f} s, nobody failed; else as of the run left alone"
    ending = "the run ends with the same bits" if equal else "the run ends with other bits"
    yield row(
        KILLED,
        f"started anew (Flower lets it in at start {starts}); round 2 asks it again; {ending}",
        story,
        passed=equal,
    )
    yield row(
        CUT,
        f"it comes back by itself; round 2 has waited for it; {ending}",
        story,
        passed=equal and took > CUT_SECONDS / 2,
    )


def revived(here: Federation, key: Path) -> int:
    """Start the killed node when it is not running, as systemd would; how often."""
    if here.processes[f"node-{KILLED_ONE}"].poll() is None:
        return 0
    here.node(KILLED_ONE, key)
    return 1


def restart(here: Federation, calm: Path) -> Row:
    """The SuperLink is killed in round 2 and started again on its state; its nodes find it again."""
    process, folder = in_round_two(here, "restart")
    here.kill("superlink")
    stop = stopped(here, process)
    here.superlink()
    return resumed(RESTARTED, here, stop, folder, calm)


def serverapp(here: Federation, calm: Path) -> Row:
    """The ServerApp is killed in round 2; Flower takes a minute to miss it."""
    process, folder = in_round_two(here, "serverapp")
    family = psutil.Process(here.processes["superlink"].pid).children(recursive=True)
    for member in [one for one in family if any("flwr-serverapp" in word for word in one.cmdline())]:
        member.kill()
    return resumed(NO_SERVERAPP, here, stopped(here, process), folder, calm)


def in_round_two(here: Federation, runs: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A run that has kept round 1 and is held up in round 2 by two slow nodes, once."""
    here.script.write_text(json.dumps({node: {2: "slow"} for node in (KILLED_ONE, CUT_OFF)}))
    process, folder = here.run("smoke", LOSSES, runs)
    digest = load_recipe(str(folder / "recipe.yaml")).digest()
    until(lambda: newest(folder, digest), process)
    time.sleep(HEARD_SECONDS)
    here.script.unlink()
    return process, folder


def stopped(here: Federation, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """How the command that shows a run ends: its code and its last words."""
    code = process.wait(timeout=LONGEST_SECONDS)
    return code, here.said("qflock").strip().splitlines()[-1]


def resumed(name: str, here: Federation, stop: tuple[int, str], folder: Path, calm: Path) -> Row:
    """What became of a run that was stopped, once it is resumed."""
    finished(here, here.qflock("resume", str(folder), "--on", "lab"), folder)
    code, told = stop[0], stop[1].replace(str(folder), "RUN")
    equal = same(folder, calm)
    bits = "the same bits" if equal else "other bits"
    starts = sum((line["kind"], line.get("stage")) == ("prepare", "") for line in lines(folder))
    return row(
        name,
        f"the command ends with code {code}: “{told}”; resumed, the run ends with {bits}",
        f"{starts} hellos, one a start; every round once, as of the run left alone",
        passed=code == 1 and "qflock resume RUN --on lab" in told and starts == 2 and equal,
    )


def row(name: str, what: str, ledger: str, *, passed: bool) -> Row:
    return {"fault": name, "happened": what, "ledger": ledger, "passed": bool(passed)}


def finished(here: Federation, process: subprocess.Popen[bytes], folder: Path) -> Path:
    """The folder of a run, once it has ended well."""
    if process.wait(timeout=LONGEST_SECONDS):
        raise RunFailedError(f"a run ended with code {process.returncode}: {here.said('qflock')[-600:]}")
    return folder


def same(folder: Path, calm: Path) -> bool:
    """Whether a run has the ledger and the arrays of another, to the bit."""
    return compared(folder) == compared(calm) and same_arrays(final(folder), final(calm))


def answering(port: int) -> bool:
    with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def until(claim: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> Any:
    """What is claimed, once it holds."""
    end = time.monotonic() + LONGEST_SECONDS
    while not (found := claim()):
        if time.monotonic() > end or (process is not None and process.poll() is not None):
            raise RunFailedError("what was waited for did not come")
        time.sleep(LOOK_SECONDS)
    return found


def table(results: dict[str, Any]) -> Table:
    """One row a fault."""
    drawn = Table(title="faults", caption=note(results), title_justify="left", caption_justify="left")
    for name in ("fault", "what happened", "what the ledger says", "as it must be"):
        drawn.add_column(name)
    for one in results["rows"]:
        said = map(escape, (one["fault"], one["happened"], one["ledger"]))
        drawn.add_row(*said, "yes" if one["passed"] else "no")
    return drawn


def note(results: dict[str, Any]) -> str:
    """Where and when."""
    machine = results["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}"
    return f"All in {results['seconds']} s on {where}; qflock {results['commit']}."


TOLD = {
    1: ("a node sends NaN", "values that are not finite"),
    2: ("a node sends wrong shapes", "expected float32[1497]"),
    3: ("a node sends huge values", "no sound value is beyond"),
    4: ("a node sends another recipe's report", "it is of recipe 0123456789ab"),
    5: ("a node sends an array of 1 GB", "the messages of this recipe take at most"),
    6: ("a slow node", f"no reply within {DEADLINE_SECONDS:.0f} s"),
    7: ("a node's disk is full", "File too large"),
}

WRONG_KEY, KILLED, CUT = "a node with a wrong key", "a node killed mid-round", "a node cut off for 60 s"
RESTARTED, NO_SERVERAPP = "the SuperLink killed and restarted", "the ServerApp killed"
FAULTS = (WRONG_KEY, *(name for name, _ in TOLD.values()), KILLED, CUT, RESTARTED, NO_SERVERAPP)

if __name__ == "__main__":
    main()
