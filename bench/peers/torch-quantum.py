"""TorchQuantum: one functional call a gate, PyTorch's autograd; its probabilities have qubit 0 as the highest bit."""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any
from unittest.mock import MagicMock

import torch
from gates import layered as layered_gates
from gates import reversed_bits
from gates import ring as ring_gates
from serving import Timed, serve

sys.modules["qiskit_ibm_runtime"] = MagicMock()  # imported by torchquantum and not required; nothing here uses it
tq = import_module("torchquantum")
torch.set_num_threads(1)
CALLS = {name: getattr(tq.functional, name) for name in ("u3", "cu3", "rx", "ry", "rz", "rzz")}


def run(gates: list, qubits: int, rows: int, x: torch.Tensor | None, theta: torch.Tensor) -> Any:
    """All gates on a fresh device."""
    device = tq.QuantumDevice(n_wires=qubits, bsz=rows)
    for name, wires, angles in gates:
        if name == "cx":
            tq.functional.cnot(device, wires=list(wires))
            continue
        params = [x[:, a[1]] if isinstance(a, tuple) else theta[a].expand(rows) for a in angles]
        CALLS[name](device, wires=list(wires), params=torch.stack(params, 1))
    return device


def ring(qubits: int, reps: int, theta: list[float], mix: list[float]) -> Timed:
    """Σ mix·probability, and its slopes."""
    gates, weights = list(ring_gates(qubits, reps)), torch.tensor(theta, requires_grad=True)
    mixed = torch.tensor(reversed_bits(mix, qubits))

    def work() -> list[float]:
        weights.grad = None
        states = run(gates, qubits, 1, None, weights).get_states_1d()
        loss = (states.abs().square()[0] * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist()]

    return work


def layered(qubits: int, reps: int, x: list[list[float]], theta: list[float], mix: list[list[float]]) -> Timed:
    """Σ mix·⟨Z⟩, and its slopes."""
    gates = list(layered_gates(qubits, reps))
    rows, weights = torch.tensor(x, requires_grad=True), torch.tensor(theta, requires_grad=True)
    mixed, measure = torch.tensor(mix), tq.MeasureAll(tq.PauliZ)

    def work() -> list[float]:
        rows.grad = weights.grad = None
        loss = (measure(run(gates, qubits, len(rows), rows, weights)) * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist(), *rows.grad[0, :4].tolist()]

    return work


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered}, version("torchquantum"))
