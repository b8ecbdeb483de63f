"""A run as it goes: a growing table on a terminal, plain lines elsewhere; both read the ledger and nothing else."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, median

from rich.console import Console
from rich.live import Live
from rich.table import Table

from recipes.schema import Recipe
from server.ledger import Line, lines

LOOK_SECONDS = 0.2
COLUMNS = (
    "round",
    "arm",
    "invited",
    "admitted",
    "client loss",
    "teacher",
    "reference",
    "accuracy",
    "maxiter",
    "evaluations",
    "left",
)


def follow(folder: Path, recipe: Recipe, console: Console, alive: Callable[[], str | None]) -> Line:
    """Show the ledger until its last line, which is returned; `alive` says why no more can come, or None."""
    shown: list[Line] = []
    began = time.monotonic()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            for line in arriving(folder, alive):
                shown.append(line)
                live.update(table(shown, recipe, console.height))
    else:
        for line in arriving(folder, alive):
            shown.append(line)
            for text in plain(line, recipe, [done for done in shown if done["kind"] == "round"]):
                console.print(f"{time.monotonic() - began:6.1f} s  {text}", highlight=False, soft_wrap=True)
    return shown[-1]


def arriving(folder: Path, alive: Callable[[], str | None]) -> Iterator[Line]:
    """The ledger's lines as they are written, up to the line of kind end."""
    seen = 0
    while True:
        dead = alive()  # asked first: what was written before the end is still read
        found = lines(folder)
        yield from found[seen:]
        seen = max(seen, len(found))
        if found and found[-1]["kind"] == "end":
            return
        if dead:
            yield {"kind": "end", "state": "failed", "reason": dead, "seconds": {}}
            return
        time.sleep(LOOK_SECONDS)


def table(shown: list[Line], recipe: Recipe, height: int) -> Table:
    """The newest rounds that fit on the screen, one row an arm."""
    drawn = Table(title=title(recipe), title_justify="left", caption=caption(shown), caption_justify="left")
    for name in COLUMNS:
        drawn.add_column(name, justify="left" if name == "arm" else "right")
    rounds = [line for line in shown if line["kind"] == "round"]
    fitting = max(1, (height - 8) // 3)
    for index, line in list(enumerate(rounds))[-fitting:]:
        cells = row_cells(line, recipe, rounds[: index + 1])
        for number, cell in enumerate(cells):
            drawn.add_row(*cell, end_section=number == len(cells) - 1)
    return drawn


def row_cells(line: Line, recipe: Recipe, rounds: list[Line]) -> list[list[str]]:
    """The cells of one round, arm by arm."""
    cells = []
    for name, arm in line["arms"].items():
        clients = arm["clients"].values()
        budgets = [client["maxiter"] for client in clients]
        teachers = [client["teacher_loss"] for client in clients if client["teacher_loss"] is not None]
        span = f"{min(budgets)}" if min(budgets) == max(budgets) else f"{min(budgets)}–{max(budgets)}"
        cells.append(
            [
                f"{line['round']}/{recipe.rounds}",
                name,
                ids(arm["invited"], recipe.clients),
                ids(arm["admitted"], recipe.clients),
                f"{fmean(client['student_loss'] for client in clients):.3f}",
                f"{fmean(teachers):.3f}" if teachers else "none",
                f"{arm['reference_loss']:.3f}",
                f"{arm['reference_accuracy']:.1%}",
                span,
                str(sum(client["evaluations"] for client in clients)),
                clock(left(recipe, rounds)),
            ]
        )
    return cells


def plain(line: Line, recipe: Recipe, rounds: list[Line]) -> list[str]:
    """One ledger line as text."""
    failed = [f"client {client} failed: {reason}" for client, reason in line.get("failed", {}).items()]
    if line["kind"] == "prepare":
        what = f"{line['stage']}, exchange {line['exchange']}" if line["stage"] else "hello"
        return [f"preparing: {what}  clients {ids(line['clients'], recipe.clients)}", *failed]
    if line["kind"] == "round":
        names = (
            "round",
            "",
            "invited",
            "admitted",
            "loss",
            "teacher",
            "reference",
            "accuracy",
            "maxiter",
            "evaluations",
            "left",
        )
        return [
            "  ".join(f"{n} {c}".strip() for n, c in zip(names, cell, strict=True))
            for cell in row_cells(line, recipe, rounds)
        ] + failed
    if line["kind"] == "score":
        scores = "  ".join(f"{name} {arm['accuracy']:.1%}" for name, arm in line.get("arms", {}).items())
        return [f"test rows: {scores}", *failed]
    return []


def title(recipe: Recipe) -> str:
    return f"{recipe.name} · {recipe.clients} clients · seed {recipe.seed} · {recipe.digest()}"


def caption(shown: list[Line]) -> str:
    """What the last line says beyond the table."""
    failed = [
        f"round {line.get('round', 0)}, client {c}: {reason}"
        for line in shown
        for c, reason in line.get("failed", {}).items()
    ]
    last = shown[-1]
    doing = {
        "prepare": f"preparing {last.get('stage') or 'clients'}",
        "round": "training",
        "score": "scored",
        "end": "",
    }[last["kind"]]
    return "\n".join([doing, *failed[-3:]])


def left(recipe: Recipe, rounds: list[Line]) -> float:
    """Seconds that the remaining rounds will take, judged by the median of those seen."""
    times: list[float] = [line["seconds"]["round"] for line in rounds]
    return median(times) * float(recipe.rounds - rounds[-1]["round"])


def clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def ids(clients: list[int], n_clients: int) -> str:
    """Client ids, or how many of how many."""
    if len(clients) == n_clients:
        return "all"
    return ",".join(map(str, clients)) if len(clients) <= 5 else f"{len(clients)} of {n_clients}"
