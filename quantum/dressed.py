"""QD-LLM's student (arXiv:2505.13205): a circuit between two dense layers, over the columns of a frozen embedding.

    z = angles(xW/‖x‖ + b),  p = softmax(⟨Z⟩(z, θ)·V + c)

Such a circuit is "dressed" (Mari et al., Quantum 4, 340, 2020). Everything is trained together on exact gradients, of
the circuit's angles and of its inputs. The linear twin leaves the circuit out: p = softmax((xW/‖x‖ + b)·V + c), which
for two classes is a logistic regression, however many numbers it has.
B rows, D columns of the embedding, N qubits, P angles, K classes.
"""

from __future__ import annotations

from functools import cached_property
from math import pi, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from quantum.guidance import UNGUIDED, Guidance
from quantum.layered import layered, n_effective, n_weights
from quantum.readout import SHARPNESS, Floats, bit, softmax
from quantum.student import Arrays, Fit, rows_of
from recipes.schema import EXACT_GRADIENT, OptimiserConfig, StudentConfig

if TYPE_CHECKING:
    from torch import Tensor

    from quantum.ansatz import Ansatz
    from quantum.engine import Engine
    from quantum.executor import Executor

AT_ONCE = 512  # rows that are predicted together; their states of 11 qubits take 8 MB
WIDE = 10.0  # to which the original stretches a row


class Dressed:
    """Two dense layers, and between them the circuit or, in its twin, nothing."""

    def __init__(self, config: StudentConfig, n_classes: int, features: int, *, circuit: bool) -> None:
        self.name: str = config.kind if circuit else "linear twin"
        self.config, self.n_classes, self.features, self.circuit = config, n_classes, features, circuit
        n = config.qubits
        self.shapes: dict[str, tuple[int, ...]] = {"W": (features, n), "b": (n,)}
        self.shapes |= {"theta": (n_weights(n, config.reps),)} if circuit else {}
        self.shapes |= {"V": (n, n_classes), "c": (n_classes,)} if config.readout == "dense" else {}
        self.parameters = sum(map(prod, self.shapes.values()))

    @property
    def effective(self) -> int:
        """How many of the numbers can tell, a rank: of V and c differences between classes, of θ what ⟨Z⟩ sees."""
        n, k, dense = self.config.qubits, self.n_classes, self.config.readout == "dense"
        if not self.circuit:
            rank = min(n, k - 1)  # of (xW + b)·V; c adds to b·V what it has already
            return (self.features + k - rank) * rank
        angles = n_effective(n, self.config.reps)
        if self.config.reps == 1 and dense:
            angles = 0  # its sums of RY scale ⟨Z⟩, as V does
        erased = self.features + 2 if self.config.angles == "minmax" else 0  # a shift of all qubits alike, and a scale
        return (self.features + 1) * n - erased + angles + dense * (n + 1) * (k - 1)

    @cached_property
    def ansatz(self) -> Ansatz:
        """The circuit; qiskit is first needed here."""
        return layered(self.config.qubits, self.config.reps, self.config.entanglement)

    @cached_property
    def engine(self) -> Engine:
        """Torch is first needed here."""
        from quantum.engine import Engine

        return Engine(self.ansatz)

    @property
    def periods(self) -> Arrays:
        """How far each angle turns until all probabilities repeat."""
        return {"theta": np.array(self.ansatz.periods)} if self.circuit else {}

    def initial(self, seed: int) -> Arrays:
        """W, V ~ N(0, 1/fan-in), b = c = 0, θ ~ N(0, 0.1²): rotations near the identity."""
        rng = stream(seed, "student" if self.circuit else "twin")
        spread = {"W": self.features**-0.5, "V": self.config.qubits**-0.5, "theta": 0.1, "b": 0.0, "c": 0.0}
        return {name: rng.normal(0, spread[name], shape).astype(np.float32) for name, shape in self.shapes.items()}

    def predict(self, arrays: Arrays, x: NDArray[Any], *, executor: Executor | None = None) -> Floats:
        """(B, K) class probabilities."""
        import torch

        held, rows = self._tensors(arrays), self._rows(x)
        with torch.no_grad():  # the engine keeps tensors that a fit goes on with
            parts = [rows[i : i + AT_ONCE] for i in range(0, len(rows), AT_ONCE)]
            logits = torch.cat([self._logits(part, held, executor) for part in parts])
        return softmax(logits.double().numpy())

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
        """On mini-batches of all rows, with a label or without; there are no gradients but exact ones."""
        import torch

        from quantum.minibatch import Tensors, descend

        if executor is not None:
            raise ValueError(f"student {self.name} is trained on exact gradients, not on executor {executor.name}")
        rows = self._rows(x)
        self._tensors(arrays)  # or what is wrong with them

        def loss(now: Tensors, batch: Tensor) -> Tensor:
            log_p = torch.log_softmax(self._logits(rows[batch], now), 1)
            value, slope_BK = guidance.of(np.exp(log_p.detach().double().numpy()), labels, batch.numpy())
            linear = (log_p * torch.from_numpy(slope_BK)).sum()  # has the loss's slope, and then its value
            return linear + (value - linear.detach())

        ordered = {name: arrays[name] for name in self.shapes}
        return descend(loss, ordered, len(rows), optimiser, maxiter, proximal=guidance.proximal, seed=seed)

    def angles(self, arrays: Arrays, x: NDArray[Any]) -> Floats:
        """(B, N) z, what the circuit takes of every row."""
        held = self._tensors(arrays)
        return turned(self._rows(x) @ held["W"] + held["b"], self.config.angles).double().numpy()

    def answer(self, arrays: Arrays, read_BN: NDArray[Any]) -> Floats:
        """(B, K) class probabilities of ⟨Z⟩ that something else has measured."""
        import torch

        read = torch.from_numpy(np.asarray(read_BN, np.float32))
        return softmax(self._out(read, self._tensors(arrays)).double().numpy())

    def out(self, arrays: Arrays) -> tuple[Floats, Floats]:
        """(N, K) weights and (K,) bias that make logits of the ⟨Z⟩ of its qubits."""
        import torch

        held, every = self._tensors(arrays), torch.eye(self.config.qubits)
        bias = self._out(torch.zeros_like(every[:1]), held)
        return (self._out(every, held) - bias).double().numpy(), bias[0].double().numpy()

    def step(self, optimiser: OptimiserConfig) -> int:
        """The least budget that moves it: an epoch."""
        return EXACT_GRADIENT

    def _logits(self, x_BD: Tensor, held: dict[str, Tensor], executor: Executor | None = None) -> Tensor:
        """(B, K)"""
        read_BN = inner = x_BD @ held["W"] + held["b"]
        if self.circuit:
            z_BN = turned(inner, self.config.angles)
            read_BN = self._expected(z_BN, held["theta"], executor).to(inner.dtype)
        return self._out(read_BN, held)

    def _out(self, read_BN: Tensor, held: dict[str, Tensor]) -> Tensor:
        """(B, K)"""
        if self.config.readout == "dense":
            return read_BN @ held["V"] + held["c"]
        return read_BN @ shared_out(self.config.qubits, self.n_classes).to(read_BN.dtype)

    def _expected(self, z_BN: Tensor, theta_P: Tensor, executor: Executor | None) -> Tensor:
        """(B, N) ⟨Z⟩ of every qubit."""
        if executor is None:
            return self.engine.expectations(z_BN, theta_P)
        import torch

        n = self.config.qubits
        rows = self.ansatz.rows(z_BN.double().numpy(), theta_P.double().numpy()[None])
        probs_BD = executor.probabilities(self.ansatz.circuit, rows)
        return torch.from_numpy(probs_BD @ np.stack([1.0 - 2 * bit(n, qubit) for qubit in range(n)], axis=1))

    def _rows(self, x: NDArray[Any]) -> Tensor:
        """(B, D) of length 1, as a sentence encoder's are: of scaled hidden states z would turn by whole circles."""
        import torch

        rows = rows_of(self, x)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.from_numpy((rows / np.where(lengths > 0, lengths, 1)).astype(np.float32))

    def _tensors(self, arrays: Arrays) -> dict[str, Tensor]:
        import torch

        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != self.shapes:
            raise ValueError(f"arrays are {shapes}; student {self.name} takes {self.shapes}")
        return {name: torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in self.shapes}


def turned(inner_BN: Tensor, angles: str) -> Tensor:
    """z, the angles of RX: ⟨Z⟩ = cos z before the layers.

    shifted  z = a + π/2, around where ⟨Z⟩ is steepest
    tanh     z = π·(1 + tanh a)/2, between 0 and π
    minmax   z = 10·(a − min)/(max − min) of a row, the original: it loses the row's own scale and place

    Topics, 2 layers, labels alone, one seed: .890, .883 and .424 at a rate of 0.003, the last .816 at the paper's 0.06.
    """
    if angles == "shifted":
        return inner_BN + pi / 2
    if angles == "tanh":
        return pi / 2 * (1 + inner_BN.tanh())
    low, high = inner_BN.amin(1, keepdim=True), inner_BN.amax(1, keepdim=True)
    return WIDE * (inner_BN - low) / (high - low).clamp(min=1e-6)


def shared_out(qubits: int, n_classes: int) -> Tensor:
    """(N, K) that is not trained: the qubits are dealt to the classes in turn; a logit is s times their mean ⟨Z⟩."""
    import torch

    dealt_NK = torch.eye(n_classes)[torch.arange(qubits) % n_classes]
    return SHARPNESS * dealt_NK / dealt_NK.sum(0)
