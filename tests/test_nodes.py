"""Nodes come back when they die, and are given up when they never start: shell scripts on a false clock."""

import os
import re
import time

import pytest

from server.flower import OwnLink
from server.nodes import GIVE_UP_SECONDS, Nodes, reason, supernodes

REFUSED = """INFO :      Starting Flower SuperNode
ERROR :     Exit Code: 305
Failed to initialize the connection to the SuperLink.
[code: 2004] Failed to activate SuperNode.
The SuperNode could not establish a connection to the SuperLink.

For more information, visit: <https://flower.ai/docs/framework/1.41/en/ref-exit-codes/305.html>
INFO:     Shutting down
"""
TAKEN = """ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 40871): address already in use
INFO:     Waiting for application shutdown.
"""


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [1000.0]
    monkeypatch.setattr("server.nodes.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def nodes(tmp_path, clock, monkeypatch):
    """`nodes(script)`: two clients whose SuperNode is a shell script."""
    started = []

    def make(script):
        monkeypatch.setattr("server.nodes.SUPERNODE", ("sh", "-c", script))
        started.append(supernodes(OwnLink("qflock", dict(os.environ), None, 1), 2, tmp_path))
        return started[-1]

    yield make
    for made in started:
        for node in made.nodes.values():
            node.process.kill()
            node.process.wait()


def tended(nodes: Nodes, clock, seconds, ending=(0, 1)):
    """What is said in so many seconds, in which every process of these clients comes to its end."""
    said = []
    for _ in range(int(seconds)):
        for client in ending:
            if nodes.nodes[client].next_start is None:
                nodes.nodes[client].process.wait()
        clock[0] += 1.0
        said += nodes.tend()
    return said


def joined(log, times):
    """Until a node has got in so often."""
    end = time.time() + 20
    while log.read_text().count("SuperNode ID") < times:
        assert time.time() < end
        time.sleep(0.01)


def test_a_node_that_never_starts_is_told_once_and_given_up_in_bounded_time(nodes, clock, tmp_path):
    here = nodes(f"cat <<'END'\n{REFUSED}END\nexit 1")
    first = tended(here, clock, 5)
    assert [re.match(r"client (\d): its node does not start: ", text)[1] for text in first] == ["0", "1"]
    assert "[code: 2004] Failed to activate SuperNode" in first[0]
    assert "its key is not registered" in first[0]
    last = tended(here, clock, GIVE_UP_SECONDS + 20)
    assert len(last) == 2
    starts = (tmp_path / "client-000.log").read_text().count("Exit Code: 305")
    assert re.search(rf"client 0: its node is given up after {starts} starts: .*; see .*client-000.log", last[0])
    assert 5 < starts < 20
    assert here.hopeless().startswith("no client has a node: its node is given up")
    assert tended(here, clock, 100) == []


def test_a_node_that_was_in_and_dies_is_started_anew_every_time(nodes, clock, tmp_path):
    here = nodes("echo 'SuperNode ID: 7'; exit 3")
    for number in range(5):
        for node in here.nodes.values():
            node.process.wait()
        clock[0] += 1000.0
        assert here.tend() == [f"client {c}: its node ended with code 3, started anew" for c in (0, 1)], number
    assert here.hopeless() is None
    assert (tmp_path / "client-001.log").read_text().count("SuperNode ID") >= 5


def test_a_killed_node_whose_key_is_refused_for_a_minute_gets_in_again(nodes, clock, tmp_path):
    door = tmp_path / "door"
    door.touch()
    here = nodes(f"[ -e {door} ] && echo 'SuperNode ID: 7' && exec sleep 60; echo '[code: 2004]'; exit 1")
    joined(tmp_path / "client-000.log", 1)
    joined(tmp_path / "client-001.log", 1)
    door.unlink()
    clock[0] += 30.0
    here.nodes[0].process.kill()
    ended, refused = tended(here, clock, 60, [0])
    assert ended == "client 0: its node ended with code -9, started anew"
    assert refused.startswith("client 0: its node does not start: ")
    assert here.nodes[0].failures > 3
    door.touch()
    clock[0] += 10.0
    assert here.tend() == []
    joined(tmp_path / "client-000.log", 2)
    assert not here.nodes[0].given_up


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (TAKEN, "address already in use"),
        ("", "it said nothing"),
        ("Traceback\nRuntimeError: boom\n", "RuntimeError: boom"),
    ],
)
def test_the_reason_of_an_end_is_one_line(words, said):
    assert said in reason(words)
    assert "\n" not in reason(words)
