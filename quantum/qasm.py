"""A trained circuit as OpenQASM 3 text and back, with a hash that shows both are the same circuit.

Hashed is the canonical form: every gate expanded to the standard library of OpenQASM 3 (a gate that a file defines
counts as what its definition does, not as its name), the qubits by number, the angles rounded to 1e-8 rad, the
measurements. What is exported is that form, so the angles of the file are those of the hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantum.angles import free
from recipes.section import InputError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from quantum.ansatz import Ansatz

DIGITS = 8  # of an angle in radians; finer than float32 angles, coarser than 1e-9, within which Qiskit writes pi/2
STANDARD = (
    *("p", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "u"),
    *("cx", "cy", "cz", "cp", "crx", "cry", "crz", "ch", "swap", "ccx", "cswap", "cu"),
)

_MARK = "qflock circuit sha256 "

Line = tuple[str, tuple[float, ...], tuple[int, ...], tuple[int, ...]]  # gate, angles, qubits, bits


class QasmError(InputError):
    """A circuit that cannot be exported, or a file that is no OpenQASM 3: one line."""


def trained(ansatz: Ansatz, x: NDArray[Any], theta: NDArray[Any]) -> QuantumCircuit:
    """The circuit at one row of features and at trained angles; bit k measures the k-th qubit that is read."""
    from qiskit import ClassicalRegister

    declared, given = [*ansatz.inputs, *ansatz.weights], [*np.ravel(x).tolist(), *np.ravel(theta).tolist()]
    if (len(ansatz.inputs), len(ansatz.weights)) != (np.size(x), np.size(theta)):
        raise QasmError(
            f"{np.size(x)} features and {np.size(theta)} angles; "
            f"{ansatz.circuit.name} takes {len(ansatz.inputs)} and {len(ansatz.weights)}"
        )
    if not np.isfinite(given).all():
        raise QasmError(f"a feature or an angle of {ansatz.circuit.name} is not finite")
    circuit: QuantumCircuit = ansatz.circuit.assign_parameters(dict(zip(declared, given, strict=True)))
    circuit.add_register(ClassicalRegister(len(ansatz.read), "read"))
    circuit.measure(ansatz.read, range(len(ansatz.read)))
    return circuit


def fingerprint(circuit: QuantumCircuit) -> str:
    """SHA-256 of the canonical form; a changed gate, qubit, angle or read-out changes it, a rewritten file does not."""
    form = {"qubits": circuit.num_qubits, "angles": f"1e-{DIGITS} rad", "gates": list(_lines(circuit))}
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def dumps(circuit: QuantumCircuit) -> str:
    """OpenQASM 3 that every reader of the standard library takes, headed by the fingerprint."""
    from qiskit import QuantumCircuit, qasm3

    plain = QuantumCircuit(circuit.num_qubits, circuit.num_clbits)
    for name, angles, qubits, bits in _lines(circuit):
        if name == "measure":
            plain.measure(qubits, bits)
        else:
            plain.append(_standard()[name](*angles), qubits)
    head, _, rest = qasm3.dumps(plain).partition("\n")
    return f"{head}\n// {_MARK}{fingerprint(circuit)}\n{rest}"


def loads(text: str, where: str = "the text") -> QuantumCircuit:
    """The circuit; where the text is headed by a fingerprint, it has that fingerprint."""
    if not re.match(r"(\s|//[^\n]*\n|/\*.*?\*/)*OPENQASM\s+3(\.\d+)?\s*;", text, re.DOTALL):
        raise QasmError(f"{where} is not OpenQASM 3: it does not begin with OPENQASM 3.0;")
    circuit = _parsed(text, where)
    try:
        found = fingerprint(circuit)
    except QasmError as error:
        raise QasmError(f"{where}: {error}") from None
    said = re.search(rf"^// {_MARK}(\S*)\s*$", text, re.MULTILINE)
    if said and said[1] != found:
        raise QasmError(
            f"{where} was changed after its export: it says {said[1][:12]}…, its gates are {found[:12]}…; "
            "export the circuit again"
        )
    return circuit


def load(path: Path) -> QuantumCircuit:
    """The circuit of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise QasmError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise QasmError(f"{path} is not OpenQASM 3: it is not text") from None
    return loads(text, str(path))


def _parsed(text: str, where: str) -> QuantumCircuit:
    """By the reference parser, which prints what a line lacks and raises errors of many kinds, some without a word."""
    from openqasm3.parser import QASM3ParsingError
    from qiskit import qasm3
    from qiskit.exceptions import QiskitError

    printed = StringIO()
    try:
        with redirect_stderr(printed):
            return qasm3.loads(text)
    except (QASM3ParsingError, QiskitError) as error:
        said = printed.getvalue() or getattr(error, "message", str(error))
        raise QasmError(f"{where} cannot be read as OpenQASM 3: {said.strip().splitlines()[0]}") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # what the parser lets through
        raise QasmError(f"{where} is OpenQASM 3 with a gate, an angle or a qubit out of place: {error}") from None


def _lines(circuit: QuantumCircuit) -> Iterator[Line]:
    """The canonical form, gate by gate in the order of the circuit."""
    for item in circuit.data:
        operation = item.operation
        qubits = tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
        bits = tuple(circuit.find_bit(bit).index for bit in item.clbits)
        if operation.name in ("barrier", "id"):
            continue
        unbound = sorted(p.name for value in operation.params for p in free(value))
        if unbound:
            raise QasmError(f"{unbound[0]} has no value; a circuit is exported with every input and weight bound")
        if operation.name == "measure" or _standard().get(operation.name) is operation.base_class:
            # + 0.0: no −0
            yield operation.name, tuple(round(float(value), DIGITS) + 0.0 for value in operation.params), qubits, bits
        elif bits or operation.definition is None:
            raise QasmError(f"the circuit holds {operation.name}; gates and final measurements alone are exported")
        else:
            for name, angles, inner, _ in _lines(operation.definition):
                yield name, angles, tuple(qubits[i] for i in inner), ()


@cache
def _standard() -> dict[str, Any]:
    """The gates of stdgates.inc, and U, by the class that Qiskit has for each."""
    from qiskit.circuit.library import get_standard_gate_name_mapping

    gates = get_standard_gate_name_mapping()
    return {name: gates[name].base_class for name in STANDARD}
