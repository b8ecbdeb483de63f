"""The engine that trains, against qiskit.quantum_info.Statevector and differences of it."""

import os
import subprocess
import sys
from pathlib import Path

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

from quantum import build, engine
from quantum.ansatz import Ansatz
from quantum.engine import Engine
from quantum.layered import layered
from quantum.reupload import reupload
from quantum.ring import ring
from quantum.vqc import vqc
from recipes.section import RecipeError

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
KERNELS = ["torch", "compiled"]
CIRCUITS = {
    "ring": lambda n: ring(n, 3),
    "layered": lambda n: layered(n, 3),
    "reupload": lambda n: reupload(n, "ry", 1.0, 2, "circular"),
    "vqc": lambda n: vqc(n, "zz", 1.0, 2, "full"),
}


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
        pool = draw(st.sampled_from((inputs, weights)))
        two = st.tuples(st.sampled_from(pool), st.sampled_from(pool))
        values = [draw(st.sampled_from(forms))(*draw(two)) for _ in gate.params]
        circuit.append(gate.base_class(*values) if gate.params else gate, qubits)
    used = set(circuit.parameters)
    read = tuple(draw(st.permutations(range(n_qubits)))[: draw(st.integers(1, n_qubits))])
    kept = (tuple(p for p in parameters if p in used) for parameters in (inputs, weights))
    return Ansatz(circuit, next(kept), next(kept), read)


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
@settings(max_examples=25, derandomize=True)
@given(ansatz=ansatzes(), n_rows=st.sampled_from((1, 3, 17)), seed=st.integers(0, 999))
def test_probabilities_and_expectations_agree_with_qiskit(kernel, precision, ansatz, n_rows, seed):
    x, theta = numbers(ansatz, n_rows, seed)
    made, atol = Engine(ansatz, precision=precision, kernel=kernel), EXACT[precision][0]
    expected = oracle(ansatz, x, theta)
    probs = made.probabilities(torch.tensor(x), torch.tensor(theta)).numpy()
    assert_allclose(probs, expected, atol=atol)
    signs = [1 - 2 * (np.arange(expected.shape[1]) >> qubit & 1) for qubit in ansatz.read]
    values = made.expectations(torch.tensor(x), torch.tensor(theta)).numpy()
    assert_allclose(values, expected @ np.transpose(signs), atol=2 * atol)
    again = made.expectations(made.encode(torch.tensor(x)), torch.tensor(theta)).numpy()
    assert_allclose(again, values, atol=2 * atol)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("precision", EXACT)
@settings(max_examples=10, derandomize=True)
@given(ansatz=ansatzes(most_qubits=4), seed=st.integers(0, 999), of=st.sampled_from(("probabilities", "expectations")))
def test_gradients_of_weights_and_inputs_agree_with_differences(kernel, precision, ansatz, seed, of):
    x, theta = numbers(ansatz, 2, seed)
    readouts = [1 - 2 * (np.arange(2**ansatz.circuit.num_qubits) >> q & 1) for q in ansatz.read]
    read = np.transpose(readouts) if of == "expectations" else np.eye(2**ansatz.circuit.num_qubits)
    mix = np.random.default_rng(seed).normal(size=(2, read.shape[1]))
    x_, theta_ = torch.tensor(x, requires_grad=True), torch.tensor(theta, requires_grad=True)
    made = Engine(ansatz, precision=precision, kernel=kernel)
    total = (getattr(made, of)(x_, theta_) * torch.tensor(mix)).sum() + 0 * (x_.sum() + theta_.sum())
    found = torch.cat([grad.ravel() for grad in torch.autograd.grad(total, (x_, theta_), materialize_grads=True)])

    def loss(point):
        return float((oracle(ansatz, point[: x.size].reshape(x.shape), point[x.size :]) @ read * mix).sum())

    at = np.r_[x.ravel(), theta]
    expected = np.array([slope(loss, at, k) for k in range(len(at))])
    scale = max(1.0, np.abs(expected).max(initial=0))  # a cube of an input has slopes up to 27
    assert_allclose(found, expected, atol=EXACT[precision][1] * scale)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n_rows", [1, 70])
@pytest.mark.parametrize("name", CIRCUITS)
def test_our_circuits_agree_with_qiskit_for_few_rows_and_for_many(name, n_rows, kernel):
    ansatz = CIRCUITS[name](7)
    x, theta = numbers(ansatz, n_rows, 0)
    last = np.array([n_rows - 1])
    x_, theta_ = torch.tensor(x, requires_grad=True), torch.tensor(theta, requires_grad=True)
    probs = Engine(ansatz, precision="double", kernel=kernel).probabilities(x_, theta_)
    assert_allclose(probs.detach().numpy()[last], oracle(ansatz, x[last], theta), atol=1e-12)
    mix = np.random.default_rng(1).normal(size=2**7)
    d_x, d_theta = torch.autograd.grad((probs[-1] * torch.tensor(mix)).sum(), (x_, theta_), materialize_grads=True)
    for k in (0, len(theta) // 2):
        assert_allclose(d_theta[k], slope(lambda at: oracle(ansatz, x[last], at)[0] @ mix, theta, k), atol=1e-8)
    if x.size:
        expected = slope(lambda at: oracle(ansatz, at[None], theta)[0] @ mix, x[-1], 3)
        assert_allclose(d_x[-1, 3], expected, atol=1e-8)
        assert not d_x[:-1].any()


@pytest.mark.parametrize("n_rows", [5, 20])
def test_rows_beside_each_other_and_qubits_beside_each_other_are_the_same(n_rows, monkeypatch):
    ansatz = reupload(6, "ry", 1.0, 2, "circular")
    x, theta = map(torch.tensor, numbers(ansatz, n_rows, 0))
    results = []
    for cache in (0, 2**30):
        monkeypatch.setattr("quantum.compiled.CACHE", cache)
        made, theta_ = Engine(ansatz, precision="double", kernel="compiled"), theta.clone().requires_grad_()
        values = made.expectations(x, theta_)
        results.append((values.detach(), *torch.autograd.grad(values.square().sum(), theta_)))
    for first, second in zip(*results, strict=True):
        assert_allclose(first, second, atol=1e-13)


def test_states_are_computed_again_where_memory_does_not_hold_them(monkeypatch):
    ansatz = layered(5, 4)
    x, theta = (torch.tensor(array, requires_grad=True) for array in numbers(ansatz, 3, 0))
    slopes, kept = [], []
    real = engine.TorchProgram.run
    monkeypatch.setattr(engine.TorchProgram, "run", lambda *a, keep: kept.append(keep) or real(*a, keep=keep))
    for memory in (2**30, 2 * 5 * 3 * 2**5 * 16):
        monkeypatch.setattr(engine, "available", lambda device, memory=memory: memory)
        values = Engine(ansatz, precision="double", kernel="torch").expectations(x, theta)
        slopes.append(torch.autograd.grad(values.square().sum(), (x, theta)))
    assert kept == [True, False]
    for stored, computed in zip(*slopes, strict=True):
        assert_allclose(stored, computed, atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_cannot_run_is_one_line_before_any_work(kernel):
    made = Engine(layered(3, 1), kernel=kernel)
    theta = torch.zeros(16)
    for x, weights, complaint in (
        (torch.zeros(2, 4), theta, r"rows have shape \(2, 4\); the ansatz takes \(rows, 3\)"),
        (torch.zeros(3), theta, r"rows have shape \(3,\)"),
        (torch.zeros(0, 3), theta, "no rows"),
        (torch.zeros(2, 3), theta[1:], r"weights have shape \(15,\); the ansatz takes \(16,\)"),
    ):
        with pytest.raises(ValueError, match=complaint):
            made.expectations(x, weights)
    with pytest.raises(ValueError, match="encoded by another engine"):
        made.expectations(Engine(layered(3, 1), kernel=kernel).encode(torch.zeros(2, 3)), theta)
    wide = QuantumCircuit(40)
    with pytest.raises(
        RecipeError, match=r"1 rows of 40 qubits need 32768.0 GiB as exact states, above .* GiB; use fewer"
    ):
        Engine(Ansatz(wide, (), ()), kernel=kernel).probabilities(torch.zeros(1, 0), torch.zeros(0))


@pytest.fixture
def uncompiled(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    build.library.cache_clear()
    yield monkeypatch
    build.library.cache_clear()


def test_without_a_compiler_torch_runs_and_says_so(uncompiled):
    uncompiled.setattr(build.shutil, "which", lambda name: None)
    assert Engine(ring(2, 1)).backend == "torch (no C compiler found)"
    with pytest.raises(RecipeError, match="no compiled kernel: no C compiler found; set kernel to auto or torch"):
        Engine(ring(2, 1), kernel="compiled")


def test_a_compiler_that_fails_is_no_compiler(uncompiled, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\ncase $1 in --version) exit 0;; esac\necho 'error: no such luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    uncompiled.setenv("CC", str(broken))
    assert Engine(ring(2, 1)).backend.endswith("failed: error: no such luck)")
    assert not list((tmp_path / "kernels").iterdir())


def test_processes_that_compile_at_once_share_one_library(tmp_path):
    code = "from quantum.build import library; print(library('single')._name)"
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", code]
    environment = os.environ | {"QFLOCK_CACHE": str(tmp_path)}
    running = [subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) for _ in "ab"]
    names = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert names == {str(path) for path in (tmp_path / "kernels").iterdir()}


def test_the_kernel_is_chosen_where_it_can_run_and_leaves_rounding_alone():
    assert Engine(ring(2, 1)).backend == "compiled (C)"
    assert Engine(ring(2, 1), kernel="torch").backend == "torch"
    assert np.float32(1e-45) / 1 > 0  # a library linked fast-math would have made this 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", CIRCUITS)
def test_a_gpu_computes_the_same(name):
    ansatz = CIRCUITS[name](6)
    x, theta = map(torch.tensor, numbers(ansatz, 70, 0))
    results = []
    for device in ("cpu", "cuda"):
        made = Engine(ansatz, precision="double", device=device, kernel="torch")
        theta_ = theta.to(device).requires_grad_()
        values = made.expectations(x.to(device), theta_)
        results.append((values.detach().cpu(), torch.autograd.grad(values.square().sum(), theta_)[0].cpu()))
    for first, second in zip(*results, strict=True):
        assert_allclose(first, second, atol=1e-12)
