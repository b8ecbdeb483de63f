"""PennyLane: `default.qubit` with backpropagation in PyTorch, and `lightning.qubit` with adjoint gradients."""

from importlib.metadata import version
from typing import Any

import pennylane as qml
import torch
from gates import layered as layered_gates
from gates import reversed_bits
from gates import ring as ring_gates
from scipy.sparse import diags
from serving import Timed, serve

torch.set_num_threads(1)
GATES = {"u3": qml.U3, "rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "rzz": qml.IsingZZ}
DEVICES = {"default.qubit": "backprop", "lightning.qubit": "adjoint"}


def draw(gates: list, x: torch.Tensor | None, theta: torch.Tensor) -> None:
    """All gates."""
    for name, wires, angles in gates:
        params = [x[:, a[1]] if isinstance(a, tuple) else theta[a] for a in angles]
        if name == "cx":
            qml.CNOT(wires=wires)
        elif name == "cu3":
            qml.ctrl(qml.U3(*params, wires=wires[1]), control=wires[0])
        else:
            GATES[name](*params, wires=wires)


def ring(qubits: int, reps: int, theta: list[float], mix: list[float], device: str) -> Timed:
    """Σ mix·probability, and its slopes; lightning's adjoint takes it as one Hamiltonian on the diagonal."""
    gates, weights = list(ring_gates(qubits, reps)), torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    mixed = torch.tensor(reversed_bits(mix, qubits), dtype=torch.float64)

    diagonal = qml.SparseHamiltonian(diags(mixed.numpy()).tocsr(), wires=range(qubits))

    @qml.qnode(qml.device(device, wires=qubits), interface="torch", diff_method=DEVICES[device])
    def read(theta: torch.Tensor) -> Any:
        draw(gates, None, theta)
        return qml.expval(diagonal) if device == "lightning.qubit" else qml.probs(wires=range(qubits))

    def work() -> list[float]:
        weights.grad = None
        loss = read(weights) if device == "lightning.qubit" else (read(weights) * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist()]

    return work


def layered(
    qubits: int, reps: int, x: list[list[float]], theta: list[float], mix: list[list[float]], device: str
) -> Timed:
    """Σ mix·⟨Z⟩, and its slopes."""
    gates = list(layered_gates(qubits, reps))
    rows, weights = (torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in (x, theta))
    mixed = torch.tensor(mix, dtype=torch.float64)

    @qml.qnode(qml.device(device, wires=qubits), interface="torch", diff_method=DEVICES[device])
    def expectations(x: torch.Tensor, theta: torch.Tensor) -> Any:
        draw(gates, x, theta)
        return [qml.expval(qml.PauliZ(q)) for q in range(qubits)]

    def work() -> list[float]:
        rows.grad = weights.grad = None
        loss = (torch.stack(list(expectations(rows, weights)), 1) * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist(), *rows.grad[0, :4].tolist()]

    return work


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered}, version("pennylane"))
