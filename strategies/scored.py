"""The ledger's line of the final scores: every client's, and all of them pooled over their test rows."""

from collections.abc import Sequence
from typing import Any

from strategies.classes import macro
from strategies.messages import Score


def scored(scores: Sequence[Score], arms: Sequence[str]) -> dict[str, Any]:
    """The line; without a score it has no clients and nothing is pooled."""
    clients = {
        score.client: {k: v for k, v in vars(score).items() if k not in ("client", "seconds")} for score in scores
    }
    if not scores:
        return {"clients": clients}
    found = {}
    for name in arms:
        matrix = summed([score.confusion[name] for score in scores])
        found[name] = {
            "accuracy": pooled(scores, [score.accuracy[name] for score in scores]),
            **macro(matrix),
            "loss": pooled(scores, [score.loss[name] for score in scores]),
            "confusion": matrix,
        }
    alone = {name: [getattr(score, name) for score in scores] for name in ("head", "logistic", "majority")}
    baselines = {name: pooled(scores, values) for name, values in alone.items() if None not in values}
    return {"arms": found, **baselines, "clients": clients}


def pooled(scores: Sequence[Score], values: Sequence[float]) -> float:
    """Σ n_i·v_i / Σ n_i over the clients' test rows."""
    return sum(score.examples * value for score, value in zip(scores, values, strict=True)) / sum(
        score.examples for score in scores
    )


def summed(matrices: Sequence[list[list[int]]]) -> list[list[int]]:
    """Confusion matrices of disjoint rows as one."""
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
