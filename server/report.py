"""What a finished run shows: one table on the terminal, the curves of loss and accuracy by round as a PNG."""

import logging
from pathlib import Path

from server.ledger import Line, lines

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

COLOURS = {"student": "#6929c4", "twin": "#fa8b1e"}  # tell apart without red and green


def closing(folder: Path) -> Path:
    """Draw the curves of a run beside its ledger; the path of the picture."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    ledger = lines(folder)
    rounds = [line for line in ledger if line["kind"] == "round"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for name in arms(rounds):
        numbers = [line["round"] for line in rounds if name in line["arms"]]
        parts = [line["arms"][name] for line in rounds if name in line["arms"]]
        colour = COLOURS.get(name)
        for axes, key, of_client in (
            (loss, "reference_loss", "student_loss"),
            (accuracy, "reference_accuracy", "student_accuracy"),
        ):
            axes.plot(
                numbers, [part[key] for part in parts], "o-", color=colour, label=f"{name}, averaged, server's rows"
            )
            low, high = (
                [pick(client[of_client] for client in part["clients"].values()) for part in parts]
                for pick in (min, max)
            )
            axes.fill_between(
                numbers, low, high, color=colour, alpha=0.15, linewidth=0, label=f"{name}, clients before averaging"
            )
    loss.set(title="loss by round", xlabel="round", ylabel="held-out cross-entropy, nats")
    accuracy.set(title="accuracy by round", xlabel="round")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(folder.name, fontsize=10)
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    log.info("drew %s", path)
    return path


def arms(rounds: list[Line]) -> list[str]:
    """Every arm that any round trained, in the order of the recipe."""
    return list(dict.fromkeys(name for line in rounds for name in line["arms"]))
