"""The circuits of bench/gradients.py as lists of gates, for every peer to draw in its own words. Standard library only,
but for images.

A gate is a name, its qubits and what its angles are: numbers of weights, or ("x", i) for feature i.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any

Gate = tuple[str, tuple[int, ...], tuple]


def ring(qubits: int, reps: int) -> Iterator[Gate]:
    """U3 on every qubit, CU3 from each to the next."""
    angle = count()
    for _ in range(reps):
        for qubit in range(qubits):
            yield "u3", (qubit,), (next(angle), next(angle), next(angle))
        for qubit in range(qubits):
            yield "cu3", (qubit, (qubit + 1) % qubits), (next(angle), next(angle), next(angle))


def layered(qubits: int, reps: int) -> Iterator[Gate]:
    """RX of the features, then layers of RY, RZZ, RZ and CNOT."""
    angle = count()
    for qubit in range(qubits):
        yield "rx", (qubit,), (("x", qubit),)
    for _ in range(reps):
        for qubit in sorted(3 * [*range(qubits - 1)]):
            yield "ry", (qubit,), (next(angle),)
        for qubit in range(qubits - 2):
            yield "rzz", (qubit, qubit + 1), (next(angle),)
        for qubit in sorted(3 * [*range(qubits)]):
            yield "rz", (qubit,), (next(angle),)
        for qubit in range(qubits):
            yield "cx", (qubit, (qubit + 1) % qubits), ()


def images(rows: int) -> tuple[Any, Any]:
    """Random images of 28×28 and classes, the same for every side that has NumPy."""
    import numpy as np

    draws = np.random.default_rng(0)
    return draws.integers(0, 256, (rows, 1, 28, 28), dtype=np.uint8), draws.integers(0, 10, rows)


def taught_rows(rows: int, columns: int, classes: int) -> tuple[Any, Any, Any]:
    """Random unit rows, their classes and a teacher's soft labels, the same for every side that has NumPy."""
    import numpy as np

    draws = np.random.default_rng(0)
    x = draws.normal(size=(rows, columns))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return x, draws.integers(0, classes, rows), draws.dirichlet(np.ones(classes), rows)


def distilled_slope(logits: Any, labels: Any, soft: Any, T: float = 2.0) -> tuple[float, Any]:
    """½·CE + 2·KL(t‖s) + ½·JS(q, p), means over the rows, and its slope in the logits.

    p = softmax(z), s = softmax(z/T), t the teacher's soft labels at T, q ∝ t^T.
    """
    import numpy as np

    def normal(values: Any) -> Any:
        odds = np.exp(values - values.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)

    p, s, q = normal(logits), normal(logits / T), normal(T * np.log(soft))
    m, hit, n = (p + q) / 2, np.eye(p.shape[1])[labels], len(labels)
    ce, kl = -(hit * np.log(p)).sum(), (soft * np.log(soft / s)).sum()
    js = ((p * np.log(p / m)).sum() + (q * np.log(q / m)).sum()) / 2
    inner = p * np.log(p / m) / 2
    slope = 0.5 * (p - hit) + 2 * (s - soft) / T + 0.5 * (inner - p * inner.sum(1, keepdims=True))
    return float((0.5 * ce + 2 * kl + 0.5 * js) / n), slope / n


def reversed_bits(values: list[float], qubits: int) -> list[float]:
    """For libraries whose first qubit is the highest bit of a basis state's number; ours is the lowest."""
    return [values[int(f"{b:0{qubits}b}"[::-1], 2)] for b in range(len(values))]
