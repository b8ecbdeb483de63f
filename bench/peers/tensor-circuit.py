"""TensorCircuit (the maintained fork, tensorcircuit-ng) on its PyTorch backend, mapped over rows by vmap."""

from importlib.metadata import version

import tensorcircuit as tc
import torch
from gates import layered as layered_gates
from gates import reversed_bits
from gates import ring as ring_gates
from serving import Timed, serve

torch.set_num_threads(1)
K = tc.set_backend("pytorch")
tc.set_dtype("complex64")


def circuit(gates: list, qubits: int, x: torch.Tensor | None, theta: torch.Tensor) -> tc.Circuit:
    """All gates; its U(θ, φ, λ) is U3."""
    drawn = tc.Circuit(qubits)
    for name, wires, angles in gates:
        params = [x[a[1]] if isinstance(a, tuple) else theta[a] for a in angles]
        if name == "cx":
            drawn.cnot(*wires)
        elif name in ("u3", "cu3"):
            getattr(drawn, name[:-1])(*wires, theta=params[0], phi=params[1], lbd=params[2])
        else:
            getattr(drawn, name)(*wires, theta=params[0])
    return drawn


def ring(qubits: int, reps: int, theta: list[float], mix: list[float]) -> Timed:
    """Σ mix·probability, and its slopes."""
    gates, weights = list(ring_gates(qubits, reps)), torch.tensor(theta)
    mixed = torch.tensor(reversed_bits(mix, qubits))
    of = K.value_and_grad(lambda theta: (circuit(gates, qubits, None, theta).state().abs().square() * mixed).sum())

    def work() -> list[float]:
        loss, slopes = of(weights)
        return [loss.item(), *slopes[:8].tolist()]

    return work


def layered(qubits: int, reps: int, x: list[list[float]], theta: list[float], mix: list[list[float]]) -> Timed:
    """Σ mix·⟨Z⟩, and its slopes."""
    gates, rows, weights, mixed = list(layered_gates(qubits, reps)), *map(torch.tensor, (x, theta, mix))

    def values(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        probs = circuit(gates, qubits, x, theta).state().abs().square().reshape((2,) * qubits)
        marginals = [probs.movedim(q, 0).reshape(2, -1).sum(1) for q in range(qubits)]
        return torch.stack([m[0] - m[1] for m in marginals])

    batched = K.vmap(values, vectorized_argnums=0)
    of = K.value_and_grad(lambda x, theta: (batched(x, theta) * mixed).sum(), argnums=(0, 1))

    def work() -> list[float]:
        loss, (d_x, d_theta) = of(rows, weights)
        return [loss.item(), *d_theta[:8].tolist(), *d_x[0, :4].tolist()]

    return work


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered}, version("tensorcircuit-ng"))
