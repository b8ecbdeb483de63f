"""Every executor against states and noise by Qiskit and Aer: one suite for all of them, by name."""

import re
from functools import cache
from math import log, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.quantum_info import DensityMatrix, SparsePauliOp, Statevector, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

from quantum import backends, devices
from quantum.density import Channel, depolarizing_transfer
from quantum.executor import EXECUTORS, executor, visit_seed
from quantum.mitigation import confused, mitigated, nearest_probabilities
from quantum.ring import ring
from quantum.vqc import vqc
from recipes.executor import EXECUTORS as NAMED
from recipes.executor import split_executor
from recipes.section import InputError, RecipeError

SHOTS = 4096
RISK = 1e-6  # that a test fails by bad luck, over all its frequencies


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QFLOCK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# --- what each executor's frequencies are drawn from, by others ----------------------------------------------------


def by_statevector(circuit, rows):
    return np.array([Statevector(one).probabilities() for one in bound(circuit, rows)])


def by_density_matrix(circuit, rows, p=0.02):
    """Qiskit's density matrix, Aer's depolarizing error after each gate."""
    found = []
    for one in bound(circuit, rows):
        state = DensityMatrix.from_int(0, 2**one.num_qubits)
        for item in one.data:
            if item.operation.name != "barrier":
                qubits = [one.find_bit(qubit).index for qubit in item.qubits]
                state = state.evolve(item.operation, qubits)
                state = state.evolve(SuperOp(depolarizing_error(p, len(qubits))), qubits)
        found.append(state.probabilities())
    return np.array(found)


def by_aer_on_the_whole_device(circuit, rows, device="manila"):
    """Aer's density matrix with its noise model of every qubit, then its read-out error by hand."""
    backend = devices.fake_device(device)
    there = transpile(circuit.measure_all(inplace=False), backend, optimization_level=3, seed_transpiler=0)
    ends = there.layout.final_index_layout()
    noise = NoiseModel.from_backend(backend)
    there.remove_final_measurements()
    found = density(bound(there, rows), noise, ends)
    readout = [np.array(noise._local_readout_errors[(qubit,)].probabilities) for qubit in ends]
    return np.array([np.einsum(*kron_of(p, readout)).reshape(-1) for p in found])


def kron_of(p, readout):
    """Operands for einsum: p's bits, highest first, each through its qubit's error."""
    n = len(readout)
    operands = [p.reshape((2,) * n), list(range(n))]
    for qubit, matrix in enumerate(readout):
        operands += [matrix, [n - 1 - qubit, 2 * n - 1 - qubit]]
    return [*operands, list(range(n, 2 * n))]


def density(circuits, noise, qubits):
    for circuit in circuits:
        circuit.save_probabilities(qubits=qubits)
    result = AerSimulator(method="density_matrix", noise_model=noise).run(circuits).result()
    return np.array([result.data(i)["probabilities"] for i in range(len(circuits))])


def bound(circuit, rows):
    return [circuit.assign_parameters(dict(zip(circuit.parameters, row, strict=True))) for row in rows]


LAWS = {  # executor → the probabilities that it should have
    "exact": by_statevector,
    "shots": by_statevector,
    "aer": by_statevector,
    "noisy:manila": by_aer_on_the_whole_device,
    "depolarizing:0.02": by_density_matrix,
    "ibm-local:manila": by_aer_on_the_whole_device,
}


@pytest.fixture(params=LAWS)
def spec(request):
    return request.param


def test_the_suite_covers_every_executor_there_is():
    assert {split_executor(spec)[0] for spec in LAWS} == set(EXECUTORS) - {"ibm"}
    assert set(EXECUTORS) == set(NAMED)


# --- circuits and bounds -------------------------------------------------------------------------------------------


@cache
def crooked():
    """No two qubits alike, so that a wrong order shows; controlled rotations; a phase that no measurement sees."""
    a, b, c, unseen = (Parameter(name) for name in ("a", "b", "c", "last"))
    circuit = QuantumCircuit(3, name="crooked")
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.rz(b, 1)
    circuit.h(2)
    circuit.barrier()
    circuit.rx(c * a + 1, 2)
    circuit.cp(b, 2, 0)
    circuit.cry(a, 0, 1)
    circuit.ry(0.4, 1)
    circuit.rz(unseen, 2)
    return circuit


def rows_of(circuit, n):
    return np.random.default_rng(1).uniform(-pi, pi, (n, circuit.num_parameters))


def bounds(probs, shots):
    """Bernstein's: how far a frequency may be from its probability, were all cells to hold but for RISK."""
    odds = log(2 * probs.size / RISK)
    return np.sqrt(2 * probs * (1 - probs) * odds / shots) + odds / shots


def assert_drawn_from(found, probs, shots):
    assert found.shape == probs.shape
    assert (abs(found - probs) <= (1e-9 if shots is None else bounds(probs, shots))).all()


# --- the suite -----------------------------------------------------------------------------------------------------


def test_probabilities_follow_their_law_in_the_order_of_the_rows(spec):
    rows = rows_of(crooked(), 12)
    run = executor(spec, shots=SHOTS, seed=3)
    assert run.name == spec
    assert_drawn_from(run.probabilities(crooked(), rows), LAWS[spec](crooked(), rows), run.shots)
    run.close()


def test_the_students_circuit_follows_its_law_too(spec):
    circuit = vqc(4, "zz", 1.0, 2, "linear").circuit
    rows = rows_of(circuit, 3)
    run = executor(spec, shots=SHOTS, seed=4)
    assert_drawn_from(run.probabilities(circuit, rows), LAWS[spec](circuit, rows), run.shots)


def test_a_circuit_without_parameters_runs_once_a_row(spec):
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    run = executor(spec, shots=SHOTS, seed=5)
    found = run.probabilities(circuit, np.zeros((3, 0)))
    assert_drawn_from(found, LAWS[spec](circuit, np.zeros((3, 0))), run.shots)
    assert run.shots is None or len({row.tobytes() for row in found}) == 3  # equal rows have shots of their own


@pytest.mark.parametrize("spec", [spec for spec in LAWS if not spec.startswith(("noisy", "depolarizing", "ibm"))])
def test_expectations_are_qiskits(spec):
    rows = rows_of(crooked(), 5)
    observables = [
        *(SparsePauliOp(["ZII", "IXI"], [1, -0.5]), SparsePauliOp("IZZ"), SparsePauliOp(["YYX", "ZII"])),
        SparsePauliOp("III"),
    ]
    run = executor(spec, shots=SHOTS, seed=3)
    exact = [[Statevector(one).expectation_value(o).real for o in observables] for one in bound(crooked(), rows)]
    most = np.array([abs(o.coeffs).sum() for o in observables])
    sound = 1e-9 if run.shots is None else most * np.sqrt(2 * log(2 * 3 * 5 * len(observables) / RISK) / SHOTS)
    assert (abs(run.expectations(crooked(), observables, rows) - exact) <= sound).all()


def test_an_expectation_of_z_is_what_the_probabilities_say(spec):
    rows = rows_of(crooked(), 4)
    z = [SparsePauliOp("IIZ"), SparsePauliOp("ZIZ")]
    of_bits = np.array([[1 - 2 * (b & 1), (1 - 2 * (b & 1)) * (1 - 2 * (b >> 2))] for b in range(8)])
    values = executor(spec, shots=SHOTS, seed=6).expectations(crooked(), z, rows)
    assert_allclose(values, executor(spec, shots=SHOTS, seed=6).probabilities(crooked(), rows) @ of_bits, atol=1e-9)


def test_equal_seeds_give_equal_counts_and_no_two_visits_or_batches_alike(spec):
    rows = rows_of(crooked(), 3)
    runs = [executor(spec, shots=SHOTS, seed=visit_seed(0, c, r)) for c in (0, 1) for r in (1, 2)]
    first = [run.probabilities(crooked(), rows) for run in runs]
    again = executor(spec, shots=SHOTS, seed=visit_seed(0, 0, 1))
    assert_allclose(again.probabilities(crooked(), rows), first[0], atol=0)
    if again.shots is not None:
        assert len({one.tobytes() for one in [*first, again.probabilities(crooked(), rows)]}) == 5
        assert_allclose(first[0] * SHOTS, np.round(first[0] * SHOTS), atol=1e-6)


def test_what_cannot_be_run_is_refused_in_one_line(spec):
    run = executor(spec, shots=SHOTS, seed=0)
    names = r"\(rows, 4\), a column for each of a, b, c, last"
    for rows, complaint in (
        (np.zeros((2, 3)), rf"rows have shape \(2, 3\); the circuit needs {names}"),  # one is unbound
        (np.zeros((2, 5)), rf"rows have shape \(2, 5\); the circuit needs {names}"),  # one is unknown
        (np.zeros(4), rf"rows have shape \(4,\); the circuit needs {names}"),
        (np.zeros((0, 4)), "no rows"),
        (np.array([[0, 0, 0, 0], [0, np.nan, 0, 0]]), "row 1 gives b the value nan"),
    ):
        with pytest.raises(ValueError, match=complaint):
            run.probabilities(crooked(), rows)
        with pytest.raises(ValueError, match=complaint):
            run.expectations(crooked(), [SparsePauliOp("ZZZ")], rows)
    rows = rows_of(crooked(), 2)
    again = crooked().copy()
    again.reset(0)
    for odd, name in ((crooked().measure_all(inplace=False), "measure"), (again, "reset")):
        with pytest.raises(ValueError, match=f"the circuit holds {name}; an executor runs gates and measures every"):
            run.probabilities(odd, rows)
    with pytest.raises(RecipeError, match=r"2 rows of 40 qubits need 32768\.0 GiB, above 4 GiB; lower"):
        run.probabilities(QuantumCircuit(40), np.zeros((2, 0)))
    for observables, complaint in (
        ([], "no observables"),
        ([SparsePauliOp("ZZ")], "observable of 2 qubits on a circuit of 3"),
        ([SparsePauliOp("ZZZ", 1j)], "complex coefficient"),
    ):
        with pytest.raises(ValueError, match=complaint):
            run.expectations(crooked(), observables, rows)


def test_a_name_that_is_none_is_answered_with_the_nearest():
    with pytest.raises(RecipeError, match="Did you mean noisy:<fake device>"):
        executor("noisi:manila", shots=1, seed=0)
    with pytest.raises(RecipeError, match=r"manilla is no fake device\. Did you mean manila"):
        executor("noisy:manilla", shots=1, seed=0)
    with pytest.raises(RecipeError, match=r"xyzxyz is no fake device\. There are: .*brisbane, .*manila"):
        executor("noisy:xyzxyz", shots=1, seed=0)
    for odd in ("*", "/etc/passwd", "../x"):
        with pytest.raises(RecipeError, match=re.escape(f"{odd} is no fake device. There are")):
            executor(f"noisy:{odd}", shots=1, seed=0)
    with pytest.raises(RecipeError, match="manila has 5 qubits; the circuit needs 6"):
        executor("noisy:manila", shots=1, seed=0).probabilities(QuantumCircuit(6), np.zeros((1, 0)))


def test_a_density_matrix_that_does_not_fit_says_how_much_it_would_need(monkeypatch):
    monkeypatch.setattr("quantum.executor.MOST_BYTES", 1000)
    with pytest.raises(RecipeError, match=r"noisy:manila: density matrices of 3 qubits need 0\.0 GiB, above"):
        backends.OnDevice(crooked(), "manila")


# --- noise ---------------------------------------------------------------------------------------------------------


@st.composite
def circuits(draw):
    """Up to three qubits, up to twelve gates, of one to three qubits, with and without parameters."""
    n = draw(st.integers(1, 3))
    circuit = QuantumCircuit(n)
    angles = [Parameter(name) for name in "ab"]
    for _ in range(draw(st.integers(1, 12))):
        angle = draw(st.sampled_from([*angles, 2 * angles[0] - 1, 0.3]))
        qubits = draw(st.permutations(range(n)))
        gate = draw(
            st.sampled_from(
                [g for g, k in (("u", 1), ("rx", 1), ("s", 1), ("cry", 2), ("swap", 2), ("ccx", 3)) if k <= n]
            )
        )
        match gate:
            case "u":
                circuit.u(angle, 0.2, angles[1], qubits[0])
            case "rx":
                circuit.rx(angle, qubits[0])
            case "s":
                circuit.s(qubits[0])
            case "cry":
                circuit.cry(angle, qubits[0], qubits[1])
            case "swap":
                circuit.swap(qubits[0], qubits[1])
            case "ccx":
                circuit.ccx(*qubits)
    return circuit


@settings(max_examples=12)
@given(circuit=circuits(), p=st.floats(0, 1))
def test_density_matrices_are_qiskits(circuit, p):
    rows = rows_of(circuit, 3)
    ours = Channel(circuit, lambda name, qubits: depolarizing_transfer(p, len(qubits)), range(circuit.num_qubits))
    assert_allclose(ours.run(rows), by_density_matrix(circuit, rows, p), atol=1e-8)


def test_a_long_batch_goes_in_pieces_that_say_the_same(monkeypatch):
    channel = backends.depolarized(0.02)(crooked())
    rows = rows_of(crooked(), 7)
    whole = channel.run(rows)
    monkeypatch.setattr("quantum.density.CHUNK_BYTES", 2 * 8 * 4**3)
    assert_allclose(channel.run(rows), whole, atol=1e-15)


def test_a_device_is_noisy_as_aer_says_to_the_last_digit():
    rows = rows_of(crooked(), 5)
    assert re.fullmatch(
        r"density matrix of qubits \d, \d, \d of manila, \d+ two-qubit gates",
        backends.method("noisy:manila", crooked(), 10),
    )
    found = backends.devices("manila")(crooked()).probabilities(rows)
    assert_allclose(found, by_aer_on_the_whole_device(crooked(), rows), atol=1e-8)


@pytest.mark.slow
def test_a_large_device_is_noisy_as_aer_says_to_the_last_digit():
    circuit = vqc(4, "zz", 1.0, 2, "full").circuit
    rows = rows_of(circuit, 2)
    found = backends.devices("brisbane")(circuit).probabilities(rows)
    assert_allclose(found, by_aer_on_the_whole_device(circuit, rows, "brisbane"), atol=1e-8)


def test_a_circuit_is_placed_on_a_device_once_and_then_read(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    first = devices.placed(crooked(), "manila")
    monkeypatch.setattr("quantum.devices.place", None)
    again = devices.placed(crooked(), "manila")
    assert (again.circuit, again.qubits, again.measured) == (first.circuit, first.qubits, first.measured)
    assert again.errors.keys() == first.errors.keys()
    assert all((again.errors[key] == first.errors[key]).all() for key in first.errors)
    [path] = (tmp_path / "devices").iterdir()
    path.write_text("{")
    with pytest.raises(InputError, match=r"manila-\w+\.json is damaged \(.*\); delete it and run again"):
        devices.placed(crooked(), "manila")


def test_a_ring_is_placed_with_its_angles_free(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    circuit = ring(4, 2).circuit
    rows = rows_of(circuit, 2)
    found = devices.placed(circuit, "guadalupe")
    states = [Statevector(one) for one in bound(found.circuit, rows)]
    drawn = [state.probabilities(list(found.measured)) for state in states]
    assert_allclose(drawn, by_statevector(circuit, rows), atol=1e-9)


def test_circuits_that_differ_have_fingerprints_that_do():
    changed = crooked().copy()
    changed.ry(0.4 + 1e-15, 1)
    other = crooked().copy()
    other.ry(0.4, 1)
    renamed = crooked().assign_parameters({crooked().parameters[0]: Parameter("z")})
    prints = [devices.cache_key(one) for one in (crooked(), changed, other, renamed)]
    assert len(set(prints)) == 4
    again = crooked().copy(name="another")
    assert devices.cache_key(again) == prints[0]


def test_a_deep_wide_circuit_goes_by_trajectories_and_says_so(monkeypatch, caplog):
    """The same law by the other method."""
    monkeypatch.setattr("quantum.backends.by_trajectories", lambda n, shots: True)
    rows = rows_of(crooked(), 3)
    with caplog.at_level("INFO"):
        found = executor("depolarizing:0.02", shots=SHOTS, seed=0).probabilities(crooked(), rows)
    assert "depolarizing:0.02: a trajectory a shot" in caplog.text
    assert_drawn_from(found, by_density_matrix(crooked(), rows), SHOTS)
    odd = QuantumCircuit(3)
    odd.rccx(0, 1, 2)
    with pytest.raises(ValueError, match="trajectories know no gate rccx; write it in Aer's gates, or use at most 11"):
        executor("depolarizing:0.02", shots=1, seed=0).probabilities(odd, np.zeros((1, 0)))


def test_a_density_matrix_is_taken_where_it_costs_less_than_its_shots_and_fits():
    taken = {(n, shots): not backends.by_trajectories(n, shots) for n in (11, 12, 13, 14) for shots in (2000, 10**7)}
    assert taken == {
        **{(11, 2000): True, (12, 2000): False, (13, 2000): False, (14, 2000): False},
        **{(11, 10**7): True, (12, 10**7): True, (13, 10**7): True, (14, 10**7): False},  # 6 GiB
    }


def test_trajectories_are_drawn_a_few_at_a_time_so_that_a_signal_is_heard(monkeypatch):
    calls, whole = [], AerSimulator.run

    def watched(self, circuits, **keys):
        calls.append((keys["shots"], keys["seed_simulator"]))
        return whole(self, circuits, **keys)

    monkeypatch.setattr("quantum.backends.by_trajectories", lambda n, shots: True)
    monkeypatch.setattr(AerSimulator, "run", watched)
    rows = rows_of(crooked(), 2)
    found, again = (executor("depolarizing:0.02", shots=250, seed=3).probabilities(crooked(), rows) for _ in range(2))
    assert_array_equal(found, again)
    assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert [shots for shots, _ in calls] == [100, 100, 50] * 2
    assert len({seed for _, seed in calls}) == 3


@pytest.mark.slow
def test_a_ring_of_thirteen_qubits_and_sixteen_blocks_runs_with_noise():
    circuit = QuantumCircuit(13)
    angles = iter(np.random.default_rng(0).uniform(0, 1, 6 * 13 * 16))
    for _ in range(16):
        for qubit in range(13):
            circuit.u(next(angles), next(angles), next(angles), qubit)
        for qubit in range(13):
            circuit.cu(next(angles), next(angles), next(angles), 0, qubit, (qubit + 1) % 13)
    found = executor("depolarizing:0.001", shots=64, seed=0).probabilities(circuit, np.zeros((1, 0)))
    assert found.shape == (1, 8192)
    assert found.sum() == 1
    # 416 gates keep (1 − p)^416 of the probability that is not spread evenly
    exact = executor("exact", shots=1, seed=0).probabilities(circuit, np.zeros((1, 0)))
    assert found @ np.argsort(np.argsort(exact[0])) > 4096  # likely states are still drawn more


# --- read-out ------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), n=st.integers(1, 4))
def test_confusion_is_the_tensor_product_and_mitigation_undoes_it(seed, n):
    draw = np.random.default_rng(seed)
    errors = draw.uniform(0, 0.3, (n, 2))
    confusion = np.array([[[1 - a, b], [a, 1 - b]] for a, b in errors])
    probs = draw.dirichlet(np.ones(2**n), 3)
    whole = np.ones((1, 1))
    for matrix in confusion:
        whole = np.kron(matrix, whole)
    assert_allclose(confused(probs, confusion), probs @ whole.T, atol=1e-12)
    assert_allclose(mitigated(confused(probs, confusion), confusion), probs, atol=1e-9)


@given(seed=st.integers(0, 999))
def test_the_nearest_probabilities_are_probabilities_and_no_others_are_nearer(seed):
    draw = np.random.default_rng(seed)
    values = draw.normal(0.2, 0.5, (4, 6))
    nearest = nearest_probabilities(values)
    assert (nearest >= 0).all()
    assert_allclose(nearest.sum(axis=1), 1)
    for other in draw.dirichlet(np.ones(6), 20):  # ⟨v − p, q − p⟩ ≤ 0 for every point q of the simplex
        assert (((values - nearest) * (other - nearest)).sum(axis=1) <= 1e-9).all()
    assert_allclose(nearest_probabilities(nearest), nearest, atol=1e-12)


def test_mitigation_brings_a_device_nearer_to_the_truth():
    circuit = QuantumCircuit(3)
    circuit.x([0, 2])  # gates hardly err here, read-out does
    exact = by_statevector(circuit, np.zeros((1, 0)))
    raw, better = (
        executor("noisy:manila", shots=100_000, seed=0, mitigate=mitigate).probabilities(circuit, np.zeros((1, 0)))
        for mitigate in (False, True)
    )
    assert abs(better - exact).sum() < abs(raw - exact).sum() / 5
    assert_allclose(better.sum(), 1)
