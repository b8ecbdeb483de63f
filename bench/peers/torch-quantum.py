"""TorchQuantum: one functional call a gate, PyTorch's autograd; its probabilities have qubit 0 as the highest bit."""

import sys
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from typing import Any
from unittest.mock import MagicMock

import torch
from gates import distilled_slope, images, reversed_bits, taught_rows
from gates import layered as layered_gates
from gates import ring as ring_gates
from serving import Timed, serve

UNUSED = (  # imported by torchquantum, and missing or not for this PyTorch; nothing here uses them
    *("qiskit_ibm_runtime", "torchvision", "torchvision.transforms", "torchvision.datasets"),
    *("torchvision.datasets.utils", "qiskit.test", "qiskit.test.mock"),
    *("qiskit.providers.aer", "qiskit.providers.aer.noise", "qiskit.providers.aer.noise.device"),
    "qiskit.providers.aer.noise.device.parameters",
)
sys.modules |= {name: MagicMock() for name in UNUSED}
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


def qfed(beta: list[float], gamma: list[float], batch: int, batches: int) -> Timed:
    """Training steps as in the authors' notebook: the circuit, its features, four linear layers, the network, Adam."""
    from torch.nn import functional

    qubits, most, shapes = 13, 6690, [(8, 1, 5, 5), (8,), (12, 8, 5, 5), (12,), (20, 192), (20,), (10, 20), (10,)]
    gates = [(name, tuple(qubits - 1 - q for q in wires), angles) for name, wires, angles in ring_gates(qubits, 16)]
    bits = torch.tensor([[2.0 * (i >> q & 1) - 1 for q in range(qubits)] for i in range(most)])
    widths, rest = (14, 4, 20, 4, 1), torch.tensor(gamma)
    weights = torch.tensor(beta, requires_grad=True)
    mapping = []
    for width, wider in pairwise(widths):
        layer = torch.nn.Linear(width, wider)
        W, b, rest = rest.split([width * wider, wider, len(rest) - (width + 1) * wider])
        layer.weight.data, layer.bias.data = W.view(wider, width).clone(), b.clone()
        mapping.append(layer)
    network = torch.nn.Sequential(*mapping)
    pixels, labels = (torch.from_numpy(part) for part in images(batch * batches))
    pixels = pixels.float() / 255
    adam = torch.optim.Adam([weights, *network.parameters()], lr=1e-12)

    def work() -> list[float]:
        losses = []
        for x, y in zip(pixels.split(batch), labels.split(batch), strict=True):
            adam.zero_grad()
            p = run(gates, qubits, 1, None, weights).get_states_1d().abs()[0][:most] ** 2
            features = (0.8 * torch.tanh(0.1 * 2**12 * p)) ** 0.3
            features = (features - features.mean())[:, None]
            out = network(torch.cat((bits, features), 1)).flatten()
            parts = (out - out.mean()).split([torch.Size(shape).numel() for shape in shapes])
            w1, b1, w2, b2, w3, b3, w4, b4 = (part.view(s) for part, s in zip(parts, shapes, strict=True))
            h = functional.max_pool2d(functional.conv2d(x, w1, b1), 2)
            h = functional.max_pool2d(functional.conv2d(h, w2, b2), 2)
            logits = functional.linear(functional.linear(h.flatten(1), w3, b3), w4, b4)
            loss = functional.cross_entropy(logits, y)
            loss.backward()
            adam.step()
            losses.append(loss.item())
        return [sum(losses) / batches]

    return work


def distil(qubits: int, reps: int, classes: int, batch: int, batches: int, arrays: dict[str, list]) -> Timed:
    """Training steps of QD-LLM's student: dense, circuit, dense, loss, Adam."""
    gates = list(layered_gates(qubits, reps))
    held = {name: torch.tensor(values, requires_grad=True) for name, values in arrays.items()}
    x, labels, soft = taught_rows(batch * batches, len(arrays["W"]), classes)
    rows, measure = torch.from_numpy(x), tq.MeasureAll(tq.PauliZ)
    adam = torch.optim.Adam(held.values(), lr=1e-12)

    def work() -> list[float]:
        losses = []
        for at in range(0, len(x), batch):
            part = slice(at, at + batch)
            adam.zero_grad()
            z = rows[part] @ held["W"] + held["b"] + torch.pi / 2
            logits = measure(run(gates, qubits, len(z), z, held["theta"])) @ held["V"] + held["c"]
            loss, slope = distilled_slope(logits.detach().double().numpy(), labels[part], soft[part])
            logits.backward(torch.from_numpy(slope).to(logits.dtype))
            adam.step()
            losses.append(loss)
        return [sum(losses) / batches]

    return work


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered, "qfed": qfed, "distil": distil}, version("torchquantum"))
