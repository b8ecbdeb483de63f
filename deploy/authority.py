"""What a federation trusts, made once: an authority, the SuperLink's certificate, a secret of the ServerApp, node keys.

    python -m deploy.authority secure --host fed.example.org --nodes 3

One folder for each who may read it: `authority` is for everyone, `tls` for the SuperLink alone, `executor` for it and
the process that runs the ServerApp, and of `nodes` each node gets one private key; the SuperLink's operator registers
the public halves. What is there already is kept.
"""

import argparse
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from server.certificates import AUTHORITY, certify, node_key, write_secret

SECRET = Path("executor", "secret")


def main() -> None:
    """Make them."""
    asked = argparse.ArgumentParser(prog="python -m deploy.authority", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("folder", type=Path)
    asked.add_argument("--host", action="append", default=[], help="a name or address that nodes call the SuperLink by")
    asked.add_argument("--nodes", type=int, default=0, help="how many private keys to make")
    said = asked.parse_args()
    furnish(said.folder, said.host, said.nodes)


def furnish(folder: Path, hosts: Sequence[str], nodes: int = 0) -> None:
    """The certificate of the authority is written last: where it is, all is."""
    authority = folder / "authority" / AUTHORITY
    if not authority.is_file():
        certify(folder / "tls", hosts)
        (folder / SECRET).parent.mkdir(parents=True, exist_ok=True)
        write_secret(folder / SECRET, secrets.token_hex(32).encode())
        authority.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "tls" / AUTHORITY, authority)
    for number in range(nodes):
        node_key(folder / "nodes", number)


if __name__ == "__main__":
    main()
