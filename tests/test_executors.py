"""Every executor against Qiskit's own states: one suite for all of them, by name."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector

from quantum.executor import executor, visit_seed

SPECS = ["exact", "shots"]


@pytest.fixture(params=SPECS)
def spec(request):
    return request.param


def circuit_of_three():
    """No two qubits alike, so that a wrong bit order shows."""
    a, b, c = (Parameter(name) for name in "abc")
    circuit = QuantumCircuit(3)
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.rz(b, 1)
    circuit.h(2)
    circuit.rx(c * a, 2)
    return circuit


def rows_of(circuit, n):
    return np.random.default_rng(1).uniform(-3, 3, (n, circuit.num_parameters))


def states(circuit, rows):
    return [Statevector(circuit.assign_parameters(dict(zip(circuit.parameters, row, strict=True)))) for row in rows]


def test_probabilities_are_qiskits_in_the_order_of_the_rows(spec):
    circuit = circuit_of_three()
    rows = rows_of(circuit, 20)
    run = executor(spec, shots=4000, seed=3)
    found = run.probabilities(circuit, rows)
    exact = np.array([state.probabilities() for state in states(circuit, rows)])
    bound = 1e-9 if run.shots is None else 5 * np.sqrt(exact * (1 - exact) / 4000) + 5 / 4000
    assert found.shape == (20, 8)
    assert (abs(found - exact) <= bound).all()
    run.close()


def test_expectations_are_qiskits(spec):
    circuit = circuit_of_three()
    rows = rows_of(circuit, 5)
    observables = [
        SparsePauliOp(["ZII", "IXI"], [1, -0.5]),
        SparsePauliOp("IZZ"),
        SparsePauliOp("YYX"),
        SparsePauliOp("III"),
    ]
    run = executor(spec, shots=4000, seed=3)
    exact = [[state.expectation_value(o).real for o in observables] for state in states(circuit, rows)]
    assert_allclose(
        run.expectations(circuit, observables, rows), exact, atol=1e-9 if run.shots is None else 8 / 4000**0.5
    )


def test_equal_seeds_give_equal_counts_and_no_two_visits_alike():
    circuit = circuit_of_three()
    rows = rows_of(circuit, 5)
    seeds = [visit_seed(0, client, round_) for client in (0, 1) for round_ in (1, 2)]
    first, again = (
        [executor("shots", shots=999, seed=s).probabilities(circuit, rows) for s in seeds] for _ in range(2)
    )
    assert_allclose(first, again, atol=0)
    assert len({one.tobytes() for one in first}) == len(seeds)
