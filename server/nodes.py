"""SuperNodes on this machine: one process a client, each restarted when it dies, all ended with the run."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from server.flower import Link, free_port

SUPERNODE = Path(__file__).with_name("supernode.py")  # by path: it must not see another copy of the app than the run's


@dataclass
class Nodes:
    """The SuperNodes of a run, by client."""

    link: Link
    clients: int
    logs: Path
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, client: int) -> None:
        """One SuperNode that is this client."""
        node = f"partition-id={client} num-partitions={self.clients}"
        command = [sys.executable, "-P", str(SUPERNODE), "--insecure", "--superlink", f"127.0.0.1:{self.link.port}"]
        command += ["--host", "127.0.0.1", "--port", str(free_port()), "--node-config", node]
        with (self.logs / f"client-{client:03d}.log").open("ab") as log:
            self.processes[client] = subprocess.Popen(
                command, env=self.link.env, stdout=log, stderr=log, start_new_session=True
            )

    def tend(self) -> list[str]:
        """Start what has ended anew; what to tell the user about it."""
        ended = {client: process.returncode for client, process in self.processes.items() if process.poll() is not None}
        for client in ended:
            self.start(client)
        return [f"client {client}: its node ended with code {code}, started anew" for client, code in ended.items()]


def supernodes(link: Link, clients: int, logs: Path) -> Nodes:
    """A SuperNode for every client; they end with the SuperLink's run."""
    nodes = Nodes(link, clients, logs)
    for client in range(clients):
        nodes.start(client)
    return nodes
