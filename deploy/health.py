"""Exit code 0 when a SuperLink answers under its certificate, or a node on its own loopback.

python -m deploy.health superlink:8000 /secure/authority/ca.crt
python -m deploy.health 127.0.0.1:9094
"""

import sys
from pathlib import Path

from server.links import Entry, answers
from strategies.failure import RunFailedError


def main(address: str, authority: str | None = None) -> None:
    """Ask."""
    asked = Entry(
        name="health", file=Path(__file__), address=address, insecure=authority is None, root_certificates=authority
    )
    try:
        answers(asked)
    except RunFailedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
