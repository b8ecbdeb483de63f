"""Run a folder's recipe on the federation of the operator that this is called in: `python -m deploy.submit RUN SPEND`.

`qflock up` puts the folder there, calls this, and takes the folder back; which command goes on it says itself.
"""

import sys
from pathlib import Path

from rich.console import Console

from recipes.section import InputError
from server.flower import LINK
from server.links import named
from server.remote import link_of, run_there
from server.resume import unfinished
from strategies.failure import RunFailedError


def main(run: str, spend: str) -> None:
    """Submit and follow; exit codes as the command line's."""
    folder = Path(run)
    try:
        run_there(unfinished(folder), folder, link_of(named(LINK)), Console(), int(spend))
    except (InputError, RunFailedError) as error:
        Console(stderr=True).print(f"failed: {error}", highlight=False, soft_wrap=True, markup=False)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
