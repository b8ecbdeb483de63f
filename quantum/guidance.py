"""What pulls a fit beside its labels: a teacher's soft labels, and the arrays that all clients start from.

B rows, K classes, P angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantum.readout import SMALLEST, Floats, softmax


@dataclass(frozen=True)
class Guidance:
    """λ·KL(teacher‖student; T) + μ/2·‖θ − θ_global‖² (LLM-QFL, arXiv:2505.18656; Li et al. 2018, arXiv:1812.06127).

    KL(teacher‖student; T) = 1/B · Σ_b Σ_k t_bk·ln(t_bk / s_bk), t the teacher's softmax(logits/T), s the student's
    p^(1/T) / Σ p^(1/T), which of a softmax read-out is softmax(logits/T) as well. LLM-QFL gives it the weight λ alone:
    there is no factor T² before it as in Hinton et al. (arXiv:1503.02531), so for large T the pull falls with 1/T².
    """

    soft: Floats  # t, (B, K)
    weight: float = 0.0
    temperature: float = 1.0
    proximal: float = 0.0

    def pull(self, probs_BK: Floats) -> float:
        """λ·KL."""
        return self.weight * divergence(self.soft, self.softened(probs_BK))

    def pull_slope(self, probs_BK: Floats) -> Floats:
        """(B, K) dλKL/d ln p = λ·(s − t) / (T·B)."""
        scale = self.weight / (self.temperature * len(probs_BK))
        return scale * (self.softened(probs_BK) - self.soft)

    def softened(self, probs_BK: Floats) -> Floats:
        """s"""
        return softmax(np.log(np.maximum(probs_BK, SMALLEST)) / self.temperature)


UNGUIDED = Guidance(np.zeros((0, 0)))


def divergence(teacher_BK: Floats, student_BK: Floats) -> float:
    """Mean KL(teacher‖student) in nats, 1/B · Σ t·ln(t/s); probabilities clipped at 1e-12."""
    t, s = (np.maximum(probs, SMALLEST) for probs in (teacher_BK, student_BK))
    return max(0.0, float((teacher_BK * np.log(t / s)).sum(axis=1).mean()))  # rounding can leave −1e-17
