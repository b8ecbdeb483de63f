"""Run a folder's recipe on the federation of the operator that this is called in: `python -m deploy.submit RUN SPEND`.

`qflock up` puts the folder there, calls this, and takes the folder back; which command goes on it says itself.
"""

import json
import os
import sys
import time
from pathlib import Path

from data.whole import write_whole
from deploy.node import registered
from recipes.section import InputError
from server.console import plain_console
from server.flower import LINK
from server.folder import environment
from server.links import named
from server.remote import link_of, run_there
from server.resume import unfinished
from strategies.failure import RunFailedError

JOIN_SECONDS, LOOK_SECONDS = 120.0, 0.2


def main(run: str, spend: str) -> None:
    """Submit and follow; exit codes as the command line's."""
    folder, console = Path(run), plain_console()
    try:
        recipe = unfinished(folder)
        described(folder, environment(recipe, folder.name))
        with console.status("waiting for the nodes"):
            awaited(Path(os.environ["QFLOCK_ENROLLED"]), recipe.clients)
        run_there(recipe, folder, link_of(named(LINK)), console, int(spend))
    except (InputError, RunFailedError) as error:
        plain_console(stderr=True).print(f"failed: {error}", highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, InputError) else 1)


def described(folder: Path, here: str) -> None:
    """What the numbers depend on is in these containers; the run's name and the commit are those of its folder."""
    file = folder / "environment.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    facts = json.loads(here) | {key: said[key] for key in ("run", "qflock")}
    write_whole(file, json.dumps(facts, indent=1).encode())


def awaited(shared: Path, clients: int, seconds: float = JOIN_SECONDS) -> None:
    """Until as many keys are registered as there are clients; who is late the run itself waits for a little more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and sum(map(registered, shared.glob("*.pub"))) < clients:
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
