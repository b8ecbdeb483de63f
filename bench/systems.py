"""What the README says of several results files at once: three systems beside twins and papers, and what helped.

A system whose results are not committed says so; what a paper printed is read from the claims of `qflock verify`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import qdllm, reviews, sensitivity
from server.effects import sentences
from server.record import STUDENT, TWIN
from server.statistics import LEVEL, estimate
from server.verify import Claim, claims, in_one_place, studied

MISSING = "not measured yet"
Arms = dict[str, list[float]]  # accuracy of every seed


@dataclass(frozen=True)
class Row:
    """One system on one corpus."""

    system: str
    corpus: str
    recipe: str
    command: str
    arms: Callable[[Path], Arms]


def of_default(results: Path) -> Arms:
    """The default recipe over its own seeds."""
    rows = read(results / reviews.RESULTS.name).get("rows", [])
    return {row["arm"]: row["values"] for row in rows}


def of_study(recipe: str, *changes: str, twin: str = "") -> Callable[[Path], Arms]:
    """A recipe in a committed study; its twin is an arm of the same runs, or the recipe with one key changed."""

    def arms(results: Path) -> Arms:
        found = studied(results, recipe, list(changes))
        return found | {TWIN: studied(results, recipe, [twin]).get(STUDENT, [])} if twin else found

    return arms


def of_central(corpus: str) -> Callable[[Path], Arms]:
    """QD-LLM's corpora, as its authors train: one client holds all rows."""

    def arms(results: Path) -> Arms:
        found = in_one_place(results, corpus)
        return {STUDENT: found.get(STUDENT, []), TWIN: found.get("linear twin", [])}

    return arms


HASH = "student.generator.by=hash"
SYSTEMS = (
    Row("LLM-QFL", "reviews", "llm-qfl-reviews", "make reviews", of_default),
    Row("LLM-QFL", "genomic", "llm-qfl-genomic", "make llm-qfl", of_study("llm-qfl-genomic")),
    Row("LLM-QFL", "tweets", "llm-qfl-tweets", "make llm-qfl", of_study("llm-qfl-tweets")),
    Row("QFed", "FashionMNIST, 70 rounds", "qfed-fashion", "make qfed", of_study("qfed-fashion", twin=HASH)),
    Row("QFed", "FashionMNIST, 20 rounds", "qfed-scale", "make qfed", of_study("qfed-scale", "clients=5")),
    *(
        Row("QD-LLM, in one place", corpus, f"qd-llm-{corpus}", "make qd-llm", of_central(corpus))
        for corpus in qdllm.CORPORA
    ),
)


def table(results: Path) -> Table:
    """Ours, the twin's and the paper's accuracy, each with the command that measures it."""
    printed = {recipe: one.published for one in claims() if (recipe := about(one))}
    drawn = Table()
    for name in ("system", "corpus", "ours", "twin", "seeds", "paper", "command"):
        drawn.add_column(name, justify="right" if name in ("ours", "twin", "seeds", "paper") else "left")
    for row in SYSTEMS:
        arms = row.arms(results)
        paper = printed.get(row.recipe)
        both = [arms.get(name, []) for name in (STUDENT, TWIN)]
        seeds = " and ".join(dict.fromkeys(str(len(values)) for values in both if values))
        said = f"{paper:.1%}" if paper is not None else "no number"
        drawn.add_row(row.system, row.corpus, *map(accuracy, both), seeds, said, f"`{row.command}`")
    return drawn


def about(claim: Claim) -> str:
    """The recipe whose student's accuracy a claim is, if it is one."""
    match claim.measure:
        case {"run": {"recipe": str(recipe), **others}} if not others:
            return recipe
        case {"central": {"corpus": corpus}}:
            return f"qd-llm-{corpus}"
    return ""


def accuracy(values: Sequence[float]) -> str:
    """Mean and interval of a list of seeds."""
    if not values:
        return MISSING
    found = estimate(values)
    between = f" ({100 * found.interval[0]:.1f} to {100 * found.interval[1]:.1f})" if found.interval else ""
    return f"{found.mean:.1%}{between}"


def note() -> str:
    """What the numbers are."""
    return (
        f"Test accuracy, mean over seeds ({LEVEL:.0%} interval over these; all but the reviews have the same test "
        f"rows in every seed, whose own sampling it leaves out: ±1.8 points on topic, ±3.6 on stega)."
    )


def helped(results: Path) -> str:
    """What the committed ablations and the sensitivity study come to, sentence by sentence."""
    said = []
    ablations = [read(path) for path in sorted(results.glob("ablation-*.json"))]
    # where regulation fired comes first
    for whole in sorted(ablations, key=lambda one: not any(sum(line["behind"]) for line in one["arms"])):
        ours = whole | {"arms": [line for line in whole["arms"] if line["model"] == STUDENT]}
        said += [f"- `{whole['recipe']}`. {sentence}" for sentence in sentences(ours)]
    if sensed := read(results / sensitivity.RESULTS.name):
        said.append(f"- {sensitivity.note(sensed)}")
    return "\n".join(said)


def read(path: Path) -> dict[str, Any]:
    """A results file, empty where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
