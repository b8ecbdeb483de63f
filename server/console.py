"""Where commands write: a terminal, a pipe or a file. What they write is not ours alone, so no string is markup."""

from rich.console import Console

PIPED = 200  # characters of what is no terminal


def plain_console(*, wide: bool = False, stderr: bool = False) -> Console:
    """Takes text as it is: in a reason, a path or a row, `[/data]` is no style; a wide one cuts no column in a pipe."""
    made = Console(stderr=stderr, markup=False)
    if wide and not made.file.isatty():
        made.width = PIPED
    return made
