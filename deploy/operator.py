"""The operator of a federation: registers every key that appears in a folder, as long as it runs.

Flower's command line, and ours, then find the SuperLink as `qflock` in the configuration that this writes.
"""

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data.whole import write_whole
from deploy.node import registered
from server.flower import LINK, Link, register
from strategies.failure import RunFailedError

log = logging.getLogger("qflock.operator")

LOOK_SECONDS, AGAIN_SECONDS = 0.2, 5.0
KNOWN = "already in use"  # the SuperLink has this key: we were ended before we wrote that down


def main() -> None:
    """Configure, then look for keys until the end."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    configure(Path(os.environ["FLWR_HOME"]), os.environ["QFLOCK_SUPERLINK"], os.environ["QFLOCK_AUTHORITY"])
    link, shared = Link(LINK, dict(os.environ)), Path(os.environ["QFLOCK_ENROLLED"])
    while True:
        new = [key for key in sorted(shared.glob("*.pub")) if not registered(key)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = list(pool.map(lambda key: enrol(link, key), new))
        time.sleep(LOOK_SECONDS if all(done) else AGAIN_SECONDS)


def configure(home: Path, address: str, authority: str) -> None:
    """Flower's configuration, which names the SuperLink."""
    home.mkdir(parents=True, exist_ok=True)
    said = f'[superlink]\ndefault = "{LINK}"\n\n[superlink.{LINK}]\naddress = "{address}"\n'
    write_whole(home / "config.toml", f'{said}root-certificates = "{authority}"\n'.encode())


def enrol(link: Link, key: Path) -> bool:
    """Register a key and write down which; whether the SuperLink knows it now."""
    content = key.read_bytes()
    try:
        register(link, key)
    except RunFailedError as error:
        if KNOWN not in str(error):
            log.warning("%s", error)
            return False
    write_whole(key.with_suffix(".registered"), content)
    log.info("registered %s", key.stem)
    return True


if __name__ == "__main__":
    main()
