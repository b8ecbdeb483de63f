"""The exact engine in PyTorch: passes over a batch of states, forwards and backwards.

States are (D, B), rows last, so a matrix that all rows share is one matrix product. Neighbouring muxes become one dense
block of at most 16×16; the layout of qubits is rotated rather than permuted back. Backward needs every pass's input:
kept while memory allows, else computed again from its output, since every pass is unitary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quantum.angles import Variables, others_at
from quantum.plan import Kind

# --- numbers -------------------------------------------------------------------------------------------------------


class Others(torch.autograd.Function):
    """Expressions that are no polynomials: bound and differentiated by Qiskit."""

    @staticmethod
    def forward(ctx: Any, rows_BV: Tensor, variables: Variables) -> Tensor:
        values, slopes = others_at(variables, rows_BV.detach().cpu().numpy())
        ctx.save_for_backward(rows_BV.new_tensor(slopes))
        return rows_BV.new_tensor(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return torch.einsum("be,bev->bv", grad, slopes), None


class Numbers:
    """The slots of one kind, evaluated in float64: (S,) when shared, (B, S) when of a row."""

    def __init__(self, kind: Kind, device: torch.device) -> None:
        slots = kind.slots
        self.kind = kind
        self.slot, self.i, self.j = (torch.from_numpy(a).to(device) for a in (slots.slot, slots.i, slots.j))
        self.coef = torch.from_numpy(slots.coef).to(device, torch.float64)
        self.squares = bool(slots.j.any())

    def __call__(self, x_BN: Tensor, theta: Tensor) -> Tensor:
        if not self.kind.of_row:
            x_BN = x_BN.new_zeros(1, x_BN.shape[1])
        rows = torch.cat([x_BN, theta.expand(len(x_BN), -1)], dim=1)
        parts = [rows.new_ones(len(rows), 1), rows]
        if self.kind.variables.others:
            parts.append(Others.apply(rows, self.kind.variables))  # type: ignore[no-untyped-call]
        r = torch.cat(parts, dim=1)
        terms = r.index_select(1, self.i) * self.coef
        if self.squares:
            terms = terms * r.index_select(1, self.j)
        v = terms.new_zeros(len(r), self.kind.slots.size).index_add(1, self.slot, terms)
        return v if self.kind.of_row else v[0]


def matrices(v: Tensor, kind: Kind) -> Tensor:
    """(…, G, 2, 2, 2): for every mux and value of its control Π over beats of diag(e^{iφ})·RY."""
    beats = v[..., : kind.muxes * kind.beats * 6].unflatten(-1, (kind.muxes, kind.beats, 6))  # type: ignore[no-untyped-call]
    c, s = torch.cos(beats[..., :2] / 2), torch.sin(beats[..., :2] / 2)
    turns = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)  # (…, G, S, κ, 2, 2)
    phases = beats[..., 2:].unflatten(-1, (2, 2))
    steps = torch.polar(torch.ones_like(phases), phases)[..., None] * turns
    product = steps[..., 0, :, :, :]
    for k in range(1, kind.beats):
        product = (steps[..., k, :, :, :, None] * product[..., None, :, :]).sum(-2)
    return product


def products(columns_BN2: Tensor) -> Tensor:
    """(D, B): for every row ⊗ over qubits of the first columns, qubit 0 the lowest bit."""
    state = columns_BN2[:, 0].T
    for q in range(1, columns_BN2.shape[1]):
        state = (columns_BN2[:, q].T[:, None] * state).flatten(0, 1)
    return state


# --- passes: each takes (D, B) states to (D, B) states, one kernel or two ------------------------------------------


@dataclass
class Rotate:
    """Another order of the qubits: view the state, permute its axes, and it is flat again."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    reads = False  # whether backward needs the input

    def forward(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return state.view(*self.shape, -1).permute(*self.axes, len(self.axes)).reshape(state.shape)

    def inverse(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        n = len(self.axes)
        shape = [self.shape[axis] for axis in self.axes]
        inverse = sorted(range(n), key=self.axes.__getitem__)
        return state.view(*shape, -1).permute(*inverse, n).reshape(state.shape)

    def backward(self, before: Any, grad: Tensor, numbers: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        return self.inverse(grad, numbers)


@dataclass
class Dense:
    """M = numbers[group][at] on axes of 2^k that stand after `before` amplitudes' worth of slower axes."""

    group: int
    at: int
    k: int
    slower: int
    real: bool
    reads = True

    def _view(self, state: Tensor) -> Tensor:
        if self.real:
            state = torch.view_as_real(state)
        return state.reshape(self.slower, 2**self.k, -1)

    def _flat(self, done: Tensor, like: Tensor) -> Tensor:
        return torch.view_as_complex(done.reshape(*like.shape, 2)) if self.real else done.reshape(like.shape)

    def _times(self, matrix: Tensor, state: Tensor) -> Tensor:
        view = self._view(state)
        done = (matrix @ view[0])[None] if self.slower == 1 else torch.matmul(matrix, view)
        return self._flat(done, state)

    def forward(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return self._times(numbers[self.group][self.at], state)

    def inverse(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return self._times(numbers[self.group][self.at].mH, state)

    def backward(self, before: Tensor, grad: Tensor, numbers: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        g, s = self._view(grad), self._view(before)
        grads[self.group][self.at] = torch.einsum("aib,ajb->ij", g, s.conj()) if self.slower > 1 else g[0] @ s[0].mH
        return self.inverse(grad, numbers)


@dataclass
class Phases:
    """e^{iφ(b)} of numbers[at], (D, 1) or (D, B)."""

    at: int
    reads = True

    def forward(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return state * numbers[self.at]

    def inverse(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return state * numbers[self.at].conj()

    def backward(self, before: Tensor, grad: Tensor, numbers: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        products = grad * before.conj()
        grads[self.at] += products.sum(1, keepdim=True) if numbers[self.at].shape[1] == 1 else products
        return self.inverse(grad, numbers)


@dataclass
class Gather:
    """ψ′[b] = ψ[source[b]]"""

    source: Tensor
    target: Tensor
    reads = False

    def forward(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return state.index_select(0, self.source)

    def inverse(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return state.index_select(0, self.target)

    def backward(self, before: Any, grad: Tensor, numbers: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        return self.inverse(grad, numbers)


@dataclass
class RowMux:
    """Another mux for every row: numbers[group] is (B, G, 2, 2, 2). `shape` and `axis` cut out target and control."""

    group: int
    at: int
    shape: tuple[int, ...]  # slower, 2, between, 2, faster with a control; slower, 2, faster without
    target: int
    control: int | None
    reads = True

    def _halves(self, state: Tensor) -> list[tuple[int, Tensor]]:
        """(κ, view of shape (2, …, B)), the target first."""
        view = state.view(*self.shape, -1)
        if self.control is None:
            return [(0, view.movedim(self.target, 0))]
        shift = self.target - (self.target > self.control)
        return [(k, view.select(self.control, k).movedim(shift, 0)) for k in (0, 1)]

    def _times(self, m_B22: Callable[[int], Tensor], state: Tensor) -> Tensor:
        done = torch.empty_like(state)
        for (k, s), (_, d) in zip(self._halves(state), self._halves(done), strict=True):
            m = m_B22(k)
            for a in (0, 1):
                d[a] = m[:, a, 0] * s[0] + m[:, a, 1] * s[1]
        return done

    def forward(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return self._times(lambda k: numbers[self.group][:, self.at, k], state)

    def inverse(self, state: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        return self._times(lambda k: numbers[self.group][:, self.at, k].mH, state)

    def backward(self, before: Tensor, grad: Tensor, numbers: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        for (k, s), (_, g) in zip(self._halves(before), self._halves(grad), strict=True):
            grads[self.group][:, self.at, k] = torch.einsum("i...b,j...b->bij", g, s.conj())
        return self.inverse(grad, numbers)


Pass = Rotate | Dense | Phases | Gather | RowMux


class Squared(torch.autograd.Function):
    """|ψ|²; ∂/∂ψ = 2ψ. PyTorch's own way, through pairs of numbers, takes five times as long."""

    @staticmethod
    def forward(ctx: Any, states: Tensor) -> Tensor:
        ctx.save_for_backward(states)
        probabilities: Tensor = states.real.square() + states.imag.square()
        return probabilities

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (states,) = ctx.saved_tensors
        slopes: Tensor = 2 * grad * states
        return slopes


class Evolution(torch.autograd.Function):
    """All passes in order; backward needs each pass's input, stored or computed from its output."""

    @staticmethod
    def forward(ctx: Any, passes: Sequence[Pass], keep: bool, state: Tensor, *numbers: Tensor) -> Tensor:
        kept: list[Tensor | None] = []
        for one in passes:
            if keep:
                kept.append(state if one.reads else None)
            state = one.forward(state, numbers)
        ctx.passes, ctx.numbers, ctx.kept = passes, numbers, kept
        ctx.save_for_backward(state)
        return state

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (state,) = ctx.saved_tensors
        grads = [torch.zeros_like(number) for number in ctx.numbers]
        for k in range(len(ctx.passes) - 1, -1, -1):
            one = ctx.passes[k]
            before = ctx.kept[k] if ctx.kept else one.inverse(state, ctx.numbers)
            grad = one.backward(before, grad, ctx.numbers, grads)
            state = before
        return (None, None, grad, *grads)
