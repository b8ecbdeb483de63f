"""`qflock draw`: every circuit and feature map as text, with counts that are the circuit's own."""

import re

import pytest
from typer.testing import CliRunner

from quantum.circuits import CIRCUITS
from quantum.feature_maps import FEATURE_MAPS
from recipes.section import InputError
from server.cli import command
from server.draw import drawn


def facts(text):
    return dict(re.findall(r"^(qubits|depth|inputs|weights|effective|read-outs) +(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_circuit_is_drawn_with_its_own_counts(name):
    ran = CliRunner().invoke(command, ["draw", name, "--qubits", "3"])
    ansatz = CIRCUITS[name](qubits=3)
    assert ran.exit_code == 0
    said = facts(ran.stdout)
    assert said | {"effective": ""} == {
        "qubits": "3",
        "depth": str(ansatz.circuit.depth()),
        "inputs": f"{len(ansatz.inputs)}{', read again between weights' if name == 'reupload' else ''}",
        "weights": str(len(ansatz.weights)),
        "effective": "",
        "read-outs": " ".join(map(str, ansatz.read)),
    }
    assert 0 < int(said["effective"]) <= len(ansatz.weights)
    last = str(ansatz.weights[-1].name)
    assert last in ran.stdout


@pytest.mark.parametrize("name", FEATURE_MAPS)
def test_every_feature_map_is_drawn(name):
    said = facts(drawn(name, qubits=2))
    assert (said["qubits"], said["inputs"], said["weights"], said["effective"]) == ("2", "2", "0", "0")


def test_layers_and_classes_change_the_circuit():
    assert facts(drawn("ring", reps=1))["weights"] == "24"
    assert facts(drawn("qcnn", qubits=4, classes=3))["read-outs"] == "1 2 3"


def test_a_circuit_too_large_to_be_counted_is_drawn_all_the_same():
    assert facts(drawn("ring", qubits=13, reps=16)) | {"depth": ""} == {
        "qubits": "13",
        "depth": "",
        "inputs": "0",
        "weights": "1248",
        "effective": "not counted at this size",
        "read-outs": "0 1 2 3 4 5 6 7 8 9 10 11 12",
    }


@pytest.mark.parametrize(
    ("name", "numbers", "complaint"),
    [
        ("rnig", {}, "no circuit is called rnig. Did you mean ring? There are: vqc, qcnn, reupload, ring, layered, ry"),
        ("vqq", {}, "no circuit is called vqq. There are: vqc"),
        ("qcnn", {"reps": 2}, "qcnn takes no --reps"),
        ("zz", {"reps": 2}, "zz takes no --reps"),
        ("vqc", {"classes": 2}, "vqc takes no --classes"),
        ("vqc", {"qubits": 0}, "--qubits is 0; it must be 1 or more"),
        ("vqc", {"reps": -1}, "--reps is -1; it must be 1 or more"),
        ("qcnn", {"classes": 9}, "9 classes on 4 qubits"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(name, numbers, complaint):
    with pytest.raises(InputError, match=re.escape(complaint)):
        drawn(name, **numbers)
