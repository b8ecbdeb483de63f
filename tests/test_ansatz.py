"""A circuit that knows its inputs, its weights, their periods and its read-outs, and refuses what cannot be one."""

from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter
from qiskit.quantum_info import Statevector, random_unitary

from quantum.ansatz import Ansatz, AnsatzError
from recipes.section import RecipeError

A, B, C = Parameter("a"), Parameter("b"), Parameter("c")

PERIODS = {  # gate → in units of 2π, one a parameter
    **dict.fromkeys(("rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "rzx", "cp"), (1,)),
    **dict.fromkeys(("crx", "cry", "crz"), (2,)),
    "r": (1, 1),
    "u": (1, 1, 1),
    "cu": (2, 1, 1, 1),
    "cu3": (2, 1, 1),
}


def gate(name, values, qubits):
    from qiskit.circuit.library import CU3Gate

    circuit = QuantumCircuit(3)
    if name == "cu3":
        circuit.append(CU3Gate(*values), qubits)
    else:
        getattr(circuit, name)(*values, *qubits)
    return circuit


def width(name):
    return 1 if name in ("rx", "ry", "rz", "p", "r", "u") else 2


@pytest.mark.parametrize("name", PERIODS)
@settings(max_examples=15, derandomize=True)
@given(seed=st.integers(0, 9999), place=st.integers(0, 3), multiple=st.sampled_from([1, 2, -1, -3]))
def test_the_probabilities_of_any_circuit_repeat_after_a_weights_period(name, seed, place, multiple):
    rng = np.random.default_rng(seed)
    place %= len(PERIODS[name])
    values = [*rng.uniform(-pi, pi, len(PERIODS[name]))]
    values[place] = multiple * A
    before, after = (QuantumCircuit(3) for _ in range(2))
    for one in (before, after):
        one.unitary(random_unitary(8, seed=int(rng.integers(1e6))), range(3))
    qubits = [int(q) for q in rng.permutation(3)[: width(name)]]
    circuit = before.compose(gate(name, values, qubits)).compose(after)
    (period,) = Ansatz(circuit, (), (A,)).periods
    assert period == 2 * pi * PERIODS[name][place]
    at = rng.uniform(-pi, pi)
    here, there = (Statevector(circuit.assign_parameters({A: value})) for value in (at, at + period))
    assert_allclose(there.probabilities(), here.probabilities(), atol=1e-9)
    if period == 4 * pi and multiple % 2:
        half = Statevector(circuit.assign_parameters({A: at + 2 * pi})).probabilities()
        assert abs(half - here.probabilities()).max() > 1e-6


def test_a_weight_of_two_gates_has_the_longer_period():
    circuit = QuantumCircuit(2)
    circuit.ry(A, 0)
    circuit.cry(A, 0, 1)
    circuit.rz(B, 1)
    assert Ansatz(circuit, (), (B, A)).periods == (2 * pi, 4 * pi)


def test_a_weight_without_a_period_is_refused_by_name():
    half = QuantumCircuit(1)
    half.ry(A / 2, 0)
    square = QuantumCircuit(1)
    square.ry(A * B, 0)
    for circuit, weights in ((half, (A,)), (square, (A, B))):
        with pytest.raises(AnsatzError, match=r"ry\(.*\) has no period; use a whole multiple of one weight"):
            _ = Ansatz(circuit, (), weights).periods

    class Slow(Gate):
        def __array__(self, dtype=None, copy=None):
            return np.diag([1, np.exp(0.1j * float(self.params[0]))])

    slow = QuantumCircuit(1)
    slow.append(Slow("slow", 1, [A]), [0])
    with pytest.raises(AnsatzError, match="slow does not repeat after 4π of its angle 0"):
        _ = Ansatz(slow, (), (A,)).periods


def test_the_encoding_ends_at_the_first_weight_and_inputs_may_come_again():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    circuit.rz(B, 0)
    once = Ansatz(circuit.copy(), (A,), (B,))
    assert [one.operation.name for one in once.encoding] == ["h", "ry", "cx"]
    assert [one.operation.name for one in once.learned] == ["rz"]
    assert not once.reuploads
    circuit.ry(2 * A, 1)
    again = Ansatz(circuit, (A,), (B,))
    assert [one.operation.name for one in again.learned] == ["rz", "ry"]
    assert again.reuploads
    assert not Ansatz(circuit, (A, B), ()).learned


def test_the_qubits_that_are_read_are_those_named_or_all():
    circuit = QuantumCircuit(3)
    assert Ansatz(circuit, (), ()).read == (0, 1, 2)
    assert Ansatz(circuit, (), (), readout=(2, 0)).read == (2, 0)


def one_qubit(*gates):
    circuit = QuantumCircuit(1)
    for angle in gates:
        circuit.ry(angle, 0)
    return circuit


@pytest.mark.parametrize(
    ("circuit", "inputs", "weights", "readout", "complaint"),
    [
        (one_qubit(A, B), (A,), (A, B), (), "a declared twice"),
        (one_qubit(A, B), (A,), (B, B), (), "b declared twice"),
        (one_qubit(A, B), (A,), (), (), "b in the circuit is neither"),
        (one_qubit(A, B), (A,), (B, C), (), "c is declared but no gate"),
        (one_qubit(A * B), (A,), (B,), (), "ry mixes an input with a weight"),
        (QuantumCircuit(3), (), (), (1, 2, 1), "qubit 1 is read twice"),
        (QuantumCircuit(3), (), (), (0, 3), "qubit 3 is read; the circuit has qubits 0 to 2"),
        (QuantumCircuit(3), (), (), (-1,), "qubit -1 is read"),
    ],
)
def test_an_ansatz_checks_itself(circuit, inputs, weights, readout, complaint):
    with pytest.raises(AnsatzError, match=complaint):
        Ansatz(circuit, inputs, weights, readout)


@pytest.mark.parametrize(("act", "arguments"), [("measure", (0, 0)), ("reset", (0,)), ("initialize", ("1",))])
def test_an_ansatz_is_neither_measured_nor_reset(act, arguments):
    circuit = QuantumCircuit(1, 1)
    getattr(circuit, act)(*arguments)
    with pytest.raises(AnsatzError, match=f"holds {act}; an ansatz ends before"):
        Ansatz(circuit, (), ())


def test_an_ansatz_that_cannot_be_is_a_recipe_that_cannot_be_run():
    assert issubclass(AnsatzError, RecipeError)
