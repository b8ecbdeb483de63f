"""A federation that a Flower user starts by hand: plain Flower commands, no environment variable of ours.

The SuperLink and its nodes have a home of their own, so that Flower's configuration and the clients' memory are there.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.flower import free_port
from server.ledger import lines, untimed

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

APP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
CLIENTS = 2
RECIPE = {"recipe": "noop", "override": f"clients={CLIENTS} rounds=2"}
OTHER_FLOWER = """import importlib.metadata as metadata
real = metadata.version
metadata.version = lambda name: "1.99.0" if name == "flwr" else real(name)
"""


class Federation:
    """What a user has after starting it: a SuperLink called `lab`, and a node for every client."""

    def __init__(self, home):
        self.home, self.port = home, free_port()
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("QFLOCK", "FLWR", "PYTHON", "XDG"))
        }
        self.env = kept | {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        (home / ".flwr").mkdir()
        (home / ".flwr" / "config.toml").write_text(
            f'[superlink.lab]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        )
        link = ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(self.port)]
        self.link = self.start("superlink", *link, "--disable-runtime-dependency-installation")
        self.nodes = [self.node(client) for client in range(CLIENTS)]

    def node(self, client, **env):
        node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port())]
        return self.start(
            f"node-{client}", *node, "--node-config", f"partition-id={client} num-partitions={CLIENTS}", **env
        )

    def start(self, name, *command, **env):
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.home, env=self.env | env, stdout=log, stderr=log, start_new_session=True
            )

    def flwr(self, *words):
        done = subprocess.run(
            ["flwr", *words, "--format", "json"], env=self.env, capture_output=True, text=True, check=False, cwd="/"
        )
        return json.loads(done.stdout[done.stdout.find("{") :])

    def qflock(self, *words):
        """The command line, started in yet another folder."""
        elsewhere = self.home / "desk"
        elsewhere.mkdir(exist_ok=True)
        return subprocess.Popen(
            [*QFLOCK, *words],
            cwd=elsewhere,
            env=self.env | {"PYTHONPATH": str(APP), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self):
        for process in [*self.nodes, self.link]:
            process.terminate()
        for process in [*self.nodes, self.link]:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    made = Federation(tmp_path_factory.mktemp("home"))
    try:
        until(lambda: "Activated" in (made.home / "superlink.log").read_text())
        yield made
    finally:
        made.end()


@pytest.fixture
def expected(run_here):
    """The ledger of the same recipe in this process."""
    return [untimed(line) for line in lines(run_here("here", RECIPE, CLIENTS))]


def until(claim, seconds=400):
    end = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.5)
    return found


def ledger(folder):
    return [untimed(line) for line in lines(folder)]


def run_words():
    return ["--set", "rounds=2", "--clients", str(CLIENTS)]


def test_flwr_run_writes_the_ledger_where_the_superlink_was_started(federation, expected):
    values = " ".join(f'{key}="{value}"' for key, value in RECIPE.items())
    run_id = federation.flwr("run", str(APP), "lab", "--run-config", values)["run-id"]

    def finished():
        (run,) = federation.flwr("list", "lab", "--run-id", str(run_id))["runs"]
        return run["status"].startswith("finished") and run

    ended = until(finished)
    assert ended["status"] == "finished:completed", ended
    (folder,) = (federation.home / "runs").iterdir()
    assert ledger(folder) == expected
    assert (federation.home / ".cache" / "qflock" / "memory" / folder.name / "client-001").is_dir()


def test_qflock_run_on_its_name_follows_the_ledger_in_its_own_folder(federation, expected):
    said, _ = (process := federation.qflock("run", "noop", *run_words(), "--on", "lab")).communicate(timeout=800)
    assert process.returncode == 0, said
    (folder,) = (federation.home / "desk" / "runs").glob("*-noop")
    assert ledger(folder) == expected
    assert "round 2/2" in said
    assert f"report: {folder / 'report.html'}" in said
    again, _ = (process := federation.qflock("resume", str(folder), "--on", "lab")).communicate(timeout=60)
    assert process.returncode == 2
    assert "is complete" in again


def test_a_command_that_is_interrupted_leaves_its_run_alone_and_resume_takes_it_up(federation, expected):
    runs = federation.home / "desk" / "interrupted"
    process = federation.qflock("run", "noop", *run_words(), "--on", "lab", "--runs-dir", str(runs))
    (folder,) = until(lambda: [file.parent for file in runs.glob("*/rounds.jsonl") if lines(file.parent)])
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    run_id = json.loads((folder / "flower.json").read_text())["run_id"]
    assert f"flwr stop {run_id} lab" in said
    assert f"Follow it again with: qflock resume {folder} --on lab" in said
    assert "Traceback" not in said
    said, _ = (process := federation.qflock("resume", str(folder), "--on", "lab")).communicate(timeout=800)
    assert process.returncode == 0, said
    assert json.loads((folder / "flower.json").read_text())["run_id"] == run_id  # not submitted again
    assert ledger(folder) == expected


def test_a_node_with_another_flower_is_named_with_both_versions(federation, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(OTHER_FLOWER)
    federation.nodes[1].terminate()
    federation.nodes[1].wait(30)
    federation.nodes[1] = federation.node(1, PYTHONPATH=str(tmp_path))
    until(lambda: (federation.home / "node-1.log").read_text().count("SuperNode ID") == 2)
    process = federation.qflock("run", "noop", *run_words(), "--on", "lab", "--runs-dir", str(tmp_path / "runs"))
    said, _ = process.communicate(timeout=800)
    assert process.returncode == 1
    line = re.search(r"^failed: (.*)$", said, flags=re.MULTILINE)[1]
    assert (
        "1 of 2 clients can take part; client 1: RunFailedError: this node runs Flower 1.99.0, all others 1.41" in line
    )
