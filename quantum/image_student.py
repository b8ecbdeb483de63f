"""Students that are classical networks of images, whose weights are written by a generator or are trained themselves.

B rows, K classes, M weights of a target.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from data.streams import stream
from quantum.generator import SOURCES, Circuit, Generator
from quantum.guidance import UNGUIDED, Guidance
from quantum.minibatch import Tensors, descend
from quantum.optimise import fewest
from quantum.student import Arrays, Fit
from quantum.targets import CLASSES, SMALL, TARGETS, shapes, weights_of
from recipes.schema import GeneratorConfig, OptimiserConfig
from recipes.section import RecipeError

if TYPE_CHECKING:
    from quantum.executor import Executor

AT_ONCE = 1000  # rows of a prediction


class Writer(Protocol):
    """What the arrays that travel say of a target's weights."""

    sizes: dict[str, int]

    def initial(self, seed: int) -> Arrays:
        """What round 1 starts from."""
        ...

    def weights(self, arrays: Tensors) -> Tensor:
        """At least the target's M."""
        ...


class Itself:
    """The weights themselves travel: federated averaging of the network."""

    def __init__(self, target: str) -> None:
        self.target, self.sizes = target, {"weights": weights_of(target)}

    def initial(self, seed: int) -> Arrays:
        """As PyTorch initialises its layers."""
        with torch.random.fork_rng():
            torch.manual_seed(int(stream(seed, "student").integers(2**31)))
            network = TARGETS[self.target].build()
        return {"weights": torch.nn.utils.parameters_to_vector(network.parameters()).detach().numpy()}

    def weights(self, arrays: Tensors) -> Tensor:
        """(M,)"""
        return arrays["weights"]


class ImageStudent:
    """p = softmax(f(x; w)), f a target of quantum/targets.py and w its weights."""

    def __init__(self, config: GeneratorConfig, n_classes: int, client: int = 0) -> None:
        names = config.named()
        self.config = config
        self.target: str = config.targets[client] if config.targets else config.target
        if config.by == "small":
            self.target = small(config.target)
        self.shape = TARGETS[self.target].shape
        if strange := [name for name in names if TARGETS[name].shape != self.shape]:
            raise RecipeError(f"targets {self.target} and {strange[0]} read images of different shapes: use one shape")
        if n_classes != CLASSES:
            raise RecipeError(f"target {self.target} tells {CLASSES} classes apart, the corpus has {n_classes}")
        direct = config.by in ("small", "full")
        self.writer: Writer = Itself(self.target) if direct else Generator(config, max(map(weights_of, names)))
        self.name = f"{config.by} {self.target}"
        self.features, self.parameters = prod(self.shape), sum(self.writer.sizes.values())
        self.size = weights_of(self.target)

    @property
    def periods(self) -> Arrays:
        """Of the angles of a circuit; nothing else turns."""
        source = getattr(self.writer, "source", None)
        return {"beta": np.array(source.engine.ansatz.periods)} if isinstance(source, Circuit) else {}

    @cached_property
    def network(self) -> torch.nn.Module:
        """The target without weights of its own; also a fit sees it as a prediction does."""
        with torch.device("meta"):
            return TARGETS[self.target].build().eval()

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes(self.network, self.target)

    def initial(self, seed: int) -> Arrays:
        """What round 1 starts from."""
        return self.writer.initial(seed)

    def state(self, weights: Tensor) -> Tensors:
        """The first M numbers as the target's parameters."""
        parts = torch.split(weights[: self.size], [prod(shape) for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def trained(self, arrays: Arrays, executor: Executor | None = None) -> Tensors:
        """The target's parameters as the arrays that travel write them."""
        with torch.no_grad():
            return self.state(self.weights(self._checked(arrays), executor))

    def weights(self, tensors: Tensors, executor: Executor | None = None) -> Tensor:
        """At least the target's, with a circuit on an executor or exact."""
        if executor is None or not isinstance(self.writer, Generator):
            return self.writer.weights(tensors)
        return self.writer.noisy(tensors, executor)

    def predict(self, arrays: Arrays, x: NDArray[Any], *, executor: Executor | None = None) -> NDArray[np.float64]:
        """(B, K) class probabilities of (B, channels, height, width) pixels from 0 to 255."""
        state = self.trained(arrays, executor)
        with torch.no_grad():
            logits = [self._logits(state, part) for part in torch.split(self._images(x), AT_ONCE)]
            return np.asarray(torch.softmax(torch.cat(logits).double(), 1).numpy())

    def fit(
        self,
        arrays: Arrays,
        x: NDArray[Any],
        labels: NDArray[Any],
        optimiser: OptimiserConfig,
        maxiter: int,
        *,
        guidance: Guidance = UNGUIDED,
        seed: int = 0,
        executor: Executor | None = None,
    ) -> Fit:
        """Cross-entropy on mini-batches; every step writes the weights anew, and runs the circuit for it."""
        images, classes = self._images(x), torch.from_numpy(np.asarray(labels, dtype=np.int64))
        self._checked(arrays)

        def loss(tensors: Tensors, rows: Tensor) -> Tensor:
            state = self.state(self.weights(tensors, executor))
            return cross_entropy(self._logits(state, images.index_select(0, rows)), classes.index_select(0, rows))

        paces, mu = {"beta": self.config.pace}, guidance.proximal
        steep = "optimiser.learning_rate" + " or student.generator.gain" * isinstance(self.writer, Generator)
        fit = descend(loss, arrays, len(images), optimiser, maxiter, proximal=mu, seed=seed, paces=paces, steep=steep)
        steps = len(fit.losses) * ceil(len(images) / optimiser.batch)
        return replace(fit, shots=steps * (executor.shots or 0)) if executor else fit

    def step(self, optimiser: OptimiserConfig) -> int:
        """The least maxiter with which the optimiser moves it."""
        return fewest(optimiser, 0)

    def _logits(self, state: Tensors, images: Tensor) -> Tensor:
        """(B, K)"""
        laid = {name: channels_last(part) if part.dim() == 4 else part for name, part in state.items()}
        return functional_call(self.network, laid, (images,))  # type: ignore[no-any-return]

    def _images(self, x: NDArray[Any]) -> Tensor:
        """(B, …) from 0 to 1."""
        if x.shape[1:] != self.shape or not len(x):
            raise ValueError(f"rows have shape {x.shape}; target {self.target} takes images of {self.shape}")
        return torch.from_numpy(x).float() / 255

    def _checked(self, arrays: Arrays) -> Tensors:
        found = {name: array.shape for name, array in arrays.items()}
        if found != (wanted := {name: (size,) for name, size in self.writer.sizes.items()}):
            raise ValueError(f"arrays are {found}; student {self.name} takes {wanted}")
        return {name: torch.from_numpy(array).float() for name, array in arrays.items()}


def channels_last(weight: Tensor) -> Tensor:
    """A convolution's weights with the channels innermost in memory, which makes its outputs so: PyTorch's maximum over
    2×2 is then several times as fast. Its own `channels_last` leaves the strides of a single channel as they are.
    """
    out, channels, height, width = weight.shape
    inner = weight.permute(0, 2, 3, 1).reshape(-1).view(out, height, width, channels)
    return inner.permute(0, 3, 1, 2)


def check(config: GeneratorConfig, shape: tuple[int, ...], at_once: int = 1) -> None:
    """Refuse, before anything is trained, targets of other images, and circuits without effect or beyond memory."""
    for name in config.named():
        if TARGETS[name].shape != shape:
            fitting = ", ".join(key for key, one in TARGETS.items() if one.shape == shape)
            raise RecipeError(
                f"student.generator: target {name} reads images of {shown(TARGETS[name].shape)}, the corpus has "
                f"{shown(shape)}: use {fitting}"
            )
    most = max(map(weights_of, config.named()))  # which refuses buffers
    if config.by in SOURCES:
        generator = Generator(config, most)
        if generator.states < 2:  # whose one feature less its mean is 0
            raise RecipeError(
                f"student.generator.chunk is {config.chunk}; one basis state then writes all {most} weights, and what "
                f"it learns has no effect: use a chunk of at most {most - 1}"
            )
        if isinstance(generator.source, Circuit):
            generator.source.engine.check_memory(1)
        free, whole = psutil.virtual_memory().available // 2, generator.needed * at_once
        if whole > free:
            beside = f" for {at_once} clients at once" if at_once > 1 else ""
            remedy = "smaller widths" if generator.sizes["gamma"] > generator.states else "a larger chunk"
            raise RecipeError(
                f"student.generator needs {whole / 2**30:.1f} GiB to write {most:,} weights{beside}, above "
                f"{free / 2**30:.1f} GiB, half of what is free: use {remedy} or a smaller target"
            )


def shown(shape: tuple[int, ...]) -> str:
    """1×28×28"""
    return "×".join(map(str, shape))


def small(target: str) -> str:
    """The plain network that is trained in place of a generated one, of about as many numbers as the generator."""
    shape = TARGETS[target].shape
    if shape not in SMALL:
        raise RecipeError(f"there is no small network for images of {shape}; use by: full, hash or low-rank")
    return SMALL[shape]
