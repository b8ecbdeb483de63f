"""SuperNodes on this machine: one process a client, each started anew when it dies, all ended with the run.

A node that is over soon after its start is tried again after pauses that grow, and in the end given up. That takes
patience: Flower refuses the key of a node that was killed until that node has been silent for a minute.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from server.certificates import AUTHORITY, node_key
from server.flower import OwnLink, free_port, register

# by path: on a module path of ours it would see another copy of the app than the one that the SuperLink sends
SUPERNODE = (sys.executable, "-P", str(Path(__file__).with_name("supernode.py")))
SOON_SECONDS = 10.0  # a node that ends sooner has not lived
GIVE_UP_SECONDS = 90.0  # without a node that lived
LONGEST_PAUSE = 8.0
REFUSED = "[code: 2004]"  # Flower says no more


@dataclass
class Node:
    """The SuperNode of one client: its newest process, and how often in a row it has not lived."""

    process: subprocess.Popen[bytes]
    log: Path
    said: int  # bytes in its log before this process
    began: float
    failures: int = 0
    failing_since: float = 0.0
    next_start: float | None = None
    given_up: str = ""  # why

    @property
    def joined(self) -> bool:
        """Whether the SuperLink let this process in."""
        return "SuperNode ID:" in self.words()

    def words(self) -> str:
        """What this process has said."""
        return self.log.read_bytes()[self.said :].decode(errors="replace")


@dataclass
class Nodes:
    """The SuperNodes of a run, by client."""

    link: OwnLink
    clients: int
    logs: Path
    nodes: dict[int, Node] = field(default_factory=dict)

    def start(self, client: int) -> Node:
        """One SuperNode that is this client."""
        node = f"partition-id={client} num-partitions={self.clients}"
        command = [*SUPERNODE, "--superlink", f"127.0.0.1:{self.link.port}", *self.identity(client)]
        command += ["--host", "127.0.0.1", "--port", str(free_port()), "--node-config", node]
        path = self.logs / f"client-{client:03d}.log"
        with path.open("ab") as log:
            said = log.tell()
            process = subprocess.Popen(command, env=self.link.env, stdout=log, stderr=log, start_new_session=True)
        return Node(process, path, said, time.monotonic())

    def identity(self, client: int) -> Sequence[str]:
        """How a SuperNode reaches the SuperLink, and shows who it is."""
        if not self.link.secure:
            return ["--insecure"]
        authority, key = self.link.secure / AUTHORITY, node_key(self.link.secure, client)
        return ["--root-certificates", str(authority), "--auth-supernode-private-key", str(key)]

    def tend(self) -> list[str]:
        """Start what has ended anew; what to tell the user about it."""
        news = []
        for client, node in self.nodes.items():
            if node.given_up or node.process.poll() is None:
                continue
            if node.next_start is None:
                news += [f"client {client}: {text}" for text in self.plan(node)]
            if node.next_start is not None and time.monotonic() >= node.next_start:
                again = self.nodes[client] = self.start(client)
                again.failures, again.failing_since = node.failures, node.failing_since
        return news

    def plan(self, node: Node) -> list[str]:
        """When to start a node that has ended anew, or that it is given up."""
        now = time.monotonic()
        node.failures = 0 if node.joined and now > node.began + SOON_SECONDS else node.failures + 1
        if node.failures <= 1:
            node.failing_since = now
        elif now > node.failing_since + GIVE_UP_SECONDS:
            node.given_up = f"its node is given up after {node.failures} starts: {reason(node.words())}; see {node.log}"
            return [node.given_up]
        node.next_start = now + (min(LONGEST_PAUSE, 2.0 ** (node.failures - 1)) if node.failures else 0.0)
        if node.joined:
            return [f"its node ended with code {node.process.returncode}, started anew"]
        return [f"its node does not start: {reason(node.words())}; trying again"] if node.failures == 1 else []

    def hopeless(self) -> str | None:
        """Why no client can take part any more, or None."""
        whys = [node.given_up for node in self.nodes.values()]
        return f"no client has a node: {whys[0]}" if whys and all(whys) else None


def supernodes(link: OwnLink, clients: int, logs: Path) -> Nodes:
    """A SuperNode for every client; they end with the SuperLink's run."""
    nodes = Nodes(link, clients, logs)
    if link.secure:
        keys = [node_key(link.secure, client).with_suffix(".pub") for client in range(clients)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # a SuperLink forgets its nodes when it ends
            list(pool.map(lambda key: register(link, key), keys))
    nodes.nodes = {client: nodes.start(client) for client in range(clients)}
    return nodes


def reason(words: str) -> str:
    """Why a SuperNode ended, in its own words: Flower's exit message, or else its last line that names an error."""
    said = re.search(r"Exit Code: \d+\n(.*?)(?:\n\n|\Z)", words, flags=re.DOTALL)
    if said:
        why = "; its key is not registered, or its last process is not missed yet" if REFUSED in said[1] else ""
        return " ".join(said[1].split()).rstrip(".") + why
    errors = [line for line in words.splitlines() if "error" in line.lower()]
    return " ".join(errors[-1].split()) if errors else "it said nothing"
