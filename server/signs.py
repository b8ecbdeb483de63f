"""Signs that a run is not worth what its accuracy says, each with the remedy that the papers name.

The three papers are LLM-QFL (arXiv:2505.18656), QFed (arXiv:2601.09809) and QD-LLM (arXiv:2505.13205).
"""

from collections.abc import Callable
from dataclasses import dataclass

from server.record import Record
from server.symptoms import (
    Found,
    alike,
    apart,
    behind,
    brief,
    cancelling,
    capped,
    diverging,
    failed,
    noisy,
    numberless,
    oscillating,
    scarce,
    starved,
    unfinished,
    untwinned,
)


@dataclass(frozen=True)
class Sign:
    """What was found in a run, and what to do about it."""

    name: str
    found: str
    remedy: str


def signs(record: Record) -> list[Sign]:
    """Every sign that a run shows."""
    told = ((name, look(record), remedy) for name, (look, remedy) in SIGNS.items())
    return [Sign(name, found, remedy) for name, found, remedy in told if found]


def unsought(record: Record) -> str:
    """The signs that could not be looked for, and why; nothing where all were."""
    recipe = record.recipe
    if recipe is None:
        looks, why = READ_RECIPE, "the recipe cannot be read"
    elif recipe.executor != "exact" and recipe.scored_by == "exact":
        looks, why = (noisy,), "scored_by is exact"
    else:
        return ""
    return f"Not looked for, because {why}: {', '.join(name for name, (look, _) in SIGNS.items() if look in looks)}."


READ_RECIPE: tuple[Callable[[Record], Found], ...] = (capped, starved, brief, noisy)
SIGNS: dict[str, tuple[Callable[[Record], Found], str]] = {
    "Not finished": (
        unfinished,
        "Unless it still goes on, go on from its last checkpoint: qflock resume with this folder.",
    ),
    "No twin": (
        untwinned,
        "Set student.twin to true: a control of as many parameters is what the papers lack and reviewers ask for.",
    ),
    "Failed clients": (failed, "Read the reasons below; on_loss: repeat asks a node that died again."),
    "maxiter at its cap": (
        capped,
        "LLM-QFL bounds maxiter so that it cannot explode. Raise regulate.cap when the loss still falls, else use the "
        "law hybrid, whose steps are bounded, or a better teacher.",
    ),
    "Budget below n + 2": (
        starved,
        "LLM-QFL starts COBYLA at 1 to 10 evaluations for 16 angles, which never completes its first simplex. Start "
        "optimiser.maxiter at n + 2 or more, or use spsa, which needs two a step.",
    ),
    "Few steps": (
        brief,
        "It has hardly been trained. Where there are few rows, raise optimiser.epochs or lower optimiser.batch; then "
        "raise rounds or optimiser.learning_rate.",
    ),
    "Updates cancel": (
        cancelling,
        "LLM-QFL admits the clients best aligned with the server: select.by alignment (and select.reference clients "
        "where there is no teacher) with a smaller percent, and distil.proximal above 0.",
    ),
    "Updates all alike": (
        alike,
        "LLM-QFL calls it collapsed gradient diversity: admit more clients (select.percent), or choose them by "
        "power-of-choice.",
    ),
    "Under 70% of the classical row": (
        behind,
        "QFed names a barren plateau or too few qubits: fewer layers, smaller initial angles, more qubits, more "
        "evaluations.",
    ),
    "Client losses diverge": (
        diverging,
        "QFed names clients whose models differ; here only their rows do: set distil.proximal, or admit by alignment.",
    ),
    "A loss was no number": (
        numberless,
        "A fit went too far, or a client's rows hold what is no number: lower optimiser.learning_rate, a or rhobeg, "
        "and see which client was the first.",
    ),
    "Loss oscillates": (
        oscillating,
        "QFed names the QNN's learning rate and how the mapping starts: lower optimiser.learning_rate, a or rhobeg.",
    ),
    "Large local-global gap": (
        apart,
        "QFed names clients that differ by more than averaging stands: fewer evaluations a round, distil.proximal, or "
        "a less uneven partition.",
    ),
    "Noise above shot error": (
        noisy,
        "LLM-QFL names hardware noise as its limit, and more shots do not help: mitigate: true, hardware.decoupling, "
        "fewer layers.",
    ),
    "Few rows": (
        scarce,
        "Raise data.rows, or use fewer clients; repeat over seeds before saying anything: qflock sweep.",
    ),
}
