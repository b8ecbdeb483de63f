"""TensorCircuit (the maintained fork, tensorcircuit-ng) on its JAX backend: jitted, and mapped over rows by vmap."""

from importlib.metadata import version
from typing import Any

import numpy as np
import tensorcircuit as tc
from gates import layered as layered_gates
from gates import reversed_bits
from gates import ring as ring_gates
from serving import Timed, serve

K = tc.set_backend("jax")
tc.set_dtype("complex64")


def state(gates: list, qubits: int, x: Any, theta: Any) -> Any:
    """After all gates; its U(θ, φ, λ) is U3."""
    drawn = tc.Circuit(qubits)
    for name, wires, angles in gates:
        params = [x[a[1]] if isinstance(a, tuple) else theta[a] for a in angles]
        if name == "cx":
            drawn.cnot(*wires)
        elif name in ("u3", "cu3"):
            getattr(drawn, name[:-1])(*wires, theta=params[0], phi=params[1], lbd=params[2])
        else:
            getattr(drawn, name)(*wires, theta=params[0])
    return drawn.state()


def ring(qubits: int, reps: int, theta: list[float], mix: list[float]) -> Timed:
    """Σ mix·probability, and its slopes."""
    gates, weights = list(ring_gates(qubits, reps)), K.convert_to_tensor(np.array(theta, np.float32))
    mixed = K.convert_to_tensor(np.array(reversed_bits(mix, qubits), np.float32))
    of = K.jit(K.value_and_grad(lambda theta: K.sum(K.abs(state(gates, qubits, None, theta)) ** 2 * mixed)))

    def work() -> list[float]:
        loss, slopes = of(weights)
        return [float(loss), *np.asarray(slopes)[:8].tolist()]

    return work


def layered(qubits: int, reps: int, x: list[list[float]], theta: list[float], mix: list[list[float]]) -> Timed:
    """Σ mix·⟨Z⟩, and its slopes."""
    gates = list(layered_gates(qubits, reps))
    rows, weights, mixed = (K.convert_to_tensor(np.array(values, np.float32)) for values in (x, theta, mix))

    def values(x: Any, theta: Any) -> Any:
        probs = K.reshape(K.abs(state(gates, qubits, x, theta)) ** 2, (2,) * qubits)
        marginals = [K.sum(probs, axis=tuple(k for k in range(qubits) if k != q)) for q in range(qubits)]
        return K.stack([m[0] - m[1] for m in marginals])

    batched = K.vmap(values, vectorized_argnums=0)
    of = K.jit(K.value_and_grad(lambda x, theta: K.sum(batched(x, theta) * mixed), argnums=(0, 1)))

    def work() -> list[float]:
        loss, (d_x, d_theta) = of(rows, weights)
        return [float(loss), *np.asarray(d_theta)[:8].tolist(), *np.asarray(d_x)[0, :4].tolist()]

    return work


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered}, version("tensorcircuit-ng"))
