"""What a fit minimises: its labels' loss, a teacher's soft labels, and the arrays that all clients start from.

B rows, K classes, P angles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantum.readout import SMALLEST, Floats, softmax


@dataclass(frozen=True)
class Guidance:
    """ν·CE + λ·KL(teacher‖student; T) + κ·JS(teacher, student) + μ/2·‖θ − θ_global‖².

    CE = −1/N · Σ ln p(label) over the N rows that have a label; the two of the teacher are means over all rows:
    KL = 1/B · Σ_b Σ_k t_bk·ln(t_bk / s_bk), t the teacher's softmax(logits/T), s the student's p^(1/T) / Σ p^(1/T),
    which of a softmax read-out is softmax(logits/T) as well;
    JS = 1/B · Σ_b ½·KL(q‖m) + ½·KL(p‖m), m = (q + p)/2, of the probabilities themselves: q is t at T = 1.

    LLM-QFL (arXiv:2505.18656) and the proximal pull of Li et al. 2018 (arXiv:1812.06127): ν = 1, κ = 0, and λ has no
    factor T² in it as in Hinton et al. (arXiv:1503.02531), so for large T its pull falls with 1/T².
    QD-LLM (arXiv:2505.13205), as its public code: ν = 1 − α, λ = α·T², κ = α, α = ½, T = 2. There JS is taken of
    softened outputs that are softened again, and one of its halves points the other way; here it is the textbook's.
    """

    soft: Floats  # t, (B, K)
    weight: float = 0.0  # λ
    temperature: float = 1.0
    proximal: float = 0.0
    labels: float = 1.0  # ν
    shannon: float = 0.0  # κ

    def of(self, probs_BK: Floats, labels: NDArray[Any], rows_B: NDArray[Any] | None = None) -> tuple[float, Floats]:
        """ν·CE + λ·KL + κ·JS of all rows of a fit, or an unbiased estimate of it from some, and (B, K) d/d ln p.

        The first rows are those that have labels; `rows_B` are the numbers of the rows given.
        """
        if self.teaches and self.soft.shape[1] != probs_BK.shape[1]:
            raise ValueError(f"soft labels of {self.soft.shape[1]} classes teach no student of {probs_BK.shape[1]}")
        whole = max(len(labels), len(self.soft))
        some = self if rows_B is None or not len(self.soft) else replace(self, soft=self.soft[rows_B])
        rows = np.arange(whole) if rows_B is None else rows_B
        held = np.flatnonzero(rows < len(labels))
        chosen = labels[rows[held]]
        scale = self.labels * (whole / len(rows))  # 1/N stays the whole fit's
        loss, slope_BK = 0.0, np.zeros_like(probs_BK)
        if len(held):
            slope_BK[held, chosen] = -scale / len(labels)
            loss = scale * (len(held) / len(labels)) * cross_entropy(probs_BK[held], chosen)
        if self.teaches:
            loss, slope_BK = loss + some.pull(probs_BK), slope_BK + some.pull_slope(probs_BK)
        return loss, slope_BK

    @property
    def teaches(self) -> bool:
        """Whether a teacher has a say in it."""
        return self.weight > 0 or self.shannon > 0

    def terms(self, probs_BK: Floats, labels: NDArray[Any]) -> dict[str, float]:
        """CE, KL and JS by themselves, in nats; without soft labels there are no other two."""
        found = {"ce": cross_entropy(probs_BK[: len(labels)], labels)}
        if len(self.soft):
            found |= {
                "kl": divergence(self.soft, self.softened(probs_BK)),
                "js": jensen_shannon(self._beliefs(), probs_BK),
            }
        return found

    def pull(self, probs_BK: Floats) -> float:
        """λ·KL + κ·JS."""
        pull = self.weight * divergence(self.soft, self.softened(probs_BK)) if self.weight else 0.0
        return pull + (self.shannon * jensen_shannon(self._beliefs(), probs_BK) if self.shannon else 0.0)

    def pull_slope(self, probs_BK: Floats) -> Floats:
        """(B, K) of it d/d ln p: λ·(s − t) / (T·B) + κ·p·ln(p/m) / 2B."""
        scale = self.weight / (self.temperature * len(probs_BK))
        slope_BK = scale * (self.softened(probs_BK) - self.soft)
        if self.shannon:
            p, m = (np.maximum(probs, SMALLEST) for probs in (probs_BK, (self._beliefs() + probs_BK) / 2))
            slope_BK += self.shannon / (2 * len(p)) * p * np.log(p / m)
        return slope_BK

    def softened(self, probs_BK: Floats) -> Floats:
        """s"""
        return softmax(np.log(np.maximum(probs_BK, SMALLEST)) / self.temperature)

    def _beliefs(self) -> Floats:
        """q ∝ t^T"""
        return softmax(np.log(np.maximum(self.soft, SMALLEST)) * self.temperature)


UNGUIDED = Guidance(np.zeros((0, 0)))


def cross_entropy(probs_BK: NDArray[Any], labels: NDArray[Any]) -> float:
    """−1/B · Σ ln p(label), natural logarithm, probabilities clipped at 1e-12."""
    chosen = probs_BK[np.arange(len(labels)), labels]
    return -float(np.log(np.maximum(chosen, SMALLEST)).mean())


def divergence(teacher_BK: Floats, student_BK: Floats) -> float:
    """Mean KL(teacher‖student) in nats, 1/B · Σ t·ln(t/s); probabilities clipped at 1e-12."""
    t, s = (np.maximum(probs, SMALLEST) for probs in (teacher_BK, student_BK))
    return max(0.0, float((teacher_BK * np.log(t / s)).sum(axis=1).mean()))  # rounding can leave −1e-17


def jensen_shannon(one_BK: Floats, other_BK: Floats) -> float:
    """Mean JS in nats, from 0 to ln 2."""
    m_BK = (one_BK + other_BK) / 2
    return (divergence(one_BK, m_BK) + divergence(other_BK, m_BK)) / 2
