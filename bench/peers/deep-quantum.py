"""DeepQuantum: PyTorch tensors, one gate a call."""

from importlib.metadata import version

import deepquantum as dq
import torch
from gates import layered as layered_gates
from gates import reversed_bits
from gates import ring as ring_gates
from serving import Timed, serve

torch.set_num_threads(1)


def circuit(gates: list, qubits: int, theta: torch.Tensor) -> dq.QubitCircuit:
    """All gates; features are encoded from the data of each row."""
    drawn = dq.QubitCircuit(qubits)
    for name, wires, angles in gates:
        encode = any(isinstance(a, tuple) for a in angles)
        params = None if encode else [theta[a] for a in angles]
        if name == "cx":
            drawn.cnot(*wires)
        elif name == "cu3":
            drawn.u3(wires[1], params, controls=wires[0])
        elif name == "u3":
            drawn.u3(wires[0], params)
        elif name == "rzz":
            drawn.rzz(list(wires), params[0])
        elif encode:
            drawn.rx(wires[0], encode=True)
        else:
            getattr(drawn, name)(wires[0], params[0])
    return drawn


def ring(qubits: int, reps: int, theta: list[float], mix: list[float]) -> Timed:
    """Σ mix·probability, and its slopes."""
    gates, weights = list(ring_gates(qubits, reps)), torch.tensor(theta, requires_grad=True)
    mixed = torch.tensor(reversed_bits(mix, qubits))

    def work() -> list[float]:
        weights.grad = None
        loss = (circuit(gates, qubits, weights)().flatten().abs().square() * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist()]

    return work


def layered(qubits: int, reps: int, x: list[list[float]], theta: list[float], mix: list[list[float]]) -> Timed:
    """Σ mix·⟨Z⟩, and its slopes."""
    gates, mixed = list(layered_gates(qubits, reps)), torch.tensor(mix)
    rows, weights = (torch.tensor(values, requires_grad=True) for values in (x, theta))

    def work() -> list[float]:
        rows.grad = weights.grad = None
        drawn = circuit(gates, qubits, weights)
        for qubit in range(qubits):
            drawn.observable(qubit)
        drawn(data=rows)
        loss = (drawn.expectation() * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist(), *rows.grad[0, :4].tolist()]

    return work


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered}, version("deepquantum"))
