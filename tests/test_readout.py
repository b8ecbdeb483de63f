"""Read-outs: outputs of a circuit as probabilities of classes, and their slopes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from quantum.guidance import cross_entropy
from quantum.readout import READOUTS, SHARPNESS, readout
from recipes.section import RecipeError


@pytest.mark.parametrize("kind", READOUTS)
@given(n_qubits=st.integers(1, 6), n_classes=st.integers(2, 5), seed=st.integers(0, 99), shots=st.sampled_from([1, 9]))
def test_class_probabilities_sum_to_one_and_their_loss_has_the_slope_it_says(kind, n_qubits, n_classes, seed, shots):
    if n_classes > n_qubits + (kind == "parity"):
        with pytest.raises(RecipeError, match=r"qubits .*use at least .*student\.qubits"):
            readout(kind, n_qubits, range(n_qubits), n_classes)
        return
    draws = np.random.default_rng(seed)
    one = readout(kind, n_qubits, draws.permutation(n_qubits), n_classes)
    frequencies = draws.multinomial(shots, draws.dirichlet(np.ones(2**n_qubits)), 3) / shots
    outputs, labels = frequencies @ one.matrix, draws.integers(0, n_classes, 3)
    for count in (None, shots):
        probs = one.classes(outputs, count)
        assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
        assert (probs >= 0).all()
    assert (one.classes(outputs, shots) > 0).all()  # no shot proves that a class is impossible

    def loss(moved):
        return cross_entropy(one.classes(moved, shots), labels)

    steps = 1e-6 * np.eye(outputs.size).reshape(-1, *outputs.shape)
    slope = [(loss(outputs + step) - loss(outputs - step)) / 2e-6 for step in steps]
    of_ln_p = -np.eye(n_classes)[labels] / len(labels)  # the slope of the loss in ln p
    assert_allclose(one.slope(outputs, of_ln_p, shots).ravel(), slope, rtol=1e-4, atol=1e-6)


@given(n_qubits=st.integers(1, 8), n_classes=st.integers(2, 5))
def test_parity_counts_the_ones_of_a_state(n_qubits, n_classes):
    if n_classes <= n_qubits + 1:
        matrix = readout("parity", n_qubits, range(n_qubits), n_classes).matrix
        assert all(matrix[b, bin(b).count("1") % n_classes] == 1 for b in range(2**n_qubits))
        assert_array_equal(matrix.sum(axis=1), 1)


def test_both_read_the_qubits_they_are_given_in_their_order():
    assert_array_equal(readout("parity", 3, [2], 2).matrix.argmax(axis=1), [0, 0, 0, 0, 1, 1, 1, 1])
    two = readout("softmax", 2, [1, 0], 2)
    assert_allclose(two.matrix / SHARPNESS, [[1, 1], [1, -1], [-1, 1], [-1, -1]])
    dealt = readout("softmax", 4, range(4), 2)  # qubits 0 and 2, 1 and 3
    assert_allclose(dealt.matrix[0b0101] / SHARPNESS, [-1, 1])
    assert_allclose(dealt.matrix[0b0001] / SHARPNESS, [0, 1])
