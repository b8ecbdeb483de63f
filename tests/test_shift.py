"""The shift rule against Qiskit's gates: two terms, four terms, weights that gates share, gates without a rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Statevector

from quantum.ansatz import Ansatz
from quantum.executor import exact
from quantum.shift import FOUR, TWO, rule, shifts
from recipes.section import RecipeError

GATES = {  # name → (qubits, terms of each angle)
    **dict.fromkeys(("rx", "ry", "rz", "p"), (1, (TWO,))),
    "u": (1, (TWO, TWO, TWO)),
    **dict.fromkeys(("rxx", "ryy", "rzz", "rzx", "cp"), (2, (TWO,))),
    **dict.fromkeys(("crx", "cry", "crz"), (2, (FOUR,))),
    "cu": (2, (FOUR, TWO, TWO, TWO)),
}


@st.composite
def circuits(draw):
    """Random gates on 3 qubits whose angles are weights, multiples of weights, one weight in many gates, or numbers."""
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    x, weights = Parameter("x"), [Parameter(f"w{i}") for i in range(3)]
    circuit.ry(x, 0)
    for name in draw(st.lists(st.sampled_from(list(GATES)), min_size=1, max_size=6)):
        width, terms = GATES[name]
        forms = [*weights, 2 * weights[0] - 0.3, weights[1] - weights[2], 0.4]
        qubits = draw(st.permutations(range(3)))[:width]
        getattr(circuit, name)(*(draw(st.sampled_from(forms)) for _ in terms), *qubits)
        circuit.sx(range(3))
    used = [weight for weight in weights if weight in circuit.parameters]
    if not used:
        circuit.ry(weights[0], 1)
        used = weights[:1]
    return Ansatz(circuit, (x,), tuple(used))


@settings(max_examples=60, derandomize=True)
@given(ansatz=circuits(), seed=st.integers(0, 999))
def test_the_rule_is_the_derivative_of_qiskits_probabilities(ansatz, seed):
    draws = np.random.default_rng(seed)
    x, theta = draws.uniform(-2, 2, (2, 1)), draws.uniform(-4, 4, len(ansatz.weights))
    slope = draws.normal(size=(2, 8))  # of any loss
    found = shifts(ansatz)
    outputs = exact(found.circuit, found.rows(x, theta)).reshape(found.evaluations, 2, 8)

    def loss(theta):
        values = [dict(zip((*ansatz.inputs, *ansatz.weights), (*row, *theta), strict=True)) for row in x]
        return sum(
            s @ Statevector(ansatz.circuit.assign_parameters(v)).probabilities()
            for s, v in zip(slope, values, strict=True)
        )

    steps = 1e-5 * np.eye(len(theta))
    assert_allclose(outputs[0], exact(found.circuit, found.rows(x, theta))[:2])
    expected = [(loss(theta + step) - loss(theta - step)) / 2e-5 for step in steps]
    assert_allclose(found.slope(outputs, slope), expected, atol=1e-7)


@pytest.mark.parametrize("name", GATES)
def test_a_controlled_rotation_needs_four_terms_and_the_others_two(name):
    width, terms = GATES[name]
    circuit = QuantumCircuit(width)
    getattr(circuit, name)(*(Parameter(f"w{i}") for i in range(len(terms))), *range(width))
    (gate,) = circuit.data
    assert [rule(gate.operation, place) for place in range(len(terms))] == list(terms)


def test_inputs_are_not_shifted():
    circuit, x, w = QuantumCircuit(1), Parameter("x"), Parameter("w")
    circuit.ry(x, 0)
    circuit.ry(w, 0)
    circuit.ry(2 * x, 0)
    assert shifts(Ansatz(circuit, (x,), (w,))).evaluations == 3


def test_a_gate_without_a_rule_and_an_angle_that_is_not_linear_are_named():
    circuit, a, b = QuantumCircuit(2), Parameter("a"), Parameter("b")
    circuit.r(a, b, 0)
    circuit.cx(0, 1)
    with pytest.raises(RecipeError, match="r has no shift rule for its angle 1"):
        shifts(Ansatz(circuit, (), (a, b)))
    squared = QuantumCircuit(1)
    squared.ry(a * a, 0)
    with pytest.raises(RecipeError, match="ry has an angle that is not linear"):
        shifts(Ansatz(squared, (), (a,)))
