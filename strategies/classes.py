"""What a confusion matrix says class by class. Row k counts the rows of class k by what was answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

Matrix = Sequence[Sequence[int]]


@dataclass(frozen=True)
class OfClass:
    """One class. A ratio over no row is 0, as in scikit-learn."""

    precision: float
    recall: float
    f1: float
    rows: int


def by_class(matrix: Matrix) -> list[OfClass]:
    """precision = M_kk / Σ_j M_jk, recall = M_kk / Σ_j M_kj, F1 their harmonic mean."""
    found = []
    for k, row in enumerate(matrix):
        hits, held, said = row[k], sum(row), sum(other[k] for other in matrix)
        found.append(OfClass(over(hits, said), over(hits, held), over(2 * hits, held + said), held))
    return found


def macro(matrix: Matrix) -> dict[str, float]:
    """Mean precision, recall and F1 of the classes, each counting alike."""
    classes = by_class(matrix)
    return {name: fmean(getattr(one, name) for one in classes) for name in ("precision", "recall", "f1")}


def over(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
