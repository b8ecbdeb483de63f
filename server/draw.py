"""A circuit or a feature map as text, with what it takes and what can tell in its read-out."""

import inspect
from math import pi

from quantum.ansatz import Ansatz
from quantum.circuits import CIRCUITS
from quantum.effective import effective_weights
from quantum.feature_maps import FEATURE_MAPS, features
from recipes.load import near
from recipes.section import InputError

COUNTABLE = 2**28  # gates × weights × basis states: the rank takes seconds below it


def drawn(name: str, **numbers: int | None) -> str:
    """The drawing, and under it the counts; a number that is None is the builder's own."""
    ansatz = _built(name, {key: value for key, value in numbers.items() if value is not None})
    circuit, weights = ansatz.circuit, len(ansatz.weights)
    few = len(circuit.data) * weights * 2**circuit.num_qubits <= COUNTABLE
    effective = effective_weights(ansatz) if few else "not counted at this size"
    facts = {
        "qubits": circuit.num_qubits,
        "depth": circuit.depth(),
        "inputs": f"{len(ansatz.inputs)}{', read again between weights' if ansatz.reuploads else ''}",
        "weights": weights,
        "effective": effective,
        "read-outs": " ".join(map(str, ansatz.read)),
    }
    return "\n".join([str(circuit.draw("text")), "", *(f"{fact:<11}{value}" for fact, value in facts.items())])


def _built(name: str, numbers: dict[str, int]) -> Ansatz:
    if name in FEATURE_MAPS:
        _check(name, numbers, ["qubits"])
        encoding = features(name, numbers.get("qubits", 4), pi)
        return Ansatz(encoding, inputs=tuple(encoding.parameters), weights=())
    if name not in CIRCUITS:
        names = [*CIRCUITS, *FEATURE_MAPS]
        raise InputError(f"no circuit is called {name}.{near(name, names)} There are: {', '.join(names)}")
    _check(name, numbers, list(inspect.signature(CIRCUITS[name]).parameters))
    return CIRCUITS[name](**numbers)


def _check(name: str, numbers: dict[str, int], taken: list[str]) -> None:
    for key, value in numbers.items():
        if key not in taken:
            raise InputError(f"{name} takes no --{key}")
        if value < 1:
            raise InputError(f"--{key} is {value}; it must be 1 or more")
