"""Adam (arXiv:1412.6980) on mini-batches, for students of thousands of numbers; its gradients are PyTorch's.

An epoch is one pass of the rows with gradients, which is three evaluations of the budget (quantum/search.py). All
numbers of a student are one vector while it is trained: a step on it costs as much as on any of its parts. Adam's
moments do not outlive a visit: ten rounds of one epoch begin anew ten times, one round of ten epochs once.
P numbers.
"""

from collections.abc import Callable, Mapping
from math import isfinite, prod
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from data.streams import stream
from quantum.student import Arrays, Fit
from recipes.schema import EXACT_GRADIENT, OptimiserConfig
from recipes.section import RecipeError

Tensors = dict[str, Tensor]
Loss = Callable[[Tensors, Tensor], Tensor]  # arrays, numbers of the rows of a batch → mean loss of those rows, nats


def descend(
    loss: Loss,
    arrays: Arrays,
    rows: int,
    optimiser: OptimiserConfig,
    maxiter: int,
    *,
    proximal: float,
    seed: int,
    paces: Mapping[str, float] = MappingProxyType({}),
    steep: str = "optimiser.learning_rate",
) -> Fit:
    """Where the last step ends: minimises loss + μ/2·‖θ − θ_start‖², in single precision, in a new order each epoch.

    θ = θ_start + s·z, and Adam's steps are on z: an array named in `paces` learns at s times the rate, others at the
    rate. The losses are means over an epoch, of batches before their own steps; `seed` draws the orders.
    A loss that is no number is the recipe's: `steep` says which of its keys to lower.
    """
    start = packed(arrays)
    pace_P = packed({name: np.full(array.shape, paces.get(name, 1.0)) for name, array in arrays.items()})
    z_P = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([z_P], lr=optimiser.learning_rate, fused=True)
    draws, losses = stream(seed, "batches"), []
    epochs = maxiter // EXACT_GRADIENT
    for epoch in range(epochs):
        total = torch.zeros(())
        for batch in torch.split(torch.from_numpy(draws.permutation(rows)), optimiser.batch):
            adam.zero_grad()
            moved_P = pace_P * z_P
            value = loss(unpacked(start + moved_P, arrays), batch)
            if proximal:
                value = value + proximal / 2 * moved_P.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            adam.step()
            total += len(batch) * value.detach()
        losses.append(float(total) / rows)
        if not isfinite(losses[-1]):
            raise RecipeError(f"the loss is {losses[-1]} in epoch {epoch + 1} of a fit; lower {steep}")
    end_P = (start + pace_P * z_P).detach()
    found = {name: part.numpy().copy() for name, part in unpacked(end_P, arrays).items()}
    return Fit(found, tuple(losses), EXACT_GRADIENT * epochs, shots=0)


def packed(arrays: Arrays) -> Tensor:
    """All arrays as one vector, in their order."""
    return torch.from_numpy(np.concatenate([array.ravel() for array in arrays.values()]).astype(np.float32))


def unpacked(theta_P: Tensor, like: Arrays) -> Tensors:
    """The parts of a vector, with the names and shapes of `like`."""
    parts = torch.split(theta_P, [prod(array.shape) for array in like.values()])
    return {name: part.view(array.shape) for (name, array), part in zip(like.items(), parts, strict=True)}
