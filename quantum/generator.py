"""QFed's generator (arXiv:2601.09809): a circuit (β) and a mapping network (γ) write the M weights of a classical one.

n = ⌈log2⌈M/c⌉⌉ qubits, c weights a basis state (`chunk`, arXiv:2409.02763). Basis state i, of probability p_i, becomes
n + 1 features: its bits as ±1, and g times x_i = (0.8·tanh(0.1·2^(n−1)·p_i))^0.3 less the mean of all x. The mapping
network maps them to c outputs; all outputs less their mean, in order, are the weights. All of this is the public
notebook's but for the activation, of which it has none and the paper's text tanh, and the gain g, which is 1 there: x
then spreads by a tenth of what a bit does, and is learned late. How training differs is in
recipes/qfed-central-paper.yaml.

In place of the circuit, classical controls give x_i out of as many numbers: `hash` (Chen et al. 2015, arXiv:1504.04788)
reads number h(i) for a fixed random h, or several where states are few; `low-rank` is a sum of products over three
parts of i.
M weights, S basis states that write them, N qubits, P numbers of β, G of γ.
"""

from __future__ import annotations

from functools import cache, cached_property
from itertools import pairwise
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from data.streams import stream
from quantum.minibatch import Tensors
from quantum.student import Arrays
from recipes.schema import GeneratorConfig

if TYPE_CHECKING:
    from quantum.engine import Engine
    from quantum.executor import Executor

SCALE, STEEPNESS, ROOT = 0.8, 0.1, 0.3
SMALLEST = 1e-12  # a probability below it has no slope: p^0.3 is vertical at 0
SMALLER = "raise student.generator.chunk or choose a smaller target"  # where a circuit does not fit into memory
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class Source(Protocol):
    """Where the one learned feature of a basis state comes from."""

    parameters: int

    def initial(self, draws: np.random.Generator) -> NDArray[Any]:
        """(P,)"""
        ...

    def features(self, beta_P: Tensor) -> Tensor:
        """(S,) before their mean is taken off."""
        ...


class Generator:
    """β, γ → the weights of a target."""

    def __init__(
        self, config: GeneratorConfig, most: int, kernel: Literal["auto", "torch", "compiled"] = "auto"
    ) -> None:
        self.config, self.most = config, most  # weights of the largest target
        self.states = ceil(most / config.chunk)
        self.qubits = max(2, (self.states - 1).bit_length())
        self.source: Source = SOURCES[config.by](self, kernel)
        self.widths = (self.qubits + 1, *config.widths, config.chunk)
        gamma = sum((width + 1) * wider for width, wider in pairwise(self.widths))
        self.sizes = {"beta": self.source.parameters, "gamma": gamma}

    @cached_property
    def _bits(self) -> Tensor:
        states, bits = np.arange(self.states), np.empty((self.states, self.qubits), np.float32)
        for qubit in range(self.qubits):  # one by one, as whole numbers take twice the memory
            bits[:, qubit] = 2 * (states >> qubit & 1) - 1
        return torch.from_numpy(bits)

    @property
    def needed(self) -> int:
        """Bytes of a step of training, but for the circuit's states and the target: what each layer says of every basis
        state with its slope, and four of each number that is learned, with its slope and Adam's two moments.
        """
        wide = self.config.chunk if self.config.activation == "none" else sum(self.widths[1:])
        numbers: int = self.states * (self.qubits + 2 * wide) + 4 * sum(self.sizes.values())
        return 4 * numbers  # in float32

    def initial(self, seed: int) -> Arrays:
        """β as its source begins; γ ~ U(−1/√fan-in, 1/√fan-in), weights and biases, as PyTorch's linear layers do."""
        draws = stream(seed, "student")
        beta = self.source.initial(draws)
        gamma = [
            draws.uniform(-(width**-0.5), width**-0.5, (width + 1) * wider) for width, wider in pairwise(self.widths)
        ]
        return {"beta": beta.astype(np.float32), "gamma": np.concatenate(gamma).astype(np.float32)}

    def weights(self, arrays: Tensors) -> Tensor:
        """(most,)"""
        return self.written(self.source.features(arrays["beta"]), arrays["gamma"])

    def noisy(self, arrays: Tensors, executor: Executor) -> Tensor:
        """The same out of what an executor sees of the circuit; slopes are those of the exact probabilities."""
        circuit, beta_P = self.source, arrays["beta"]
        if not isinstance(circuit, Circuit):
            return self.weights(arrays)
        exact_D = circuit.probabilities(beta_P)
        seen_D = torch.from_numpy(circuit.seen(beta_P.detach().numpy(), executor)).to(exact_D)
        return self.written(circuit.sharpened(exact_D + (seen_D - exact_D).detach()), arrays["gamma"])

    def written(self, x_S: Tensor, gamma_G: Tensor) -> Tensor:
        """(most,) weights out of the learned feature of each basis state."""
        layers = self._layers(gamma_G)
        x = self.config.gain * (x_S - x_S.mean())
        if self.config.activation == "none":
            layers = [_joined(layers)]
        (first, bias), *rest = layers
        # the bits never change, so no column is put beside them
        h = torch.addmm(bias, self._bits, first[:, :-1].T) + x[:, None] * first[:, -1]
        for W, b in rest:
            h = linear(ACTIVATIONS[self.config.activation](h), W, b)
        out = h.reshape(-1)[: self.most]
        return out - out.mean()

    def _layers(self, gamma_G: Tensor) -> list[tuple[Tensor, Tensor]]:
        """W and b of each layer."""
        shapes = [shape for width, wider in pairwise(self.widths) for shape in ((wider, width), (wider,))]
        parts = torch.split(gamma_G, [prod(shape) for shape in shapes])
        views = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        return list(zip(views[::2], views[1::2], strict=True))


def _joined(layers: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Linear layers as one affine map, from the end, where they are narrowest."""
    W, b = layers[-1]
    for before, bias in reversed(layers[:-1]):
        W, b = W @ before, torch.mv(W, bias) + b
    return W, b


class Circuit:
    """x_i from the probability of basis state i of a ring."""

    def __init__(self, generator: Generator, kernel: Literal["auto", "torch", "compiled"]) -> None:
        self.qubits, self.blocks, self.kernel = generator.qubits, generator.config.blocks, kernel
        self.states, self.spread = generator.states, generator.config.spread
        self.parameters = 6 * self.qubits * self.blocks

    @property
    def engine(self) -> Engine:
        """Its exact gradients."""
        return _engine(self.qubits, self.blocks, self.kernel)

    def initial(self, draws: np.random.Generator) -> NDArray[Any]:
        """β ~ U(−spread, spread)"""
        return np.asarray(draws.uniform(-self.spread, self.spread, self.parameters))

    def features(self, beta_P: Tensor) -> Tensor:
        """(S,)"""
        return self.sharpened(self.probabilities(beta_P))

    def probabilities(self, beta_P: Tensor) -> Tensor:
        """(D,) exact."""
        return self.engine.probabilities(torch.zeros(1, 0), beta_P)[0]

    def seen(self, beta_P: NDArray[Any], executor: Executor) -> NDArray[np.float64]:
        """(D,) by an executor."""
        ansatz = self.engine.ansatz
        place = {weight: i for i, weight in enumerate(ansatz.weights)}
        row = beta_P[[place[parameter] for parameter in ansatz.circuit.parameters]]
        probs_D: NDArray[np.float64] = executor.probabilities(ansatz.circuit, row[None].astype(np.float64))[0]
        return probs_D

    def sharpened(self, probs_D: Tensor) -> Tensor:
        """(0.8·tanh(0.1·2^(n−1)·p))^0.3 of the basis states that write weights."""
        p_S = probs_D[: self.states].clamp_min(SMALLEST)
        return (SCALE * torch.tanh(STEEPNESS * 2 ** (self.qubits - 1) * p_S)) ** ROOT


@cache  # of all clients in a process
def _engine(qubits: int, blocks: int, kernel: Literal["auto", "torch", "compiled"]) -> Engine:
    """qiskit is first needed here."""
    from quantum.engine import Engine
    from quantum.ring import ring

    return Engine(ring(qubits, blocks), kernel=kernel, smaller=SMALLER)


class Hash:
    """x_i = latents[h(i)], h uniform and fixed: the same numbers, at random places.

    Fewer states than latents read several each: x_i = Σ latents / √k over the k latents p with h(p) = i, none of which
    is in two states or in none. As many numbers are learned, though no more than S of them are free, as of the circuit.
    """

    def __init__(self, generator: Generator, kernel: str) -> None:
        self.parameters = 6 * generator.qubits * generator.config.blocks
        self.states = generator.states

    @cached_property
    def _places(self) -> Tensor:
        """h: a part of the architecture, the same for every seed, client and server."""
        draws = stream(0, "hash")
        if self.states < self.parameters:
            return torch.from_numpy(draws.permutation(self.parameters) % self.states)
        return torch.from_numpy(draws.integers(self.parameters, size=self.states))

    def initial(self, draws: np.random.Generator) -> NDArray[Any]:
        """N(0, 0.1²), about the spread that the circuit's features have."""
        return np.asarray(draws.normal(0, 0.1, self.parameters))

    def features(self, beta_P: Tensor) -> Tensor:
        """(S,)"""
        if self.states < self.parameters:
            together_S = torch.bincount(self._places, minlength=self.states)
            return beta_P.new_zeros(self.states).index_add(0, self._places, beta_P) / together_S.sqrt()
        return beta_P.index_select(0, self._places)


class LowRank:
    """x_i = Σ_r A_r[a]·B_r[b]·C_r[c], i read as three numbers a, b, c of about n/3 bits each."""

    def __init__(self, generator: Generator, kernel: str) -> None:
        n, self.states = generator.qubits, generator.states
        b, c = 2 ** ((n + 1) // 3), 2 ** (n // 3)
        self.sizes = [ceil(self.states / (b * c)), b, c]
        self.rank = max(1, round(6 * n * generator.config.blocks / sum(self.sizes)))
        self.parameters = self.rank * sum(self.sizes)

    def initial(self, draws: np.random.Generator) -> NDArray[Any]:
        """Such that x has standard deviation 0.1."""
        return np.asarray(draws.normal(0, (0.1 / self.rank**0.5) ** (1 / 3), self.parameters))

    def features(self, beta_P: Tensor) -> Tensor:
        """(S,)"""
        A, B, C = (part.view(self.rank, -1) for part in torch.split(beta_P, [self.rank * size for size in self.sizes]))
        return torch.einsum("ra,rb,rc->abc", A, B, C).reshape(-1)[: self.states]


SOURCES: dict[str, Any] = {"circuit": Circuit, "hash": Hash, "low-rank": LowRank}
