"""MindQuantum: its own C++ simulator and its own gradients, in complex64; a probability is ⟨b|b⟩, so Σ mix·p is one
Hamiltonian on the diagonal."""

from importlib.metadata import version

import mindquantum as mq
import numpy as np
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


if __name__ == "__main__":
    serve({"ring": ring, "layered": layered}, version("mindquantum"))
