"""A plan as PyTorch passes: which muxes share a dense block, and how the qubits lie in memory when each pass comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quantum.passes import (
    Dense,
    Evolution,
    Gather,
    Numbers,
    Pass,
    Phases,
    Rotate,
    RowMux,
    matrices,
    products,
)
from quantum.plan import DiagonalAt, LinksAt, MuxAt, Plan, permutation

WIDEST = 4  # qubits of a dense block
LONG = 64  # numbers that a row of a matrix product should have at least

Order = tuple[int, ...]  # qubits of the state's axes, the slowest first


@dataclass
class Block:
    """Neighbouring muxes that all rows share, on at most four qubits."""

    muxes: list[MuxAt] = field(default_factory=list)

    @property
    def qubits(self) -> set[int]:
        return set().union(*(mux.qubits for mux in self.muxes))


class TorchProgram:
    """A plan on a device in a precision: from rows to states, and from states to states."""

    def __init__(self, plan: Plan, dtype: torch.dtype, device: torch.device) -> None:
        self.plan, self.dtype, self.device = plan, dtype, device
        self.product = Numbers(plan.product, device) if plan.product else None
        self.shared, self.of_row = Numbers(plan.shared, device), Numbers(plan.of_row, device)
        self._layouts: dict[bool, _Layout] = {}

    def start(self, x_BN: Tensor, theta: Tensor) -> Tensor:
        """(D, B) the product state."""
        assert self.product
        v = self.product(x_BN, theta)
        muxes = matrices(v if self.product.kind.of_row else v[None], self.product.kind)
        return products(muxes[:, :, 0, :, 0].to(self.dtype)).expand(-1, len(x_BN))

    def run(self, state: Tensor, x_BN: Tensor, theta: Tensor, *, keep: bool) -> Tensor:
        """(D, B) states after all steps, in the layout that `order` names."""
        layout = self._layout(state.shape[1])
        numbers = layout.numbers(self.shared(x_BN, theta), self.of_row(x_BN, theta), self.dtype)
        return Evolution.apply(layout.passes, keep, state.contiguous(), *numbers)  # type: ignore[no-any-return,no-untyped-call]

    def places(self, n_rows: int) -> NDArray[np.int64]:
        """Where each basis state's amplitude stands after `run`, the plan's read-out links done."""
        return self._layout(n_rows).places

    @property
    def passes(self) -> int:
        return len(self._layout(1).passes)

    def _layout(self, n_rows: int) -> _Layout:
        wide = n_rows >= LONG
        if wide not in self._layouts:
            self._layouts[wide] = _Layout(self.plan, wide, self.device)
        return self._layouts[wide]


class _Layout:
    """The passes for few or for many rows."""

    def __init__(self, plan: Plan, wide: bool, device: torch.device) -> None:
        self.plan, self.device, self.passes = plan, device, list[Pass]()
        self.order: Order = tuple(reversed(range(plan.n_qubits)))
        blocks = _blocked(plan.steps)
        self._groups: dict[tuple[bool, int], list[Tensor]] = {}  # (real, k) → indices of every mux of every block
        self._signs: dict[tuple[tuple[int, ...], Order], Tensor] = {}
        dense = [one for one in blocks if isinstance(one, Block)]
        keys = sorted({_group(block) for block in dense})
        diagonals = [one for one in blocks if isinstance(one, DiagonalAt)]
        self._members: list[list[tuple[Block, Order]]] = [[] for _ in keys]
        self._diagonals: list[tuple[DiagonalAt, Tensor]] = []
        self._row_muxes = plan.of_row.muxes > 0
        for one in blocks:
            match one:
                case Block():
                    self._dense(one, keys.index(_group(one)), wide)
                case DiagonalAt():
                    self.passes.append(Phases(len(keys) + len(self._diagonals)))
                    self._diagonals.append((one, self._sign(one.masks)))
                case LinksAt(links):
                    logical = _logical(self.order)
                    source = np.argsort(logical)[permutation(links, plan.n_qubits)[logical]]
                    self.passes.append(Gather(self._put(source), self._put(np.argsort(source))))
                case MuxAt():
                    self.passes.append(self._row_mux(one, len(keys) + len(diagonals)))
        self.places = np.argsort(_logical(self.order))[permutation(plan.readout, plan.n_qubits)]
        self._real = [real for real, _ in keys]
        self._embed = [self._put(_embedding(members)) for members in self._members]
        self._which = [self._put(_which(members, plan.shared.muxes)) for members in self._members]

    def numbers(self, shared: Tensor, of_row: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """What the passes index: blocks by group, diagonals, then the muxes of rows."""
        found = []
        if self._members:
            muxes = matrices(shared, self.plan.shared).flatten(1)
            ends = muxes.new_tensor([0.0, 1.0]).expand(len(muxes), 2)
            entries = torch.cat([muxes, ends], 1)
            entries = torch.cat([entries, entries.new_tensor([[0.0] * 9 + [1.0]])])  # the last: what pads a block
        for real, embed, which in zip(self._real, self._embed, self._which, strict=True):
            table = entries.real if real else entries
            small = table.index_select(0, which.flatten()).view(*which.shape, 10).gather(2, embed)
            size = round(embed.shape[2] ** 0.5)
            chained = _chained(small.unflatten(2, (size, size)))  # type: ignore[no-untyped-call]
            found.append(chained.to(dtype.to_real() if real else dtype))
        for diagonal, signs in self._diagonals:
            v, kind = (of_row, self.plan.of_row) if diagonal.of_row else (shared, self.plan.shared)
            first = kind.muxes * kind.beats * 6 + diagonal.at
            phi = v[..., first : first + len(diagonal.masks)] @ signs
            table = torch.polar(torch.ones_like(phi), phi).to(dtype)
            found.append(table.T.contiguous() if diagonal.of_row else table[:, None])
        if self._row_muxes:
            found.append(matrices(of_row, self.plan.of_row).to(dtype))
        return found

    def _dense(self, block: Block, group: int, wide: bool) -> None:
        qubits, n, k = block.qubits, len(self.order), len(block.qubits)
        at = next((s for s in range(n) if {self.order[(s + i) % n] for i in range(k)} == qubits), None)
        layout = None
        if at is None:
            places = [i for i, q in enumerate(self.order) if q in qubits]
            axes = (*places, *(i for i in range(n) if i not in places))
            layout, at = Rotate((2,) * n, axes), 0
            self.order = tuple(self.order[i] for i in axes)
        elif at and not (wide and at + k <= n):
            layout = Rotate((2**at, 2 ** (n - at)), (1, 0))
            self.order, at = self.order[at:] + self.order[:at], 0
        members = self._members[group]
        self.passes += [layout] if layout else []
        self.passes.append(Dense(group, len(members), k, 2**at, _group(block)[0]))
        members.append((block, self.order[at : at + k]))

    def _row_mux(self, mux: MuxAt, group: int) -> RowMux:
        n, t = len(self.order), self.order.index(mux.target)
        if mux.control is None:
            return RowMux(group, mux.at, (2**t, 2, 2 ** (n - t - 1)), 1, None)
        c = self.order.index(mux.control)
        low, high = min(t, c), max(t, c)
        shape = (2**low, 2, 2 ** (high - low - 1), 2, 2 ** (n - high - 1))
        return RowMux(group, mux.at, shape, *((1, 3) if t < c else (3, 1)))

    def _sign(self, masks: tuple[int, ...]) -> Tensor:
        """(T, D) 1 where a basis state holds all bits of the mask, in this layout."""
        if (masks, self.order) not in self._signs:
            logical = _logical(self.order)
            held = np.array([(logical & mask) == mask for mask in masks], dtype=np.float64)
            self._signs[masks, self.order] = torch.from_numpy(held).to(self.device)
        return self._signs[masks, self.order]

    def _put(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _logical(order: Order) -> NDArray[np.int64]:
    """The basis state whose amplitude stands at each place."""
    place, n = np.arange(2 ** len(order)), len(order)
    return sum(((place >> (n - 1 - axis) & 1) << qubit for axis, qubit in enumerate(order)), np.zeros_like(place))


def _group(block: Block) -> tuple[bool, int]:
    return all(mux.real for mux in block.muxes), len(block.qubits)


def _blocked(steps: Sequence[MuxAt | DiagonalAt | LinksAt]) -> list[Block | MuxAt | DiagonalAt | LinksAt]:
    """Muxes that all rows share joined into blocks, past blocks of other qubits."""
    found: list[Block | MuxAt | DiagonalAt | LinksAt] = []
    for step in steps:
        if not isinstance(step, MuxAt) or step.of_row:
            found.append(step)
            continue
        for last in reversed(found):
            if not isinstance(last, Block):
                found.append(Block([step]))
                break
            if len(last.qubits | step.qubits) <= WIDEST:
                last.muxes.append(step)
                break
            if last.qubits & step.qubits:
                found.append(Block([step]))
                break
        else:
            found.append(Block([step]))
    return found


def _embedding(members: Sequence[tuple[Block, Order]]) -> NDArray[np.int64]:
    """(blocks, muxes, 4^k): which of a mux's 8 entries, 0 or 1 each entry of its block's matrix is."""
    longest = max(len(block.muxes) for block, _ in members)
    size = 2 ** len(members[0][1])
    found = np.empty((len(members), longest, size, size), dtype=np.int64)
    found[:] = np.where(np.eye(size, dtype=bool), 9, 8)
    row, column = np.mgrid[:size, :size]
    for b, (block, order) in enumerate(members):
        bit = {qubit: len(order) - 1 - axis for axis, qubit in enumerate(order)}
        for m, mux in enumerate(block.muxes):
            t = bit[mux.target]
            value = 0 if mux.control is None else row >> bit[mux.control] & 1
            entry = 4 * value + 2 * (row >> t & 1) + (column >> t & 1)
            found[b, m] = np.where((row ^ column) & ~(1 << t), 8, entry)
    return found.reshape(len(members), longest, -1)


def _which(members: Sequence[tuple[Block, Order]], n_muxes: int) -> NDArray[np.int64]:
    """(blocks, muxes): the number of each block's muxes; `n_muxes` where it has no more."""
    longest = max(len(block.muxes) for block, _ in members)
    found = np.full((len(members), longest), n_muxes)
    for b, (block, _) in enumerate(members):
        found[b, : len(block.muxes)] = [mux.at for mux in block.muxes]
    return found


def _chained(small: Tensor) -> Tensor:
    """(blocks, 2^k, 2^k): the muxes of each block multiplied, the last leftmost."""
    matrix = small[:, 0]
    for m in range(1, small.shape[1]):
        matrix = torch.bmm(small[:, m], matrix)
    return matrix
