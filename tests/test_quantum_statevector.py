"""The exact engine against qiskit.quantum_info.Statevector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Statevector

from quantum.circuits import CIRCUITS
from quantum.feature_maps import FEATURE_MAPS
from quantum.statevector import Compiled, probabilities
from quantum.vqc import vqc
from recipes.section import RecipeError

GATES = {  # name → (qubits, parameters)
    **dict.fromkeys(("h", "x", "y", "z", "s", "t"), (1, 0)),
    **dict.fromkeys(("rx", "ry", "rz", "p"), (1, 1)),
    "u": (1, 3),
    **dict.fromkeys(("cx", "cz", "swap"), (2, 0)),
    **dict.fromkeys(("crx", "cry", "crz", "cp", "rzz", "rxx"), (2, 1)),
    "cu": (2, 4),
}
ENTANGLEMENTS = ("linear", "reverse_linear", "circular", "full")


@st.composite
def circuits(draw):
    """A random circuit whose parameters are plain, scaled, squared, a sine or shared between gates."""
    n_qubits = draw(st.integers(1, 5))
    circuit = QuantumCircuit(n_qubits)
    known = [Parameter(f"p{i}") for i in range(4)]
    forms = (lambda p: p, lambda p: 2 * p - 0.5, lambda p: p * known[0], lambda p: p.sin() + p**3, lambda p: 0.7)
    names = [name for name, (width, _) in GATES.items() if width <= n_qubits]
    for name in draw(st.lists(st.sampled_from(names), max_size=12)):
        width, count = GATES[name]
        qubits = draw(st.permutations(range(n_qubits)))[:width]
        values = [draw(st.sampled_from(forms))(draw(st.sampled_from(known))) for _ in range(count)]
        getattr(circuit, name)(*values, *qubits)
    return circuit


def oracle(circuit, rows):
    bound = [circuit.assign_parameters(dict(zip(circuit.parameters, row, strict=True))) for row in rows]
    return np.array([Statevector(one).probabilities() for one in bound])


@settings(max_examples=150, derandomize=True)
@given(circuit=circuits(), seed=st.integers(0, 999), shared=st.booleans())
def test_random_circuits_agree_with_qiskit(circuit, seed, shared):
    rows = np.random.default_rng(seed).uniform(-4, 4, (3, circuit.num_parameters))
    if shared and circuit.num_parameters:
        rows[:, 0] = rows[0, 0]
    assert_allclose(probabilities(circuit, rows), oracle(circuit, rows), atol=1e-12)


@pytest.mark.parametrize("entanglement", ENTANGLEMENTS)
@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
@settings(max_examples=4, derandomize=True)
@given(n_qubits=st.integers(2, 6), reps=st.integers(1, 3), n_rows=st.sampled_from((2, 70)), seed=st.integers(0, 999))
def test_a_compiled_vqc_agrees_with_qiskit(feature_map, entanglement, n_qubits, reps, n_rows, seed):
    rng = np.random.default_rng(seed)
    ansatz = vqc(n_qubits, feature_map, rng.uniform(0.5, np.pi), reps, entanglement)
    x, theta = rng.uniform(0, 1, (n_rows, n_qubits)), rng.uniform(-np.pi, np.pi, n_qubits * (reps + 1))
    compiled = Compiled(ansatz)
    ours = compiled.probabilities(compiled.encode(x), theta)
    assert (len(ansatz.inputs), len(ansatz.weights)) == (n_qubits, n_qubits * (reps + 1))
    for row, found in zip(x[:2], ours, strict=False):
        values = dict(zip(ansatz.inputs + ansatz.weights, np.r_[row, theta], strict=True))
        expected = Statevector(ansatz.circuit.assign_parameters(values)).probabilities()
        assert_allclose(found, expected, atol=1e-12)
    assert_allclose(ours.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("name", CIRCUITS)
@settings(max_examples=4, derandomize=True)
@given(qubits=st.integers(2, 5), n_rows=st.sampled_from((1, 40)), seed=st.integers(0, 999))
def test_every_compiled_circuit_agrees_with_qiskit(name, qubits, n_rows, seed):
    ansatz, rng = CIRCUITS[name](qubits=qubits), np.random.default_rng(seed)
    x, theta = rng.uniform(0, 1, (n_rows, len(ansatz.inputs))), rng.uniform(-4, 4, len(ansatz.weights))
    compiled = Compiled(ansatz)
    ours = compiled.probabilities(compiled.encode(x), theta)
    for row, found in zip(x[:2], ours, strict=False):
        values = dict(zip(ansatz.inputs + ansatz.weights, np.r_[row, theta], strict=True))
        expected = Statevector(ansatz.circuit.assign_parameters(values)).probabilities()
        assert_allclose(found, expected, atol=1e-12)


def test_the_ry_student_stays_real():
    compiled = Compiled(vqc(4, "ry", np.pi, 3, "reverse_linear"))
    assert compiled.encode(np.full((3, 4), 0.3)).states.dtype == np.float64


def test_qubit_0_is_the_lowest_bit():
    circuit = QuantumCircuit(3)
    circuit.x(0)
    assert probabilities(circuit, np.empty((1, 0)))[0].argmax() == 1


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_zz_is_the_form_of_the_paper(scale):
    """H, P(2φ_i), then CX P(2(π−φ_0)(π−φ_1)) CX with φ = s·x."""
    ours, x = FEATURE_MAPS["zz"](2, scale), np.array([0.3, 0.8])
    phi = scale * x
    hand = QuantumCircuit(2)
    hand.h([0, 1])
    hand.p(2 * phi[0], 0)
    hand.p(2 * phi[1], 1)
    hand.cx(0, 1)
    hand.p(2 * (np.pi - phi[0]) * (np.pi - phi[1]), 1)
    hand.cx(0, 1)
    bound = ours.assign_parameters(dict(zip(ours.parameters, x, strict=True)))
    assert Statevector(bound).equiv(Statevector(hand))


@pytest.mark.parametrize(("name", "scale"), [("ry", 2 * np.pi), ("z", np.pi)])
def test_a_feature_map_that_turns_fully_cannot_tell_0_from_1(name, scale):
    circuit = FEATURE_MAPS[name](1, scale)
    at = [Statevector(circuit.assign_parameters([x])) for x in (0, 1, 0.5)]
    assert at[0].equiv(at[1])
    assert abs(at[0].inner(at[2])) < 1e-9  # and 1/2 is the furthest


def test_more_qubits_than_memory_is_an_error_before_memory_is_taken():
    with pytest.raises(RecipeError, match=r"40 qubits need .*; lower student\.qubits or data\.rows$"):
        probabilities(QuantumCircuit(40), np.empty((1, 0)))


def test_rows_of_another_width_and_measured_circuits_are_refused():
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    with pytest.raises(ValueError, match=r"\(rows, 1\)"):
        probabilities(circuit, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no rows"):
        probabilities(circuit, np.zeros((0, 1)))
    circuit.measure_all()
    with pytest.raises(ValueError, match="measure is not a gate"):
        probabilities(circuit, np.zeros((2, 1)))
