"""QD-LLM's student: its counts, its equation against Qiskit, its slopes against differences, and what it learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.special import softmax

from quantum.arms import arms, student, twin
from quantum.dressed import Dressed
from quantum.engine import Engine
from quantum.executor import executor
from quantum.guidance import UNGUIDED, Guidance, cross_entropy
from recipes.schema import OptimiserConfig, StudentConfig

GOLDEN = json.loads((Path(__file__).parent / "golden" / "qd_llm.json").read_text())
ANGLES, READOUTS = ("shifted", "tanh", "minmax"), ("dense", "softmax")
COLUMNS = 6


def config_of(qubits=3, reps=2, angles="shifted", readout="dense", entanglement="circular"):
    return StudentConfig(
        kind="layered", qubits=qubits, reps=reps, angles=angles, readout=readout, entanglement=entanglement
    )


def rows(n_rows=40, seed=0, n_classes=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, COLUMNS))
    return x, x[:, :n_classes].argmax(1)


def arrays_of(one, seed=0):
    """Arrays anywhere, not only near the identity."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in one.shapes.items()}


def minibatch(epochs=1, batch=16, learning_rate=0.02):
    return OptimiserConfig(kind="minibatch", epochs=epochs, batch=batch, learning_rate=learning_rate)


@pytest.mark.parametrize("row", GOLDEN["parameters"], ids=lambda row: row["parameters"])
def test_the_parameters_are_those_of_the_paper(row):
    one = student(config_of(row["qubits"], row["reps"]), row["classes"], columns=row["columns"])
    assert one.parameters == row["parameters"]
    assert sum(array.size for array in one.initial(0).values()) == row["parameters"]


def test_the_twin_is_the_student_without_its_circuit():
    both = arms(config_of(11, 11), 2, columns=768)
    assert both["student"].parameters - both["twin"].parameters == 792
    one, (x, _) = both["twin"], rows()
    one = twin(config_of(), 2, columns=COLUMNS)
    a = arrays_of(one)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert_allclose(one.predict(a, x), softmax((units @ a["W"] + a["b"]) @ a["V"] + a["c"], axis=1), atol=1e-6)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("angles", ANGLES)
@settings(max_examples=5, derandomize=True)
@given(seed=st.integers(0, 99), n_classes=st.integers(2, 3))
def test_the_student_is_the_equation_of_its_docstring_in_qiskits_hands(angles, readout, seed, n_classes):
    one = student(config_of(angles=angles, readout=readout), n_classes, columns=COLUMNS)
    a, (x, _) = arrays_of(one, seed), rows(3, seed)
    inner = x / np.linalg.norm(x, axis=1, keepdims=True) @ a["W"] + a["b"]
    low, high = inner.min(1, keepdims=True), inner.max(1, keepdims=True)
    z_BN = {
        "shifted": inner + np.pi / 2,
        "tanh": np.pi / 2 * (1 + np.tanh(inner)),
        "minmax": 10 * (inner - low) / (high - low),
    }[angles]
    z_of = [SparsePauliOp.from_sparse_list([("Z", [qubit], 1)], 3) for qubit in range(3)]
    read = []
    for z_N in z_BN:
        value = dict(zip((*one.ansatz.inputs, *one.ansatz.weights), map(float, (*z_N, *a["theta"])), strict=True))
        state = Statevector(one.ansatz.circuit.assign_parameters(value))
        read.append([state.expectation_value(z).real for z in z_of])
    if readout == "dense":
        logits = np.array(read) @ a["V"] + a["c"]
    else:
        logits = 3 * np.stack([np.array(read)[:, k::n_classes].mean(1) for k in range(n_classes)], 1)
    assert_allclose(one.predict(a, x), softmax(logits, axis=1), atol=1e-5)


@pytest.mark.parametrize("circuit", [True, False])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("angles", ANGLES)
def test_the_first_step_goes_against_the_slope_that_differences_show(angles, readout, circuit):
    """Adam's first step is −η·sign(slope), of every number that is trained."""
    one = Dressed(config_of(angles=angles, readout=readout), 2, COLUMNS, circuit=circuit)
    x, labels = rows(12)
    soft = np.random.default_rng(1).dirichlet((1, 1), 12)
    guidance, start = Guidance(soft, 0.8, 2.0, 0.0, labels=0.5, shannon=0.4), arrays_of(one)
    fit = one.fit(start, x, labels[:7], minibatch(batch=12, learning_rate=1e-3), 3, guidance=guidance)
    held = {name: array.astype(np.float64) for name, array in start.items()}
    one.__dict__["engine"] = Engine(one.ansatz, precision="double") if circuit else None
    one._tensors = lambda arrays: {name: torch.from_numpy(arrays[name]) for name in one.shapes}
    one._rows = lambda x: torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True))

    def loss(name, place, move):
        moved = held | {name: held[name].copy()}
        moved[name].flat[place] += move
        return guidance.of(one.predict(moved, x), labels[:7])[0]

    assert_allclose(fit.losses, guidance.of(one.predict(held, x), labels[:7])[0], rtol=1e-5)
    for name, array in held.items():
        slope = np.array([loss(name, i, 1e-5) - loss(name, i, -1e-5) for i in range(array.size)]) / 2e-5
        step = (fit.arrays[name].astype(np.float64) - start[name]).ravel()
        tells = abs(slope) > 1e-4
        assert_allclose(step[tells], -1e-3 * np.sign(slope[tells]), rtol=0.05)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize(("qubits", "reps", "n_classes"), [(3, 1, 2), (3, 2, 3), (4, 2, 2)])
@pytest.mark.parametrize("circuit", [True, False])
def test_effective_parameters_are_the_rank_of_what_the_classes_see(qubits, reps, n_classes, angles, readout, circuit):
    """Of the differences of logits over many rows, in double precision."""
    one = Dressed(config_of(qubits, reps, angles, readout), n_classes, COLUMNS, circuit=circuit)
    if circuit:
        one.__dict__["engine"] = Engine(one.ansatz, precision="double")
    a = {name: torch.from_numpy(array).double().requires_grad_() for name, array in arrays_of(one).items()}
    x = torch.from_numpy(rows(50)[0])
    slopes = []
    for row in x / x.norm(dim=1, keepdim=True):
        (logits,) = one._logits(row[None], a)
        for logit in logits[1:]:
            parts = torch.autograd.grad(logit - logits[0], list(a.values()), retain_graph=True)
            slopes.append(torch.cat([part.ravel() for part in parts]))
    singular = torch.linalg.svdvals(torch.stack(slopes))
    assert int((singular > 1e-9 * singular[0]).sum()) == one.effective < one.parameters


@pytest.mark.parametrize("one", arms(config_of(), 2, columns=COLUMNS).values(), ids=lambda one: one.name)
class TestEither:
    def test_it_is_a_pure_function_of_its_arrays(self, one):
        x, labels = rows()
        start = one.initial(1)
        before = {name: array.copy() for name, array in start.items()}
        fit, again = (one.fit(start, x, labels, minibatch(3), 9, seed=2) for _ in range(2))
        for name, array in start.items():
            assert_array_equal(array, before[name])
            assert_array_equal(fit.arrays[name], again.arrays[name])
            assert (fit.arrays[name].dtype, fit.arrays[name].shape) == (np.float32, array.shape)
        assert (fit.evaluations, fit.shots, len(fit.losses), one.step(minibatch())) == (9, 0, 3, 3)

    def test_it_learns_a_separable_task(self, one):
        x, labels = rows(200)
        fit = one.fit(one.initial(0), x, labels, minibatch(60, learning_rate=0.05), 180)
        probs = one.predict(fit.arrays, x)
        assert_allclose(probs.sum(1), 1)
        assert (probs.argmax(1) == labels).mean() > 0.9
        assert fit.losses[-1] < 0.5 * fit.losses[0]

    def test_with_six_labels_it_learns_the_others_from_its_teacher(self, one):
        x, labels = rows(200, seed=3)
        soft = np.where(np.eye(2)[labels] == 1, 0.9, 0.1)

        def accuracy(guidance):
            shown = x if len(guidance.soft) else x[:6]
            fit = one.fit(one.initial(0), shown, labels[:6], minibatch(), 3 * 15, guidance=guidance)
            return (one.predict(fit.arrays, x[6:]).argmax(1) == labels[6:]).mean()

        for terms in ({"weight": 2.0}, {"shannon": 2.0}, {"weight": 1.0, "shannon": 0.5, "labels": 0.5}):
            assert accuracy(Guidance(soft, temperature=2.0, **terms)) > accuracy(UNGUIDED) + 0.05

    def test_the_length_of_a_row_says_nothing_and_an_empty_one_is_no_accident(self, one):
        (x, _), a = rows(5), one.initial(0)
        assert_allclose(one.predict(a, 100 * x), one.predict(a, x), atol=1e-5)
        assert np.isfinite(one.predict(a, 0 * x)).all()

    def test_wrong_shapes_and_executors_are_refused_by_name(self, one):
        (x, labels), a = rows(5), one.initial(0)
        with pytest.raises(ValueError, match=r"shape \(5, 3\).* 6 features"):
            one.predict(a, x[:, :3])
        with pytest.raises(ValueError, match=rf"arrays are .*; student {one.name} takes "):
            one.fit({"theta": a["b"]}, x, labels, minibatch(), 3)
        with pytest.raises(ValueError, match="trained on exact gradients, not on executor shots"):
            one.fit(a, x, labels, minibatch(), 3, executor=executor("shots", shots=10, seed=0))


def test_more_rows_than_are_computed_at_once_are_predicted_alike(monkeypatch):
    one, (x, _) = student(config_of(), 2, columns=COLUMNS), rows(20)
    whole = one.predict(one.initial(0), x)
    monkeypatch.setattr("quantum.dressed.AT_ONCE", 7)
    assert_allclose(one.predict(one.initial(0), x), whole, atol=1e-6)


def test_shots_come_close_to_the_exact_answer_and_equal_rows_of_a_minmax_are_finite():
    one, (x, _) = student(config_of(angles="minmax"), 3, columns=COLUMNS), rows(30)
    a = arrays_of(one)
    seen = one.predict(a, x, executor=executor("shots", shots=100_000, seed=1))
    assert_allclose(seen, one.predict(a, x), atol=0.03)
    assert np.abs(seen - one.predict(a, x)).max() > 0
    flat = {name: np.zeros_like(array) for name, array in a.items()}
    assert np.isfinite(one.predict(flat, x)).all()


@pytest.mark.parametrize("labelled", [20, 9, 0])
def test_mini_batches_together_are_the_whole_loss(labelled):
    """Σ |batch|/B·(loss, slope) of the batches of a fit is that of all its rows."""
    rng = np.random.default_rng(0)
    probs, soft, labels = rng.dirichlet((1, 1, 1), 20), rng.dirichlet((1, 1, 1), 20), rng.integers(0, 3, 20)
    labelled = max(labelled, 1)
    guidance = Guidance(soft, 1.5, 3.0, labels=0.3, shannon=0.7)
    whole, slope = guidance.of(probs, labels[:labelled])
    parts = np.array_split(rng.permutation(20), [3, 8, 15])
    found = [guidance.of(probs[part], labels[:labelled], part) for part in parts]
    assert sum(len(part) / 20 * loss for part, (loss, _) in zip(parts, found, strict=True)) == pytest.approx(whole)
    for part, (_, of_part) in zip(parts, found, strict=True):
        assert_allclose(len(part) / 20 * of_part, slope[part], atol=1e-12)


def test_the_terms_by_themselves_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    probs, soft, labels = rng.dirichlet((1, 1, 1), 20), rng.dirichlet((1, 1, 1), 20), rng.integers(0, 3, 12)
    guidance = Guidance(soft, 1.5, 3.0, labels=0.3, shannon=0.7)
    terms = guidance.terms(probs, labels)
    assert 0.3 * terms["ce"] + 1.5 * terms["kl"] + 0.7 * terms["js"] == pytest.approx(guidance.of(probs, labels)[0])
    assert UNGUIDED.terms(probs[:12], labels) == {"ce": cross_entropy(probs[:12], labels)}
