"""Every circuit by name: its counts, its periods, its read-outs, and how many of its weights can tell."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Statevector

from quantum.angles import free
from quantum.ansatz import Ansatz, AnsatzError
from quantum.circuits import CIRCUITS
from quantum.effective import effective_weights, jacobian
from quantum.feature_maps import FEATURE_MAPS
from quantum.qcnn import n_weights

GOLDEN = json.loads((Path(__file__).parent / "golden" / "circuits.json").read_text(encoding="utf-8"))
seeds = st.integers(0, 9999)


def outcomes(ansatz, x, theta):
    """Qiskit's probabilities of the qubits that are read."""
    values = dict(zip([*ansatz.inputs, *ansatz.weights], [*x, *theta], strict=True))
    return Statevector(ansatz.circuit.assign_parameters(values)).probabilities(list(ansatz.read))


def point(ansatz, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, len(ansatz.inputs)), rng.uniform(-np.pi, np.pi, len(ansatz.weights))


def signs(n_qubits):
    """(n, 2^n): the value of Z on each qubit in each basis state."""
    return np.array([[1 - 2 * (b >> q & 1) for b in range(2**n_qubits)] for q in range(n_qubits)])


def rank(matrix):
    return np.linalg.matrix_rank(matrix, tol=1e-6)


@pytest.mark.parametrize("golden", GOLDEN["counts"], ids=lambda one: f"{one['circuit']} {one['numbers']}")
def test_counts_are_those_of_the_papers(golden):
    ansatz = CIRCUITS[golden["circuit"]](**golden["numbers"])
    assert (len(ansatz.inputs), len(ansatz.weights)) == (golden["inputs"], golden["weights"])


@pytest.mark.parametrize("golden", GOLDEN["effective"], ids=lambda one: f"{one['circuit']} {one['numbers']}")
def test_effective_counts_are_those_counted_by_hand(golden):
    assert effective_weights(CIRCUITS[golden["circuit"]](**golden["numbers"])) == golden["effective"]


@pytest.mark.parametrize("name", CIRCUITS)
@settings(max_examples=5, derandomize=True)
@given(qubits=st.integers(2, 5), seed=seeds)
def test_the_output_repeats_after_every_weights_period(name, qubits, seed):
    ansatz = CIRCUITS[name](qubits=qubits)
    x, theta = point(ansatz, seed)
    here = outcomes(ansatz, x, theta)
    assert len(ansatz.periods) == len(theta)
    for weight in np.random.default_rng(seed).permutation(len(theta))[:12]:
        there = theta + np.eye(len(theta))[weight] * ansatz.periods[weight]
        assert_allclose(outcomes(ansatz, x, there), here, atol=1e-9)


@pytest.mark.parametrize("name", CIRCUITS)
@settings(max_examples=5, derandomize=True)
@given(qubits=st.integers(2, 4), seed=seeds)
def test_the_jacobian_agrees_with_differences_of_qiskits_probabilities(name, qubits, seed):
    ansatz = CIRCUITS[name](qubits=qubits)
    x, theta = point(ansatz, seed)
    ours = jacobian(ansatz, x, theta)
    assert ours.shape == (2 ** len(ansatz.read), len(theta))
    for weight in np.random.default_rng(seed).permutation(len(theta))[:5]:
        step = 1e-5 * np.eye(len(theta))[weight]
        change = (outcomes(ansatz, x, theta + step) - outcomes(ansatz, x, theta - step)) / 2e-5
        assert_allclose(ours[:, weight], change, atol=1e-8)


def test_the_jacobian_reads_qubits_in_the_order_of_the_readout_and_angles_of_any_form():
    circuit, w, x = QuantumCircuit(3), ParameterVector("w", 2), ParameterVector("x", 1)
    circuit.rx(x[0] ** 2, 0)
    circuit.u(w[0], 2 * w[1] + 0.3, w[0] * w[1], 0)
    circuit.cry(w[1], 0, 2)
    circuit.barrier()
    circuit.ry(-w[0], 1)
    ansatz = Ansatz(circuit, tuple(x), tuple(w), readout=(2, 1))
    theta, step = np.array([0.4, 1.1]), 1e-5
    change = [
        (outcomes(ansatz, [0.7], theta + d) - outcomes(ansatz, [0.7], theta - d)) / 2e-5 for d in step * np.eye(2)
    ]
    assert_allclose(jacobian(ansatz, [0.7], theta), np.transpose(change), atol=1e-8)


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
@pytest.mark.parametrize("name", ["vqc", "reupload"])
def test_every_weight_of_a_real_circuit_counts(name, feature_map):
    ansatz = CIRCUITS[name](feature_map=feature_map)
    assert effective_weights(ansatz) == len(ansatz.weights) == 16


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
def test_data_re_uploading_reads_its_inputs_before_every_layer(feature_map):
    def gates_with_inputs(ansatz):
        return sum(
            bool(free(value) & set(ansatz.inputs))
            for gate in ansatz.circuit.data
            for value in gate.params
            if free(value)
        )

    once, often = CIRCUITS["vqc"](feature_map=feature_map), CIRCUITS["reupload"](feature_map=feature_map, reps=3)
    assert (once.reuploads, often.reuploads) == (False, True)
    assert gates_with_inputs(often) == 3 * gates_with_inputs(once)


@pytest.mark.parametrize("reps", [1, 2, 3])
def test_re_uploading_multiplies_the_frequencies_of_a_feature(reps):
    """With RY(x), p is a trigonometric polynomial of degree `reps` in x, and no lower."""
    ansatz = CIRCUITS["reupload"](qubits=2, scale=1.0, reps=reps)
    _, theta = point(ansatz, 3)
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    waves = abs(np.fft.rfft([outcomes(ansatz, [x, 0.4], theta)[0] for x in turn])) / len(turn)
    assert waves[reps] > 1e-4
    assert_allclose(waves[reps + 1 :], 0, atol=1e-12)


@pytest.mark.parametrize(("qubits", "classes"), [(n, k) for n in range(2, 8) for k in range(2, n + 1)])
def test_every_weight_of_a_qcnn_moves_what_is_read_on_a_qubit_of_its_own_class(qubits, classes):
    for feature_map in FEATURE_MAPS:
        ansatz = CIRCUITS["qcnn"](qubits=qubits, classes=classes, feature_map=feature_map)
        assert len(ansatz.weights) == n_weights(qubits, classes)
        assert len(set(ansatz.readout)) == len(ansatz.readout) == classes
        moved = [signs(classes) @ jacobian(ansatz, *point(ansatz, seed)) for seed in range(3)]
        assert abs(np.vstack(moved)).max(axis=0).min() > 1e-4
        assert (abs(np.hstack(moved)).max(axis=1) > 1e-4).all()  # and every class is moved by some weight


def test_the_public_pooling_gate_has_an_angle_that_nothing_reads():
    """RZ on the dropped qubit commutes with the CX that it controls: why `qcnn` departs from the public code."""
    for turn, moves in (("rz", False), ("ry", True)):
        weights = ParameterVector("θ", 3)
        circuit = QuantumCircuit(2)
        circuit.u(0.3, 0.4, 0.5, 0)
        circuit.u(0.9, 0.2, 0.7, 1)
        circuit.rz(-np.pi / 2, 1)
        circuit.cx(1, 0)
        getattr(circuit, turn)(weights[0], 0)
        circuit.ry(weights[1], 1)
        circuit.cx(0, 1)
        circuit.ry(weights[2], 1)
        change = jacobian(Ansatz(circuit, (), tuple(weights), readout=(1,)), np.empty(0), np.array([0.1, 0.2, 0.3]))
        assert bool(abs(change[:, 0]).max() > 1e-3) is moves


@pytest.mark.parametrize("entanglement", ["circular", "linear"])
@pytest.mark.parametrize(("qubits", "reps"), [(3, 1), (3, 3), (4, 2), (5, 2)])
def test_of_a_layered_circuit_three_ry_count_once_and_the_last_phases_not_at_all(qubits, reps, entanglement):
    ansatz = CIRCUITS["layered"](qubits=qubits, reps=reps, entanglement=entanglement)
    assert len(ansatz.weights) == (7 * qubits - 5) * reps
    effective = (3 * qubits - 3) * (reps - 1) + qubits - 1
    assert effective_weights(ansatz) == effective
    _, theta = point(ansatz, 0)
    rows = np.random.default_rng(1).uniform(-3, 3, (12, qubits))
    of_z = np.vstack([signs(qubits) @ jacobian(ansatz, x, theta) for x in rows])
    assert rank(of_z) == effective  # ⟨Z⟩ loses nothing that the joint probabilities have
    last = np.arange(len(ansatz.weights)) >= len(ansatz.weights) - (4 * qubits - 2)
    assert_allclose(of_z[:, last], 0, atol=1e-12)


def test_a_layered_circuit_is_the_order_of_the_public_code():
    circuit = CIRCUITS["layered"](qubits=3, reps=1).circuit
    assert [gate.name for gate in circuit.data] == ["rx"] * 3 + ["ry"] * 6 + ["rzz"] + ["rz"] * 9 + ["cx"] * 3
    assert [[circuit.find_bit(q).index for q in gate.qubits] for gate in circuit.data[-3:]] == [[0, 1], [1, 2], [2, 0]]


@pytest.mark.parametrize(("qubits", "reps"), [(2, 2), (3, 3), (5, 2), (6, 2), (7, 3)])
def test_of_a_ring_five_weights_a_qubit_and_block_count_but_for_the_ends(qubits, reps):
    ansatz = CIRCUITS["ring"](qubits=qubits, reps=reps)
    assert len(ansatz.weights) == 6 * qubits * reps
    assert effective_weights(ansatz) == min(2**qubits - 1, qubits * (5 * reps - 3))


def test_a_rings_controlled_gate_is_a_u3_when_the_control_is_on():
    from qiskit.circuit.library import CU3Gate, UGate

    ansatz = CIRCUITS["ring"](qubits=2, reps=1)
    _, theta = point(ansatz, 0)
    hand = QuantumCircuit(2)
    hand.append(UGate(*theta[:3]), [0])
    hand.append(UGate(*theta[3:6]), [1])
    hand.append(CU3Gate(*theta[6:9]), [0, 1])
    hand.append(CU3Gate(*theta[9:]), [1, 0])
    assert_allclose(outcomes(ansatz, [], theta), Statevector(hand).probabilities(), atol=1e-12)
    assert [period / (2 * np.pi) for period in ansatz.periods] == [1] * 6 + [2, 1, 1] * 2


@pytest.mark.parametrize(
    ("name", "numbers", "complaint"),
    [
        ("qcnn", {"qubits": 3, "classes": 4}, "4 classes on 3 qubits; a qcnn reads one qubit a class"),
        ("qcnn", {"classes": 1}, "1 classes on 4 qubits; .* at least 2"),
        ("ring", {"qubits": 1}, "a ring of 1 qubits has no neighbours"),
        ("layered", {"qubits": 1}, "1 qubits have no neighbours"),
        ("layered", {"entanglement": "full"}, "entanglement is full; it must be circular or linear"),
        ("vqc", {"feature_map": "zzz"}, "feature map zzz is unknown; use ry, z, zz"),
    ],
)
def test_numbers_that_make_no_circuit_are_refused_by_name(name, numbers, complaint):
    with pytest.raises(AnsatzError, match=complaint):
        CIRCUITS[name](**numbers)
