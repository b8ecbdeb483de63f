"""The console command `qflock`: finds the app and calls its command line.

An installed wheel carries the app under qflock/app; in a checkout, editable or not, it is the repository. The app's own
folders (server, client, …) are no installed packages: they are put first on the path of this process alone.
"""

import sys
from pathlib import Path

BUNDLED = Path(__file__).parent / "app"
APP = BUNDLED if BUNDLED.is_dir() else Path(__file__).resolve().parents[3]


def main() -> None:
    """Run the command line of the app."""
    sys.path.insert(0, str(APP))
    from server.cli import main as run

    run()
