"""Classical networks whose weights a generator writes, by name; what is left after training is one of these.

The counts of `cnn` (6,690) and `vgg` (285,226) are those of Quantum-Train's public code, which has no activations.
A target has no buffers: running statistics are not written by anybody, so `resnet` normalises each image by itself. Nor
has it layers that draw numbers, or one parameter in two places.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from recipes.section import RecipeError

Shape = tuple[int, int, int]  # channels, height, width
GREY, COLOUR, DIGIT = (1, 28, 28), (3, 32, 32), (1, 8, 8)
CLASSES = 10
CHANCE = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d)  # the first is of every kind of Dropout


@dataclass(frozen=True)
class Target:
    """A network of 10 logits, and the images that it reads."""

    shape: Shape
    build: Callable[[], nn.Module]


def layered(channels: tuple[int, int], dense: tuple[int, ...], activation: type[nn.Module] | None = None) -> nn.Module:
    """Two convolutions 5×5 of a 28×28 image, each before a 2×2 maximum; then dense layers."""
    one, two = channels
    activations = [activation()] if activation else []
    layers: list[nn.Module] = [nn.Conv2d(1, one, 5), nn.MaxPool2d(2), *activations]
    layers += [nn.Conv2d(one, two, 5), nn.MaxPool2d(2), *activations, nn.Flatten()]
    widths = (16 * two, *dense)
    for width, wider in pairwise(widths):
        layers += [nn.Linear(width, wider), *activations]
    return nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))


def digits(channels: int, dense: tuple[int, ...]) -> nn.Module:
    """A convolution 3×3 of an 8×8 image, a 2×2 maximum, dense layers."""
    widths = (9 * channels, *dense, CLASSES)
    linear = [nn.Linear(width, wider) for width, wider in pairwise(widths)]
    return nn.Sequential(nn.Conv2d(1, channels, 3), nn.MaxPool2d(2), nn.Flatten(), *linear)


def vgg() -> nn.Module:
    """Quantum-Train's network for CIFAR-10."""
    convolutions = [nn.Conv2d(3, 16, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.MaxPool2d(2)]
    dense = [nn.Linear(32 * 8 * 8, 128), nn.Linear(128, 64), nn.Linear(64, CLASSES)]
    return nn.Sequential(*convolutions, nn.Flatten(), *dense)


class Residual(nn.Module):
    """y = x′ + f(x), f two normalised convolutions 3×3; x′ is x, or x halved in size through a convolution 1×1."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        stride = 1 if channels == out else 2
        self.inner = nn.Sequential(
            *(nn.GroupNorm(4, channels, affine=False), nn.ReLU(), nn.Conv2d(channels, out, 3, stride, 1, bias=False)),
            *(nn.GroupNorm(4, out, affine=False), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1, bias=False)),
        )
        self.beside = nn.Identity() if stride == 1 else nn.Conv2d(channels, out, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, out, H′, W′)"""
        aside: Tensor = self.beside(x)
        return aside + self.inner(x)  # type: ignore[no-any-return]


def resnet() -> nn.Module:
    """Seven convolutions in three residual blocks of 16, 32 and 64 channels (He et al. 2016, arXiv:1512.03385)."""
    blocks = [Residual(16, 16), Residual(16, 32), Residual(32, 64)]
    head = [nn.GroupNorm(4, 64, affine=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), *blocks, *head, nn.Linear(64, CLASSES))


def shapes(network: nn.Module, name: str) -> dict[str, tuple[int, ...]]:
    """Parameter → shape, in the order in which a generator writes; refuses a network that these do not determine."""
    for buffer, _ in network.named_buffers():
        raise RecipeError(
            f"target {name} has the buffer {buffer}, which no generator writes; use layers without running "
            f"statistics, such as GroupNorm"
        )
    for place, module in network.named_modules():
        if isinstance(module, CHANCE):
            raise RecipeError(
                f"target {name} has the layer {place}, a {type(module).__name__}: it draws numbers, so that the same "
                f"weights answer otherwise every time; leave it out"
            )
    first: dict[nn.Parameter, str] = {}
    for key, parameter in network.named_parameters(remove_duplicate=False):
        if first.setdefault(parameter, key) != key:
            raise RecipeError(
                f"target {name} has one parameter as {first[parameter]} and as {key}, and a generator writes every "
                f"weight once; give both layers parameters of their own"
            )
    return {key: tuple(parameter.shape) for key, parameter in network.named_parameters()}


def weights_of(name: str) -> int:
    """How many numbers a target has."""
    with torch.device("meta"):
        return sum(prod(shape) for shape in shapes(TARGETS[name].build(), name).values())


TARGETS: dict[str, Target] = {
    "cnn": Target(GREY, lambda: layered((8, 12), (20,))),
    "cnn-relu": Target(GREY, lambda: layered((8, 12), (20,), nn.ReLU)),
    "cnn-7": Target(GREY, lambda: layered((7, 12), (20,))),  # fewer channels …
    "cnn-6": Target(GREY, lambda: layered((6, 12), (20,))),
    "cnn-4": Target(GREY, lambda: layered((4, 12), (20,))),
    "cnn-shallow": Target(GREY, lambda: layered((8, 12), ())),  # … or another depth, beside `cnn`
    "cnn-deep": Target(GREY, lambda: layered((8, 12), (20, 20))),
    "cnn-deeper": Target(GREY, lambda: layered((8, 12), (20, 20, 20))),
    "cnn-small": Target(GREY, lambda: layered((4, 5), ())),
    "digits": Target(DIGIT, lambda: digits(16, (20,))),
    "digits-small": Target(DIGIT, lambda: digits(5, ())),
    "vgg": Target(COLOUR, vgg),
    "resnet": Target(GREY, resnet),
}

SMALL = {
    GREY: "cnn-small",
    DIGIT: "digits-small",
}  # about as many numbers as generate `cnn` and `digits` in our recipes
