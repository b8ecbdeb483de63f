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


def macro_f1(matrix: Matrix) -> float:
    """Mean F1 of the classes, each counting alike."""
    return fmean(one.f1 for one in by_class(matrix))


def over(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
