"""The exact engine for training: an ansatz batched over rows, with gradients of weights and of inputs.

    engine = Engine(ansatz)                        # complex64 on this machine's CPU; device="cuda" as well
    p_BD = engine.probabilities(x_BN, theta_P)     # autograd to x and theta
    z_BQ = engine.expectations(x_BN, theta_P)      # ⟨Z_q⟩ of the ansatz's read-out qubits

A fit whose features do not change encodes them once: `engine.expectations(engine.encode(x_BN), theta_P)`.
B rows, N inputs, P weights, Q read-outs, D = 2^n basis states.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from quantum.plan import Plan, plan
from quantum.tensors import TorchProgram
from recipes.schema import RecipeError

if TYPE_CHECKING:
    from quantum.ansatz import Ansatz

WORKING = 4  # states at once, besides those kept
DTYPES = {"single": torch.complex64, "double": torch.complex128}


@dataclass(frozen=True)
class Encoded:
    """States after the gates that depend on inputs; only the engine that made them can go on from them."""

    states_DB: Tensor
    maker: Engine


class Engine:
    """An ansatz compiled for training."""

    def __init__(
        self,
        ansatz: Ansatz,
        *,
        precision: Literal["single", "double"] = "single",
        device: str | torch.device = "cpu",
        kernel: Literal["auto", "torch", "compiled"] = "auto",
    ) -> None:
        self.ansatz, self.dtype, self.device = ansatz, DTYPES[precision], torch.device(device)
        self.n_qubits = ansatz.circuit.num_qubits
        self.readout = getattr(ansatz, "readout", ()) or tuple(range(self.n_qubits))
        self.backend = "torch"

    def probabilities(self, rows: Tensor | Encoded, theta_P: Tensor) -> Tensor:
        """(B, D) |amplitude|², qubit 0 the lowest bit of a basis state's number."""
        probs_DB, places = self._run(rows, theta_P)
        return probs_DB.index_select(0, torch.from_numpy(places).to(self.device)).T

    def expectations(self, rows: Tensor | Encoded, theta_P: Tensor) -> Tensor:
        """(B, Q) ⟨Z_q⟩"""
        probs_DB, places = self._run(rows, theta_P)
        basis = np.argsort(places)
        signs = np.array([1 - 2 * (basis >> qubit & 1) for qubit in self.readout])
        return probs_DB.T @ torch.from_numpy(signs.T).to(probs_DB)

    def encode(self, x_BN: Tensor) -> Encoded:
        """The states that every evaluation of a fit starts from."""
        x, theta = self._checked(x_BN, None)
        states = self._encoding.run(self._encoding.start(x, theta), x, theta, keep=True)
        places = torch.from_numpy(self._encoding.places(len(x))).to(self.device)
        return Encoded(states.index_select(0, places), self)

    def _run(self, rows: Tensor | Encoded, theta_P: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
        """(D, B) probabilities, and the place of each basis state in them."""
        if isinstance(rows, Encoded):
            x, theta = self._checked(theta_P.new_empty(rows.states_DB.shape[1], len(self.ansatz.inputs)), theta_P)
            program, start = self._learned, rows.states_DB
        else:
            x, theta = self._checked(rows, theta_P)
            program, start = self._program, self._program.start(x, theta)
        keep = self._needed(len(x), program.passes) < self._memory
        states = program.run(start, x, theta, keep=keep)
        return torch.view_as_real(states).square().sum(-1), program.places(len(x))

    def _checked(self, x_BN: Tensor, theta_P: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows and weights in float64 on the engine's device, or what is wrong with them."""
        n, p = len(self.ansatz.inputs), len(self.ansatz.weights)
        if x_BN.ndim != 2 or x_BN.shape[1] != n:
            raise ValueError(f"rows have shape {tuple(x_BN.shape)}; the ansatz takes (rows, {n}), a column an input")
        if not len(x_BN):
            raise ValueError("no rows, so the circuit has nothing to run")
        theta = torch.zeros(p) if theta_P is None else theta_P
        if theta.shape != (p,):
            raise ValueError(f"weights have shape {tuple(theta.shape)}; the ansatz takes ({p},)")
        needed = self._needed(len(x_BN), 0)
        if needed > self._memory:
            raise RecipeError(
                f"{len(x_BN)} rows of {self.n_qubits} qubits need {needed / 2**30:.1f} GiB as exact states, above "
                f"{self._memory / 2**30:.1f} GiB; use fewer qubits (student.qubits) or fewer rows at once"
            )
        return x_BN.to(self.device, torch.float64), theta.to(self.device, torch.float64)

    def _needed(self, n_rows: int, kept: int) -> int:
        """Bytes of the states of a batch: those kept for backward, and four to work with."""
        return (kept + WORKING) * n_rows * 2**self.n_qubits * self.dtype.itemsize

    @cached_property
    def _memory(self) -> int:
        """Bytes that states may take: half of what is free on the device."""
        return available(self.device) // 2

    @cached_property
    def _program(self) -> TorchProgram:
        a = self.ansatz
        return self._compiled(plan(a.circuit.data, a.circuit, a.inputs, a.weights))

    @cached_property
    def _encoding(self) -> TorchProgram:
        a = self.ansatz
        return self._compiled(plan(a.encoding, a.circuit, a.inputs, a.weights, to_readout=False))

    @cached_property
    def _learned(self) -> TorchProgram:
        a = self.ansatz
        return self._compiled(plan(a.learned, a.circuit, a.inputs, a.weights, from_zero=False))

    def _compiled(self, made: Plan) -> TorchProgram:
        return TorchProgram(made, self.dtype, self.device)


def available(device: torch.device) -> int:
    """Bytes of memory that are free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
