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


def reversed_bits(values: list[float], qubits: int) -> list[float]:
    """For libraries whose first qubit is the highest bit of a basis state's number; ours is the lowest."""
    return [values[int(f"{b:0{qubits}b}"[::-1], 2)] for b in range(len(values))]
