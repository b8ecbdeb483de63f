"""A circuit as a fake IBM device would run it: placed on qubits, with the noise of those qubits alone.

The noise is Aer's model of the device's calibration: after a gate depolarizing and thermal relaxation, at the end
read-out errors. Qubits without a gate stay |0⟩ and are cut away, so 4 qubits of 127 cost what 4 qubits cost. A placed
circuit is kept in the cache folder as JSON.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from data.assets import cache_folder, made
from data.whole import write_whole
from quantum.executor import Floats
from recipes.section import InputError, RecipeError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

SCHEMA = 1  # of the cached files
LIBRARIES = ("qiskit", "qiskit-aer", "qiskit-ibm-runtime")  # another version may place and calibrate differently


@dataclass(frozen=True)
class Placed:
    """A circuit in a device's own gates, cut to the qubits it touches."""

    circuit: QuantumCircuit  # qubit i is qubits[i] of the device
    qubits: tuple[int, ...]
    measured: tuple[int, ...]  # where each qubit of the circuit as it was written is read
    errors: dict[tuple[str, tuple[int, ...]], Floats]  # gate and qubits → what follows it, in Pauli coordinates
    confusion: Floats  # (qubits, 2, 2) of the circuit as it was written: M[read, held]


def placed(circuit: QuantumCircuit, device: str) -> Placed:
    """The circuit on a fake device; placed once, then read from the cache folder."""
    path = cache_folder() / "devices" / f"{device}-{cache_key(circuit)}.json"
    if not path.exists():
        made(path.parent)
        write_whole(path, place(circuit, device).encode(), durable=False)
    try:
        return read(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it and run again") from None


def known(device: str) -> bool:
    """Whether the device has been used here before, which spares looking for it."""
    return any(path.name.startswith(f"{device}-") for path in (cache_folder() / "devices").glob("*.json"))


def fake_device(name: str) -> Any:
    """IBM's fake device of that name, such as manila or brisbane."""
    from qiskit_ibm_runtime import fake_provider

    offered = {getattr(cls, "backend_name", None): cls for cls in vars(fake_provider).values() if isinstance(cls, type)}
    classes = {name.removeprefix("fake_"): cls for name, cls in offered.items() if name}
    if name not in classes:
        close = get_close_matches(name, classes, 3, 0.5)
        guess = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(sorted(classes))}"
        raise RecipeError(f"executor: {name} is no fake device. {guess}")
    return classes[name]()


def cache_key(circuit: QuantumCircuit) -> str:
    """Names a circuit across processes: its bytes at one set of angles, the names of its parameters, the libraries."""
    from qiskit import qpy

    bound = circuit.assign_parameters(np.cos(np.arange(circuit.num_parameters) + 1.0).tolist())
    bound.name, bound.metadata = "circuit", {}
    buffer = BytesIO()
    qpy.dump(bound, buffer)
    names = [parameter.name for parameter in circuit.parameters]
    return hashlib.sha256(buffer.getvalue() + json.dumps([versions(), names]).encode()).hexdigest()[:24]


@cache
def versions() -> list[str]:
    """Of what a cached file depends on."""
    return [str(SCHEMA), *map(version, LIBRARIES)]


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with its measurements, for a transpiler: Qiskit's has no end on a CU whose angles are free."""
    return circuit.decompose(["cu"]).measure_all(inplace=False)


def place(circuit: QuantumCircuit, device: str) -> str:
    """The JSON of a circuit transpiled for the device, and of the errors of the gates it then has."""
    from qiskit import QuantumCircuit, qpy, transpile
    from qiskit.quantum_info import PTM
    from qiskit.transpiler import Target
    from qiskit_aer.noise.device import basic_device_gate_errors, basic_device_readout_errors

    backend = fake_device(device)
    if circuit.num_qubits > backend.num_qubits:
        raise RecipeError(
            f"{device} has {backend.num_qubits} qubits; the circuit needs {circuit.num_qubits}: name a larger device"
        )
    # with its measurements, so that qubits that read badly are avoided and a last phase is not spent
    whole = transpile(measured(circuit), backend, optimization_level=3, seed_transpiler=0)
    ends = whole.layout.final_index_layout()
    gates = [
        (item.operation, tuple(whole.find_bit(qubit).index for qubit in item.qubits))
        for item in whole.data
        if item.operation.name not in ("barrier", "measure")
    ]
    touched = sorted({*ends, *(qubit for _, qubits in gates for qubit in qubits)})
    local = {qubit: place for place, qubit in enumerate(touched)}
    cut = QuantumCircuit(len(touched))
    for operation, qubits in gates:
        cut.append(operation, [local[qubit] for qubit in qubits])
    small = Target(num_qubits=backend.num_qubits, qubit_properties=backend.target.qubit_properties)
    for name in sorted({operation.name for operation, _ in gates}):
        used = {qubits: backend.target[name][qubits] for operation, qubits in gates if operation.name == name}
        small.add_instruction(backend.target.operation_from_name(name), used)
    read_out = {qubit: error.probabilities for [qubit], error in basic_device_readout_errors(target=backend.target)}
    buffer = BytesIO()
    qpy.dump(cut, buffer)
    return json.dumps(
        {
            "qubits": touched,
            "measured": [local[qubit] for qubit in ends],
            "circuit": b64encode(buffer.getvalue()).decode(),
            "errors": [
                [name, [local[qubit] for qubit in qubits], PTM(error.to_quantumchannel()).data.real.tolist()]
                for name, qubits, error in basic_device_gate_errors(target=small)
            ],
            "confusion": [np.array(read_out.get(qubit, np.eye(2))).T.tolist() for qubit in ends],
        }
    )


def read(text: str) -> Placed:
    """What `place` wrote."""
    from qiskit import qpy

    said = json.loads(text)
    return Placed(
        circuit=qpy.load(BytesIO(b64decode(said["circuit"])))[0],
        qubits=tuple(said["qubits"]),
        measured=tuple(said["measured"]),
        errors={(name, tuple(qubits)): np.array(matrix) for name, qubits, matrix in said["errors"]},
        confusion=np.array(said["confusion"]),
    )
