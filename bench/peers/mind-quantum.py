"""MindQuantum: its own C++ simulator and its own gradients, in complex64; a probability is ⟨b|b⟩, so Σ mix·p is one
Hamiltonian on the diagonal."""

from importlib.metadata import version

import mindquantum as mq
import numpy as np
from gates import distilled_slope, taught_rows
from gates import layered as layered_gates
from gates import ring as ring_gates
from mindquantum import Circuit, Hamiltonian, QubitOperator, Simulator
from mindquantum.core import gates as mq_gates
from scipy.sparse import diags
from serving import Timed, serve

ROTATIONS = {"rx": mq_gates.RX, "ry": mq_gates.RY, "rz": mq_gates.RZ}


def circuit(gates: list) -> Circuit:
    """RZZ(α) is MindQuantum's Rzz; U3 and its control are gates of its own."""
    drawn = Circuit()
    for name, qubits, angles in gates:
        params = [f"x{a[1]}" if isinstance(a, tuple) else f"w{a}" for a in angles]
        if name == "cx":
            drawn += mq_gates.X.on(qubits[1], qubits[0])
        elif name == "rzz":
            drawn += mq_gates.Rzz(params[0]).on(list(qubits))
        elif name in ROTATIONS:
            drawn += ROTATIONS[name](params[0]).on(qubits[0])
        else:
            drawn += mq_gates.U3(*params).on(qubits[-1], list(qubits[:-1]) or None)
    return drawn


def ring(qubits: int, reps: int, theta: list[float], mix: list[float]) -> Timed:
    """Σ mix·probability, and its slopes."""
    drawn, weights = circuit(list(ring_gates(qubits, reps))).as_ansatz(), np.array(theta, np.float32)
    ham = Hamiltonian(diags(np.array(mix, np.complex64)).tocsr())
    of = Simulator("mqvector", qubits, dtype=mq.complex64).get_expectation_with_grad(ham, drawn, parallel_worker=1)
    at = [int(name[1:]) for name in drawn.params_name]

    def work() -> list[float]:
        loss, slopes = of(weights[at])
        ordered = np.empty(len(weights))
        ordered[at] = slopes.real.ravel()
        return [loss.real.item(), *ordered[:8].tolist()]

    return work


def layered(qubits: int, reps: int, x: list[list[float]], theta: list[float], mix: list[list[float]]) -> Timed:
    """Σ mix·⟨Z⟩, and its slopes, which come one for every row and read-out."""
    gates = list(layered_gates(qubits, reps))
    drawn = circuit(gates[:qubits]).as_encoder() + circuit(gates[qubits:]).as_ansatz()
    hams = [Hamiltonian(QubitOperator(f"Z{q}")).astype(mq.complex64) for q in range(qubits)]
    of = Simulator("mqvector", qubits, dtype=mq.complex64).get_expectation_with_grad(hams, drawn, parallel_worker=1)
    rows, weights, mixed = (np.array(values, np.float32) for values in (x, theta, mix))
    first, second = ([int(n[1:]) for n in names] for names in (drawn.encoder_params_name, drawn.ansatz_params_name))

    def work() -> list[float]:
        values, d_rows, d_weights = of(rows[:, first], weights[second])
        d_x, d_theta = np.empty(rows.shape), np.empty(weights.shape)
        d_x[:, first] = np.einsum("bq,bqn->bn", mixed, d_rows.real)
        d_theta[second] = np.einsum("bq,bqp->p", mixed, d_weights.real)
        return [float((values.real * mixed).sum()), *d_theta[:8].tolist(), *d_x[0, :4].tolist()]

    return work


def distil(qubits: int, reps: int, classes: int, batch: int, batches: int, arrays: dict[str, list]) -> Timed:
    """Training steps of QD-LLM's student: the circuit's slopes by MindQuantum, those of the dense layers by hand."""
    gates = list(layered_gates(qubits, reps))
    drawn = circuit(gates[:qubits]).as_encoder() + circuit(gates[qubits:]).as_ansatz()
    hams = [Hamiltonian(QubitOperator(f"Z{q}")).astype(mq.complex64) for q in range(qubits)]
    of = Simulator("mqvector", qubits, dtype=mq.complex64).get_expectation_with_grad(hams, drawn, parallel_worker=1)
    first, second = ([int(n[1:]) for n in names] for names in (drawn.encoder_params_name, drawn.ansatz_params_name))
    held = {name: np.array(values, np.float32) for name, values in arrays.items()}
    x, labels, soft = taught_rows(batch * batches, len(held["W"]), classes)
    means, squares = ({name: np.zeros_like(array) for name, array in held.items()} for _ in range(2))

    def work() -> list[float]:
        losses = []
        for step, at in enumerate(range(0, len(x), batch), 1):
            part = slice(at, at + batch)
            z = x[part] @ held["W"] + held["b"] + np.float32(np.pi / 2)
            values, d_rows, d_weights = of(z[:, first], held["theta"][second])
            logits = values.real @ held["V"] + held["c"]
            loss, d_logits = distilled_slope(logits.astype(float), labels[part], soft[part])
            d_read, d_z, d_theta = d_logits @ held["V"].T, np.empty(z.shape), np.empty(held["theta"].shape)
            d_z[:, first] = np.einsum("bq,bqn->bn", d_read, d_rows.real)
            d_theta[second] = np.einsum("bq,bqp->p", d_read, d_weights.real)
            slopes = {"W": x[part].T @ d_z, "b": d_z.sum(0), "theta": d_theta}
            slopes |= {"V": values.real.T @ d_logits, "c": d_logits.sum(0)}
            for name, slope in slopes.items():  # Adam
                means[name] += 0.1 * (slope - means[name])
                squares[name] += 0.001 * (slope**2 - squares[name])
                size = np.sqrt(squares[name] / (1 - 0.999**step)) + 1e-8
                held[name] -= np.float32(1e-12) * means[name] / (1 - 0.9**step) / size
            losses.append(loss)
        return [sum(losses) / batches]

    return work


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered, "distil": distil}, version("mindquantum"))
