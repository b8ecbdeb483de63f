"""The node of a container: takes the first free place, makes its own key, waits until that is registered, begins.

A place is a file in a folder that all nodes of one engine share, locked as long as the container lives; its number is
the client that the node is. The private key never leaves the container: it publishes the public half beside the lock,
and the operator (deploy/operator.py) registers it.
"""

import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

from data.whole import write_whole
from server.certificates import node_key
from server.nodes import SUPERNODE

log = logging.getLogger("qflock.node")

LOOK_SECONDS = 0.2


def main() -> None:
    """Become the SuperNode."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    shared, keys = Path(os.environ["QFLOCK_ENROLLED"]), Path.home() / "keys"
    mine = sorted(int(key.stem.removeprefix("client-")) for key in keys.glob("*.pub"))
    client = place(shared, chain(mine, count()))
    key = node_key(keys, client)
    publish(key.with_suffix(".pub"), shared)
    log.info("this node is client %d; waiting until its key is registered", client)
    while not registered(shared / key.with_suffix(".pub").name):
        time.sleep(LOOK_SECONDS)
    os.execv(sys.executable, command(client, key))


def place(shared: Path, wanted: Iterable[int]) -> int:
    """The first place that nobody holds; it stays locked until this process and all that it becomes has ended."""
    for client in wanted:
        file = os.open(shared / f"client-{client:03d}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        os.set_inheritable(file, True)
        return client
    raise AssertionError("count() has no end")


def publish(public_key: Path, shared: Path) -> None:
    """Where the operator looks; a key that another container had here before is replaced."""
    write_whole(shared / public_key.name, public_key.read_bytes())


def registered(published: Path) -> bool:
    """Whether the operator has written down that exactly this key is known to the SuperLink."""
    done = published.with_suffix(".registered")
    return done.is_file() and done.read_bytes() == published.read_bytes()


def command(client: int, key: Path) -> list[str]:
    """A SuperNode that no other container can reach; what it says of itself (recipes/node.py) is in a file, if any."""
    own = Path(os.environ["QFLOCK_NODES"], f"client-{client:03d}.yaml")
    said = f' node="{own}"' if own.is_file() else ""
    log.info("this node chooses as %s says" if said else "there is no %s: this node follows the recipe", own)
    return [
        *SUPERNODE,
        *("--superlink", os.environ["QFLOCK_SUPERLINK"]),
        *("--root-certificates", os.environ["QFLOCK_AUTHORITY"]),
        *("--auth-supernode-private-key", str(key)),
        *("--host", "127.0.0.1", "--port", "9094", "--node-config", f"partition-id={client}{said}"),
    ]


if __name__ == "__main__":
    main()
