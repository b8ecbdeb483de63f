"""The engine that trains, against qiskit.quantum_info.Statevector and differences of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.quantum_info import Statevector

from quantum.engine import Engine

GATES = {  # every standard gate of Qiskit: name → gate
    name: gate for name, gate in get_standard_gate_name_mapping().items() if isinstance(gate, Gate)
}
FORMS = (  # of an angle, from two parameters
    lambda p, q: p,
    lambda p, q: 2 * p - 0.5,
    lambda p, q: (np.pi - p) * (np.pi - q),
    lambda p, q: p.sin() + q**3,
    lambda p, q: 0.7,
)
EXACT = {"double": (1e-12, 1e-8), "single": (1e-6, 1e-4)}  # of probabilities and of gradients
KERNELS = ["torch"]


@st.composite
def ansatzes(draw, forms=FORMS, most_qubits=5):
    """Any gates on up to five qubits; their angles are numbers or functions of two inputs and three weights."""
    n_qubits = draw(st.integers(1, most_qubits))
    circuit = QuantumCircuit(n_qubits)
    inputs, weights = ([Parameter(f"{name}{i}") for i in range(count)] for name, count in (("x", 2), ("w", 3)))
    names = [name for name, gate in GATES.items() if gate.num_qubits <= n_qubits]
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=14)):
        gate = GATES[name]
        qubits = draw(st.permutations(range(n_qubits)))[: gate.num_qubits]
        pool = draw(st.sampled_from((inputs, weights, inputs + weights)))
        two = st.tuples(st.sampled_from(pool), st.sampled_from(pool))
        values = [draw(st.sampled_from(forms))(*draw(two)) for _ in gate.params]
        circuit.append(gate.base_class(*values) if gate.params else gate, qubits)
    used = set(circuit.parameters)
    return SimpleNamespace(
        circuit=circuit,
        inputs=tuple(p for p in inputs if p in used),
        weights=tuple(p for p in weights if p in used),
        readout=tuple(draw(st.permutations(range(n_qubits)))[: draw(st.integers(1, n_qubits))]),
    )


def numbers(ansatz, n_rows, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-3, 3, (n_rows, len(ansatz.inputs))), rng.uniform(-3, 3, len(ansatz.weights))


def oracle(ansatz, x_BN, theta):
    names = (*ansatz.inputs, *ansatz.weights)
    bound = [ansatz.circuit.assign_parameters(dict(zip(names, [*row, *theta], strict=True))) for row in x_BN]
    return np.array([Statevector(one).probabilities() for one in bound])


def slope(function, at, index, h=1e-3):
    """Five points, error h⁴."""
    shifted = []
    for k in (-2, -1, 1, 2):
        point = at.copy()
        point[index] += k * h
        shifted.append(function(point))
    return (shifted[0] - 8 * shifted[1] + 8 * shifted[2] - shifted[3]) / (12 * h)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("precision", EXACT)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(ansatz=ansatzes(), n_rows=st.sampled_from((1, 3, 17)), seed=st.integers(0, 999))
def test_probabilities_and_expectations_agree_with_qiskit(kernel, precision, ansatz, n_rows, seed):
    x, theta = numbers(ansatz, n_rows, seed)
    engine, atol = Engine(ansatz, precision=precision, kernel=kernel), EXACT[precision][0]
    expected = oracle(ansatz, x, theta)
    probs = engine.probabilities(torch.tensor(x), torch.tensor(theta)).numpy()
    assert_allclose(probs, expected, atol=atol)
    signs = [1 - 2 * (np.arange(expected.shape[1]) >> qubit & 1) for qubit in ansatz.readout]
    values = engine.expectations(torch.tensor(x), torch.tensor(theta)).numpy()
    assert_allclose(values, expected @ np.transpose(signs), atol=2 * atol)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("precision", EXACT)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(ansatz=ansatzes(most_qubits=4), seed=st.integers(0, 999), of=st.sampled_from(("probabilities", "expectations")))
def test_gradients_of_weights_and_inputs_agree_with_differences(kernel, precision, ansatz, seed, of):
    x, theta = numbers(ansatz, 2, seed)
    readouts = [1 - 2 * (np.arange(2**ansatz.circuit.num_qubits) >> q & 1) for q in ansatz.readout]
    read = np.transpose(readouts) if of == "expectations" else np.eye(2**ansatz.circuit.num_qubits)
    mix = np.random.default_rng(seed).normal(size=(2, read.shape[1]))
    x_, theta_ = torch.tensor(x, requires_grad=True), torch.tensor(theta, requires_grad=True)
    engine = Engine(ansatz, precision=precision, kernel=kernel)
    total = (getattr(engine, of)(x_, theta_) * torch.tensor(mix)).sum() + 0 * (x_.sum() + theta_.sum())
    found = torch.cat([grad.ravel() for grad in torch.autograd.grad(total, (x_, theta_), materialize_grads=True)])

    def loss(point):
        return float((oracle(ansatz, point[: x.size].reshape(x.shape), point[x.size :]) @ read * mix).sum())

    at = np.r_[x.ravel(), theta]
    expected = np.array([slope(loss, at, k) for k in range(len(at))])
    scale = max(1.0, np.abs(expected).max(initial=0))  # a cube of an input has slopes up to 27
    assert_allclose(found, expected, atol=EXACT[precision][1] * scale)
