"""⟨Z⟩ that goes back through the noise is what density matrices say, and costs rows nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from quantum.backends import devices
from quantum.density import Channel, depolarizing_transfer
from quantum.heisenberg import RowsDifferError, work, z_values
from quantum.layered import layered
from quantum.mitigation import confused, corrected, misread
from quantum.readout import bit


def rows_of(ansatz, n_rows, seed):
    rng = np.random.default_rng(seed)
    x, theta = rng.uniform(-np.pi, np.pi, (n_rows, len(ansatz.inputs))), rng.uniform(-np.pi, np.pi, len(ansatz.weights))
    return ansatz.rows(x, theta[None])


def z_of(probs_BD, n):
    return np.stack([probs_BD @ (1.0 - 2 * bit(n, qubit)) for qubit in range(n)], axis=1)


def noisy(ansatz, p=0.02):
    circuit = ansatz.circuit
    return Channel(circuit, lambda name, qubits: depolarizing_transfer(p, len(qubits)), list(range(circuit.num_qubits)))


@settings(max_examples=10, derandomize=True)
@given(
    qubits=st.integers(2, 4),
    reps=st.integers(1, 3),
    entanglement=st.sampled_from(["circular", "linear"]),
    n_rows=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_z_is_what_density_matrices_say(qubits, reps, entanglement, n_rows, seed):
    ansatz = layered(qubits, reps, entanglement)
    channel, rows = noisy(ansatz), rows_of(ansatz, n_rows, seed)
    assert_allclose(z_values(channel, rows), z_of(channel.run(rows), qubits), atol=2e-6)


def test_on_a_fake_device_too_where_qubits_are_placed_and_swapped():
    ansatz = layered(4, 2)
    on, rows = devices("manila")(ansatz.circuit), rows_of(ansatz, 5, 0)
    assert_allclose(misread(on.z_values(rows), on.confusion), z_of(on.probabilities(rows), 4), atol=2e-6)


def test_read_out_errors_of_z_are_those_of_probabilities_and_are_undone():
    rng = np.random.default_rng(0)
    confusion = np.array([[[0.97, 0.06], [0.03, 0.94]], [[0.9, 0.2], [0.1, 0.8]]])
    probs = rng.dirichlet(np.ones(4), 6)
    z = z_of(probs, 2)
    assert_allclose(misread(z, confusion), z_of(confused(probs, confusion), 2), atol=1e-12)
    assert_allclose(corrected(misread(z, confusion), confusion), z, atol=1e-12)
    assert np.abs(corrected(np.array([[-1.0, 1.0]]), confusion)).max() <= 1


def test_rows_that_differ_behind_a_gate_on_two_qubits_are_refused():
    ansatz = layered(3, 1)
    rows = rows_of(ansatz, 2, 0)
    rows[1] += 0.1  # the weights too
    with pytest.raises(RowsDifferError, match="rows differ in a gate on qubits"):
        z_values(noisy(ansatz), rows)


def test_the_work_does_not_depend_on_the_rows_and_grows_with_the_qubits():
    few, many = (work(noisy(layered(n, 2)), rows_of(layered(n, 2), 3, 0)) for n in (3, 5))
    assert 0 < few < many
    assert work(noisy(layered(3, 2)), rows_of(layered(3, 2), 50, 1)) == few
