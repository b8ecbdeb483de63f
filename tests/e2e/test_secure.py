"""Processes under TLS, every node with its own key: the same ledger, also when a node dies and its key comes back."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from recipes.load import load
from server import flower
from server.certificates import AUTHORITY, node_key
from server.flower import environment, free_port, superlink
from server.ledger import lines, untimed
from server.links import Entry, answers
from server.nodes import Nodes
from strategies.failure import RunFailedError

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

APP = Path(__file__).parents[2]
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
CHANGES = ("clients=2", "rounds=3", "on_loss=repeat")


def family_of_node(folder, client):
    """A SuperNode and all that it has started."""
    for process in flower.started_for(folder):
        words = " ".join(process.cmdline())
        if "--auth-supernode-private-key" in words and f"partition-id={client} " in words:
            return [process, *process.children(recursive=True)]
    raise AssertionError(f"no node is client {client}")


def until(claim, seconds=400):
    end = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


def rounds(runs):
    return [line for folder in runs.glob("*") for line in lines(folder) if line["kind"] == "round"]


def test_a_killed_node_comes_back_with_its_key_and_no_bit_of_the_ledger_changes(tmp_path, run_here):
    runs = tmp_path / "runs"
    sets = [word for change in CHANGES for word in ("--set", change)]
    run = subprocess.Popen(
        [*QFLOCK, "run", "noop", "--on", "processes", "--secure", "--runs-dir", str(runs), *sets],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(APP)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(lambda: run.poll() is not None or rounds(runs))
        (folder,) = runs.iterdir()
        key = (folder / "secure" / "client-001").read_bytes()
        for process in family_of_node(folder, 1):
            process.kill()
        said, _ = run.communicate(timeout=800)
    finally:
        run.terminate()
    assert run.returncode == 0, said
    assert "client 1: its node ended with code -9, started anew" in said
    assert "given up" not in said
    assert flower.started_for(folder) == []
    assert (folder / "secure" / "client-001").read_bytes() == key
    here = run_here("here", {"recipe": "noop", "override": " ".join(CHANGES)}, 2)
    assert [untimed(line) for line in lines(folder)] == [untimed(line) for line in lines(here)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_a_secure_superlink_takes_who_it_should_and_nobody_else(folder):
    with superlink(folder, environment(folder, load("noop")), simulated=False, secure=True) as link:
        facts = {"name": "lab", "file": Path("config.toml"), "address": f"127.0.0.1:{link.port}"}
        answers(Entry(**facts, insecure=False, root_certificates=str(folder / "secure" / AUTHORITY)))
        with pytest.raises(RunFailedError, match="speaks TLS: write root-certificates"):
            answers(Entry(**facts, insecure=True, root_certificates=None))
        with pytest.raises(RunFailedError, match="does not convince"):
            answers(Entry(**facts, insecure=False, root_certificates=None))
        flower.register(link, node_key(link.secure, 0).with_suffix(".pub"))
        with pytest.raises(RunFailedError, match=r"does not register .*client-000.pub: .*already in use"):
            flower.register(link, node_key(link.secure, 0).with_suffix(".pub"))
        nodes = Nodes(link, 2, folder / "logs")
        nodes.nodes = {client: nodes.start(client) for client in (0, 1)}  # the key of client 1 is not registered
        until(lambda: nodes.nodes[1].process.poll() is not None)
        (news,) = nodes.tend()
        assert re.match(
            r"client 1: its node does not start: .*Failed to activate SuperNode.*key is not registered", news
        )
        until(lambda: nodes.nodes[0].joined)


def test_a_port_that_somebody_took_meanwhile_is_replaced(folder, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy, free = taken.getsockname()[1], free_port()
        ports = iter([busy, free])
        monkeypatch.setattr(flower, "free_port", lambda: next(ports))
        with superlink(folder, environment(folder, load("noop")), simulated=False) as link:
            assert link.port == free
            assert psutil.pid_exists(link.process.pid)
    assert flower.TAKEN in (folder / "logs" / "superlink.log").read_text()
