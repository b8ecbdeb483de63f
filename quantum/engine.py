"""The exact engine for training: an ansatz batched over rows, with gradients of weights and of inputs.

    engine = Engine(ansatz)                        # complex64 on this machine's CPU; device="cuda" as well
    p_BD = engine.probabilities(x_BN, theta_P)     # autograd to x and theta
    z_BQ = engine.expectations(x_BN, theta_P)      # ⟨Z_q⟩ of the ansatz's read-out qubits

A fit whose features do not change encodes them once: `engine.expectations(engine.encode(x_BN), theta_P)`.
B rows, N inputs, P weights, Q read-outs, D = 2^n basis states.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.corpus import DataError
from quantum.build import CompilerError, library
from quantum.compiled import CompiledProgram
from quantum.passes import Squared
from quantum.plan import Plan, plan
from quantum.tensors import TorchProgram
from recipes.section import RecipeError

if TYPE_CHECKING:
    from quantum.ansatz import Ansatz

WORKING = 4  # states at once, besides those kept
DTYPES = {"single": torch.complex64, "double": torch.complex128}


@dataclass(frozen=True)
class Encoded:
    """States after the gates that depend on inputs; only the engine that made them can go on from them."""

    states: Tensor  # (D, B)
    rows: Tensor  # (B, N), for gates that read them again
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
        smaller: str = "use fewer qubits (student.qubits) or fewer rows at once",
    ) -> None:
        """`smaller` is what to do where states do not fit into memory."""
        self.smaller = smaller
        self.ansatz, self.dtype, self.device = ansatz, DTYPES[precision], torch.device(device)
        self.n_qubits: int = ansatz.circuit.num_qubits
        if self.device.type == "cpu":
            keep_freed_memory()
        self._signs: dict[int, Tensor] = {}  # of each order of probabilities that a program keeps
        self.backend, self._kernel = self._chosen(kernel, precision)

    def probabilities(self, rows: Tensor | Encoded, theta_P: Tensor) -> Tensor:
        """(B, D) |amplitude|², qubit 0 the lowest bit of a basis state's number."""
        probs_DB, places = self._run(rows, theta_P)
        return probs_DB.index_select(0, torch.from_numpy(places).to(self.device)).T

    def expectations(self, rows: Tensor | Encoded, theta_P: Tensor) -> Tensor:
        """(B, Q) ⟨Z_q⟩"""
        probs_DB, places = self._run(rows, theta_P)
        if id(places) not in self._signs:
            basis = np.argsort(places)
            signs = np.array([1 - 2 * (basis >> qubit & 1) for qubit in self.ansatz.read])
            self._signs[id(places)] = torch.from_numpy(signs.T).to(probs_DB)
        return probs_DB.T @ self._signs[id(places)]

    def check_memory(self, n_rows: int) -> None:
        """Refuse a batch whose states do not fit."""
        needed = self._needed(n_rows, 0)
        if needed > self._memory:
            raise RecipeError(
                f"{n_rows} rows of {self.n_qubits} qubits need {needed / 2**30:.1f} GiB as exact states, above "
                f"{self._memory / 2**30:.1f} GiB; {self.smaller}"
            )

    def encode(self, x_BN: Tensor) -> Encoded:
        """The states that every evaluation of a fit starts from."""
        x, theta = self._checked(x_BN, None)
        states = self._encoding.run(self._encoding.start(x, theta), x, theta, keep=True)
        places = torch.from_numpy(self._encoding.places(len(x))).to(self.device)
        return Encoded(states.index_select(0, places), x, self)

    def _chosen(self, kernel: str, precision: str) -> tuple[str, str | None]:
        """The backend's name, and the compiled kernel's precision if it is the one."""
        if kernel != "torch" and self.device.type != "cpu":
            reason = f"the compiled kernel runs on the CPU, not on {self.device}"
        elif kernel != "torch":
            try:
                library(precision)
            except (CompilerError, DataError) as error:
                reason = str(error)
            else:
                return "compiled (C)", precision
        else:
            return "torch", None
        if kernel == "compiled":
            raise RecipeError(f"no compiled kernel: {reason}; set kernel to auto or torch")
        return f"torch ({reason})", None

    def _run(self, rows: Tensor | Encoded, theta_P: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
        """(D, B) probabilities, and the place of each basis state in them."""
        if isinstance(rows, Encoded):
            if rows.maker is not self:
                raise ValueError("these states were encoded by another engine; encode the rows with this one")
            x, theta = self._checked(rows.rows, theta_P)
            start: Tensor | None
            program, start = self._learned, rows.states
        else:
            x, theta = self._checked(rows, theta_P)
            program, start = self._program, None
        if isinstance(program, CompiledProgram):
            return program.probabilities(x, theta, start), program.places
        keep = self._needed(len(x), program.passes) < self._memory
        states = program.run(program.start(x, theta) if start is None else start, x, theta, keep=keep)
        return Squared.apply(states), program.places(len(x))  # type: ignore[no-untyped-call]

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
        self.check_memory(len(x_BN))
        return x_BN.to(self.device, torch.float64), theta.to(self.device, torch.float64)

    def _needed(self, n_rows: int, kept: int) -> int:
        """Bytes of the states of a batch: those kept for backward, and four to work with."""
        return (kept + WORKING) * n_rows * (1 << self.n_qubits) * self.dtype.itemsize

    @cached_property
    def _memory(self) -> int:
        """Bytes that states may take: half of what is free on the device."""
        return available(self.device) // 2

    @cached_property
    def _program(self) -> TorchProgram | CompiledProgram:
        a = self.ansatz
        return self._program_of(plan(a.circuit.data, a.circuit, a.inputs, a.weights))

    @cached_property
    def _encoding(self) -> TorchProgram:
        a = self.ansatz
        made = plan(a.encoding, a.circuit, a.inputs, a.weights, to_readout=False)
        return TorchProgram(made, self.dtype, self.device)

    @cached_property
    def _learned(self) -> TorchProgram | CompiledProgram:
        a = self.ansatz
        return self._program_of(plan(a.learned, a.circuit, a.inputs, a.weights, from_zero=False))

    def _program_of(self, made: Plan) -> TorchProgram | CompiledProgram:
        if self._kernel:
            return CompiledProgram(made, self._kernel)
        return TorchProgram(made, self.dtype, self.device)


def available(device: torch.device) -> int:
    """Bytes of memory that are free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB that are freed: passes make states of megabytes, new pages cost as much."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold = -1, -3  # of malloc.h
        libc.mallopt(trim_threshold, 2**28)
        libc.mallopt(mmap_threshold, 2**25)
