"""How the clients' adapters become the global teacher's.

An adapter is arrays by name. `<layer>/A` (r, d_in) and `<layer>/B` (d_out, r) are a LoRA pair (Hu et al. 2021,
arXiv:2106.09685) that moves the layer's weights by ΔW = s·B·A. The scale s is the recipe's α/r, one for all, also for
adapters of another rank than its r. All other arrays (a head; a tiny teacher whole) are averaged.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.schema import TeacherConfig
from strategies.mean import weighted_mean
from strategies.messages import Arrays, Tuned

Rule = Callable[[Sequence[Arrays], Sequence[float], int], Arrays]
Matrix = NDArray[np.float64]


def federate(config: TeacherConfig, tuned: Sequence[Tuned]) -> Arrays:
    """The global adapter, each client weighted by the rows that its teacher learned from."""
    ordered = sorted(tuned, key=lambda one: one.client)
    return RULES[config.federate](
        [one.arrays for one in ordered], [one.examples for one in ordered], config.merged_rank
    )


def average(updates: Sequence[Arrays], weights: Sequence[float], rank: int = 0) -> Arrays:
    """A ← Σ w_i·A_i, B ← Σ w_i·B_i (FedIT, arXiv:2305.05644). Its B·A is not the mean of the B_i·A_i."""
    return weighted_mean(updates, weights, updates[0])


def ffa(updates: Sequence[Arrays], weights: Sequence[float], rank: int = 0) -> Arrays:
    """The same where every A_i is the A that all clients started from (FFA-LoRA, arXiv:2403.12313).

    A neither learns nor travels, which leaves the mean of the B_i, and B·A is the mean of the B_i·A.
    """
    return average(updates, weights)


def exact(updates: Sequence[Arrays], weights: Sequence[float], rank: int = 0) -> Arrays:
    """B·A = Σ w_i·B_i·A_i, by a singular value decomposition; of a smaller rank the nearest there is (Eckart-Young).

    Stacked factors as in FLoRA (arXiv:2409.05976), so clients may have different ranks; re-factored, so that the rank
    is no higher than the sum's own.
    """
    shares = np.asarray(weights, dtype=np.float64) / sum(weights)
    paired = layers(updates[0])
    merged = average([{n: a for n, a in update.items() if n[:-2] not in paired} for update in updates], weights)
    for layer in sorted(paired):
        A = np.vstack([update[f"{layer}/A"] for update in updates]).astype(np.float64)
        B = np.hstack([w * update[f"{layer}/B"].astype(np.float64) for w, update in zip(shares, updates, strict=True)])
        like = updates[0][f"{layer}/A"].dtype
        merged[f"{layer}/B"], merged[f"{layer}/A"] = (factor.astype(like) for factor in factored(B, A, rank))
    return merged


def factored(B: Matrix, A: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """(B′, A′) with B′·A′ = B·A and no rank to spare, or the nearest with `rank` ranks.

    B = Q·R and Aᵀ = P·S leave R·Sᵀ = U·Σ·Vᵀ, as small as the ranks: B′ = Q·U·√Σ, A′ = √Σ·Vᵀ·Pᵀ. The larger entries of
    a column of U are positive, so that equal products have equal factors.
    """
    Q, R = np.linalg.qr(B)
    P, S = np.linalg.qr(A.T)
    U, spread, Vt = np.linalg.svd(R @ S.T)
    own = max(1, int(np.sum(spread > spread[0] * max(*B.shape, *A.shape) * np.finfo(np.float64).eps)))
    kept = min(rank or own, own)
    root = np.sqrt(spread[:kept])
    left, right = Q @ U[:, :kept], Vt[:kept] @ P.T
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(kept)])
    return left * signs * root, right * (signs * root)[:, None]


def layers(adapter: Arrays) -> set[str]:
    """The layers that have a LoRA pair."""
    return {name[:-2] for name in adapter if name.endswith("/A") and f"{name[:-2]}/B" in adapter}


def reranked(adapter: Arrays, ranks: dict[str, int]) -> Arrays:
    """Zeros of an adapter's shapes, but for the layers' ranks."""
    shapes = {name: array.shape for name, array in adapter.items()}
    for layer in layers(adapter) & ranks.keys():
        shapes[f"{layer}/A"] = (ranks[layer], *shapes[f"{layer}/A"][1:])
        shapes[f"{layer}/B"] = (*shapes[f"{layer}/B"][:1], ranks[layer])
    return {name: np.broadcast_to(np.zeros(1, adapter[name].dtype), shape) for name, shape in shapes.items()}


def ranks(adapter: Arrays) -> dict[str, int]:
    """Layer → r."""
    return {layer: len(adapter[f"{layer}/A"]) for layer in layers(adapter) if adapter[f"{layer}/A"].ndim}


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (average, ffa, exact)}
