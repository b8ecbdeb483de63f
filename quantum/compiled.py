"""A plan for the compiled kernel: its steps as numbers in C, and both directions as one autograd function."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quantum.build import library
from quantum.passes import Numbers
from quantum.plan import DiagonalAt, LinksAt, MuxAt, Plan
from quantum.program import Link

SLOTS = 6  # of a beat
VECTOR = 64  # bytes
ROWS = 4  # rows from which lanes are rows …
CACHE = 2**20  # … while a vector of states is no larger than this, bytes
OP = np.dtype([(name, np.int32) for name in (
    "kind", "of_row", "at", "real_only", "pair", "pair_lane", "target", "target_lane", "target_flip",
    "controlled", "control", "control_lane", "control_flip", "masks", "n_masks", "map",
)])  # fmt: skip


class Program(ctypes.Structure):
    """As in the kernel."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("n_qubits", "n_ops", "lanes_are_rows", "n_rows")),
        *((name, ctypes.c_int32 * 2) for name in ("beats", "muxes", "slots")),
        *((name, ctypes.c_int32) for name in ("from_product", "product_of_row", "product_beats")),
        *((name, ctypes.c_void_p) for name in ("ops", "masks", "maps")),
    )


class Affine:
    """b = A·s ⊕ c over bits: rows of A, columns of its inverse, and c, as links come."""

    def __init__(self, n_qubits: int) -> None:
        self.reads = [1 << qubit for qubit in range(n_qubits)]  # bit t of b is the parity of s & reads[t], and flips[t]
        self.pairs = [1 << qubit for qubit in range(n_qubits)]  # s ⊕ pairs[t] flips bit t of b alone
        self.flips = [0] * n_qubits

    def link(self, link: Link) -> None:
        """b_t ⊕= b_c, or b_t ⊕= 1."""
        t, c = link.target, link.control
        if c is None:
            self.flips[t] ^= 1
            return
        self.reads[t] ^= self.reads[c]
        self.flips[t] ^= self.flips[c]
        self.pairs[c] ^= self.pairs[t]

    def follow(self, links: Iterable[Link]) -> None:
        """Links in order."""
        for link in links:
            self.link(link)

    def basis(self) -> NDArray[np.int64]:
        """The basis state of every stored index."""
        s = np.arange(2 ** len(self.reads))
        bits = [(np.bitwise_count(s & read) & 1) ^ flip for read, flip in zip(self.reads, self.flips, strict=True)]
        return np.asarray(sum(bit.astype(np.int64) << t for t, bit in enumerate(bits)))


class CompiledProgram:
    """A plan in a precision on this machine's CPU."""

    def __init__(self, plan: Plan, precision: str) -> None:
        self.plan, self.library = plan, library(precision)
        self.real = torch.float32 if precision == "single" else torch.float64
        cpu = torch.device("cpu")
        self.product = Numbers(plan.product, cpu) if plan.product else None
        self.shared, self.of_row = Numbers(plan.shared, cpu), Numbers(plan.of_row, cpu)
        self.lanes = VECTOR // self.real.itemsize
        self._made: dict[bool, tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]]] = {}
        affine = Affine(plan.n_qubits)
        for step in plan.steps:
            if isinstance(step, LinksAt):
                affine.follow(step.links)
        affine.follow(plan.readout)
        self.places = np.argsort(affine.basis())  # where each basis state's probability stands

    def probabilities(self, x_BN: Tensor, theta: Tensor, start_DB: Tensor | None = None) -> Tensor:
        """(D, B) in the order of `places`."""
        n_rows, size = len(x_BN), 2**self.plan.n_qubits
        rows = self.lanes_are_rows(n_rows)
        if self.product:
            start = self.product(x_BN, theta)
        else:
            assert start_DB is not None
            start = self.vectors(start_DB)
        probs = Kernel.apply(self, n_rows, start, self.shared(x_BN, theta), self.of_row(x_BN, theta))  # type: ignore[no-untyped-call]
        if rows:
            return probs.permute(1, 0, 2).reshape(size, -1)[:, :n_rows]  # type: ignore[no-any-return]
        return probs.reshape(n_rows, size).T  # type: ignore[no-any-return]

    def lanes_are_rows(self, n_rows: int) -> bool:
        """Rows side by side in a vector while that fits the cache; else one row at a time, its low qubits as lanes."""
        size = 2**self.plan.n_qubits
        return size < 2 * self.lanes or (n_rows >= ROWS and 2 * VECTOR * size <= CACHE)

    def shape(self, n_rows: int) -> tuple[int, int, int]:
        """(groups of rows, vectors of a state, lanes)"""
        size = 2**self.plan.n_qubits
        if self.lanes_are_rows(n_rows):
            return -(-n_rows // self.lanes), size, self.lanes
        return n_rows, size // self.lanes, self.lanes

    def program(self, n_rows: int) -> tuple[Program, Any]:
        """The program in C, and what must live as long."""
        rows, plan = self.lanes_are_rows(n_rows), self.plan
        if rows not in self._made:
            self._made[rows] = self._ops(rows)
        arrays = self._made[rows]
        kinds = (plan.shared, plan.of_row)
        found = Program(
            n_qubits=plan.n_qubits,
            n_ops=len(arrays[0]),
            lanes_are_rows=rows,
            n_rows=n_rows,
            from_product=plan.product is not None,
            product_of_row=plan.product is not None and plan.product.of_row,
            product_beats=plan.product.beats if plan.product else 0,
            **{name: (ctypes.c_int32 * 2)(*(getattr(kind, name) for kind in kinds)) for name in ("beats", "muxes")},
            slots=(ctypes.c_int32 * 2)(*(kind.slots.size for kind in kinds)),
            **{name: array.ctypes.data for name, array in zip(("ops", "masks", "maps"), arrays, strict=True)},
        )
        return found, arrays

    def _ops(self, rows: bool) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]]:
        """Steps, masks of diagonals, and the maps of their stored order to basis states."""
        affine, lane_bits = Affine(self.plan.n_qubits), 0 if rows else self.lanes.bit_length() - 1
        ops: list[NDArray[Any]] = []
        masks: list[int] = []
        maps: dict[bytes, int] = {}

        def cut(mask: int) -> tuple[int, int]:
            return mask >> lane_bits, mask & ((1 << lane_bits) - 1)

        for step in self.plan.steps:
            op = np.zeros((), dtype=OP)
            match step:
                case LinksAt(links):
                    affine.follow(links)
                    continue
                case MuxAt():
                    op["of_row"], op["at"], op["real_only"] = step.of_row, step.at, step.real
                    op["pair"], op["pair_lane"] = cut(affine.pairs[step.target])
                    op["target"], op["target_lane"] = cut(affine.reads[step.target])
                    op["target_flip"] = affine.flips[step.target]
                    if step.control is not None:
                        op["controlled"] = 1
                        op["control"], op["control_lane"] = cut(affine.reads[step.control])
                        op["control_flip"] = affine.flips[step.control]
                case DiagonalAt():
                    kind = self.plan.of_row if step.of_row else self.plan.shared
                    op["kind"], op["of_row"] = 1, step.of_row
                    op["at"] = kind.muxes * kind.beats * SLOTS + step.at
                    op["masks"], op["n_masks"] = len(masks), len(step.masks)
                    masks += step.masks
                    basis = affine.basis().astype(np.int32).tobytes()
                    op["map"] = maps.setdefault(basis, len(maps) << self.plan.n_qubits)
            ops.append(op)
        return (
            np.array(ops, dtype=OP),
            np.array(masks, dtype=np.int32),
            np.frombuffer(b"".join(maps), dtype=np.int32),
        )

    def vectors(self, start_DB: Tensor) -> Tensor:
        """States as the kernel has them: (groups, vectors, 2, lanes)."""
        size, n_rows = start_DB.shape
        groups, vectors, lanes = self.shape(n_rows)
        parts = torch.view_as_real(start_DB).to(self.real)
        if self.lanes_are_rows(n_rows):
            padded = torch.nn.functional.pad(parts, (0, 0, 0, groups * lanes - n_rows))
            return padded.view(size, groups, lanes, 2).permute(1, 0, 3, 2).contiguous()
        return parts.transpose(0, 1).reshape(n_rows, vectors, lanes, 2).transpose(2, 3).contiguous()


class Kernel(torch.autograd.Function):
    """Probabilities (groups, vectors, lanes) from the slots of a product state, or states, and of both kinds."""

    @staticmethod
    def forward(
        ctx: Any, program: CompiledProgram, n_rows: int, start: Tensor, shared: Tensor, of_row: Tensor
    ) -> Tensor:
        groups, vectors, lanes = program.shape(n_rows)
        from_product = program.product is not None
        inputs = (start.contiguous(), shared.contiguous(), of_row.contiguous())
        states = torch.empty(groups, vectors, 2, lanes, dtype=program.real) if from_product else inputs[0].clone()
        probs = torch.empty(groups, vectors, lanes, dtype=program.real)
        made, alive = program.program(n_rows)
        program.library.forward(ctypes.byref(made), *map(_pointer, (*inputs, states, probs)))
        ctx.program, ctx.n_rows, ctx.alive = program, n_rows, alive
        ctx.save_for_backward(*inputs, states)
        return probs

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[None, None, Tensor, Tensor, Tensor]:
        *inputs, states = ctx.saved_tensors
        grads = [torch.zeros_like(one) for one in inputs]
        made, _ = ctx.program.program(ctx.n_rows)
        d_start, d_shared, d_row = grads
        call = (*inputs, states, slopes.contiguous(), d_start, d_start, d_shared, d_row)
        ctx.program.library.backward(ctypes.byref(made), *map(_pointer, call))
        return None, None, d_start, d_shared, d_row


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
