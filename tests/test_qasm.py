"""Trained circuits as OpenQASM 3: the same circuit comes back, its hash says so, and what is none is one line."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Parameter
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Statevector, random_unitary

from quantum.circuits import CIRCUITS
from quantum.qasm import DIGITS, QasmError, dumps, fingerprint, load, loads, trained
from recipes.section import InputError

GATES = {
    name: gate
    for name, gate in get_standard_gate_name_mapping().items()
    if gate.num_qubits <= 4 and not gate.num_clbits and name not in ("reset", "delay", "global_phase", "id")
}


def probabilities(circuit):
    return Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()


def example(name="vqc", seed=0):
    ansatz, rng = CIRCUITS[name](qubits=4), np.random.default_rng(seed)
    return ansatz, rng.uniform(0, 1, len(ansatz.inputs)), rng.uniform(-4, 4, len(ansatz.weights))


@pytest.mark.parametrize("name", CIRCUITS)
@settings(max_examples=4, derandomize=True)
@given(seed=st.integers(0, 9999), classes_of_pi=st.booleans())
def test_what_comes_back_is_the_trained_circuit(name, seed, classes_of_pi):
    ansatz, x, theta = example(name, seed)
    if classes_of_pi:  # which the export writes as fractions of pi
        theta = np.round(theta / np.pi * 4) * np.pi / 4 + np.random.default_rng(seed).choice(
            [0, 1e-9, 3e-9], len(theta)
        )
    circuit = trained(ansatz, x, theta)
    back = loads(dumps(circuit))
    assert fingerprint(back) == fingerprint(circuit) == fingerprint(loads(dumps(back)))
    assert_allclose(probabilities(back), probabilities(circuit), atol=1e-6)
    measured = [(back.find_bit(g.qubits[0]).index, back.find_bit(g.clbits[0]).index) for g in back if g.clbits]
    assert measured == [(qubit, bit) for bit, qubit in enumerate(ansatz.read)]


@settings(max_examples=15, derandomize=True)
@given(names=st.lists(st.sampled_from(sorted(GATES)), min_size=1, max_size=8), seed=st.integers(0, 9999))
def test_any_gate_of_qiskit_comes_back_whoever_wrote_the_file(names, seed):
    rng, circuit = np.random.default_rng(seed), QuantumCircuit(4)
    for name in names:
        gate = GATES[name].to_mutable()
        gate.params = rng.uniform(-4, 4, len(gate.params)).round(DIGITS - 1).tolist()
        circuit.append(gate, rng.permutation(4)[: gate.num_qubits].tolist())
    circuit.cx(0, 1, ctrl_state=0)
    ours, qiskits = loads(dumps(circuit)), loads(qasm3.dumps(circuit))
    assert fingerprint(ours) == fingerprint(qiskits) == fingerprint(circuit)
    assert_allclose(probabilities(ours), probabilities(circuit), atol=1e-6)


@settings(max_examples=20, derandomize=True)
@given(seed=st.integers(0, 9999), name=st.sampled_from(sorted(CIRCUITS)))
def test_any_changed_angle_changes_the_fingerprint(seed, name):
    ansatz, x, theta = example(name, seed)
    before = fingerprint(trained(ansatz, x, theta))
    theta[np.random.default_rng(seed).integers(len(theta))] += 10.0**-DIGITS
    assert fingerprint(trained(ansatz, x, theta)) != before
    theta[0] += 1
    assert fingerprint(trained(ansatz, x, theta)) != before


def plain(*gates, n_qubits=2):
    circuit = QuantumCircuit(n_qubits, 2)
    for name, *values in gates:
        getattr(circuit, name)(*values)
    return circuit


def test_gates_qubits_readouts_and_width_are_in_the_fingerprint_names_and_barriers_are_not():
    circuit = plain(("rx", 0.3, 0), ("cx", 0, 1), ("measure", 0, 0))
    others = [
        plain(("ry", 0.3, 0), ("cx", 0, 1), ("measure", 0, 0)),
        plain(("rx", 0.3, 1), ("cx", 0, 1), ("measure", 0, 0)),
        plain(("rx", 0.3, 0), ("cx", 1, 0), ("measure", 0, 0)),
        plain(("rx", 0.3, 0), ("cx", 0, 1), ("measure", 1, 0)),
        plain(("rx", 0.3, 0), ("cx", 0, 1), ("measure", 0, 1)),
        plain(("rx", 0.3, 0), ("cx", 0, 1)),
        plain(("rx", 0.3, 0), ("cx", 0, 1), ("measure", 0, 0), n_qubits=3),
    ]
    assert len({fingerprint(one) for one in [circuit, *others]}) == 8
    same = plain(("rx", 0.3, 0), ("barrier",), ("cx", 0, 1), ("measure", 0, 0))
    same.name = "another"
    assert fingerprint(same) == fingerprint(circuit)
    assert fingerprint(plain(("rx", -0.0, 0))) == fingerprint(plain(("rx", 0.0, 0)))


def test_a_gate_that_a_file_defines_counts_as_what_it_does_not_as_its_name():
    def file(body):
        return f"OPENQASM 3.0;\ngate rz(a) q {{ {body} }}\nqubit q;\nrz(0.5) q;\n"

    honest = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit q;\nrz(0.5) q;\n'
    prints = {fingerprint(loads(text)) for text in (honest, file("U(0, 0, a) q;"), file("U(a, 0, 0) q;"))}
    assert len(prints) == 3


def test_a_file_that_was_edited_after_its_export_is_refused():
    text = dumps(trained(*example()))
    edited = re.sub(r"ry\(\d", "ry(3", text)
    assert edited != text
    with pytest.raises(QasmError, match=r"changed after its export: it says \w{12}…, its gates are \w{12}…"):
        loads(edited)
    assert loads(text.replace("qubit[4] q;", "\n// a remark\nqubit[4] q;")).num_qubits == 4


STANDARD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not OpenQASM 3: it does not begin with OPENQASM 3.0;"),
        ("hello", "is not OpenQASM 3: it does not begin"),
        ("OPENQASM 2.0;\nqreg q[2];\n", "is not OpenQASM 3: it does not begin"),
        (f"{STANDARD}U(0,0 q[0];", "cannot be read as OpenQASM 3: line 4:6 no viable alternative"),
        (f"{STANDARD}foo q[0];", "cannot be read as OpenQASM 3: 4,0: gate 'foo' is not defined"),
        ("OPENQASM 3.0; \x00 @@", "cannot be read as OpenQASM 3: line 1:14 token recognition error"),
        (f"{STANDARD}rx(1, 2) q[0];", "a gate, an angle or a qubit out of place"),
        (f"{STANDARD}rx(1) q[5];", "a gate, an angle or a qubit out of place: index out of range"),
        (f"{STANDARD}reset q[0];", ": the circuit holds reset; gates and final measurements alone"),
        (f"{STANDARD}input float a;\nrx(a) q[0];", ": a has no value; a circuit is exported with every input"),
        (f"{STANDARD}bit b; b = measure q[0]; if (b) {{ x q[0]; }}", ": the circuit holds if_else"),
    ],
)
def test_what_is_not_a_circuit_in_openqasm_3_is_one_line_that_names_the_file(text, complaint, tmp_path, capsys):
    (tmp_path / "c.qasm").write_text(text, encoding="utf-8")
    with pytest.raises(QasmError, match=re.escape(complaint)) as caught:
        load(tmp_path / "c.qasm")
    assert str(caught.value).startswith(str(tmp_path / "c.qasm"))
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")
    assert isinstance(caught.value, InputError)


def test_a_file_that_is_absent_or_not_text_is_said_so(tmp_path):
    with pytest.raises(QasmError, match=r"c\.qasm cannot be read: No such file"):
        load(tmp_path / "c.qasm")
    (tmp_path / "c.qasm").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QasmError, match=r"c\.qasm is not OpenQASM 3: it is not text"):
        load(tmp_path / "c.qasm")


def test_a_circuit_is_trained_only_with_every_number_finite_and_in_place():
    ansatz, x, theta = example()
    with pytest.raises(QasmError, match="3 features and 16 angles; vqc-ry takes 4 and 16"):
        trained(ansatz, x[:3], theta)
    with pytest.raises(QasmError, match="an angle of vqc-ry is not finite"):
        trained(ansatz, x, np.full(16, np.nan))
    with pytest.raises(QasmError, match=r"x\[0\] has no value"):
        dumps(ansatz.circuit)
    unknown = QuantumCircuit(1)
    unknown.rx(Parameter("a"), 0)
    with pytest.raises(QasmError, match="a has no value"):
        fingerprint(unknown)


def test_a_unitary_is_exported_by_its_definition():
    circuit = QuantumCircuit(2)
    circuit.unitary(random_unitary(4, seed=1), [0, 1])
    assert_allclose(probabilities(loads(dumps(circuit))), probabilities(circuit), atol=1e-6)
