"""Files that are there whole or not at all: written under another name, flushed to the disk, renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file; without `durable` it may be gone or empty after a power cut, which costs no flush."""
    with whole(path, durable=durable) as temporary:
        temporary.write_bytes(content)


@contextmanager
def whole(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """The name to write under; at the end of the block what lies there is the file."""
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.part")  # containers share folders, and process ids
    try:
        yield temporary
        if durable:
            flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
