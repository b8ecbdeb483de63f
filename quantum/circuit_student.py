"""Quantum students: a circuit of the registry, its angles, and a read-out, over any executor.

B rows, E sets of angles, P angles, D = 2^n basis states, K classes, T shifts.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.streams import stream
from quantum.guidance import UNGUIDED, Guidance
from quantum.objective import Loss, Pullback
from quantum.optimise import fewest
from quantum.qcnn import n_weights, read_qubits
from quantum.readout import Floats, readout
from quantum.student import Arrays, Fit, rows_of, search, theta_of
from recipes.schema import OptimiserConfig, StudentConfig

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from quantum.ansatz import Ansatz
    from quantum.engine import Engine
    from quantum.executor import Executor
    from quantum.shift import Shifts
    from quantum.statevector import Compiled

log = logging.getLogger(__name__)


class CircuitStudent:
    """p = readout(|⟨b|U(x, θ)|0…0⟩|²)."""

    def __init__(self, config: StudentConfig, n_classes: int) -> None:
        self.name: str = config.kind
        self.config, self.features, self.n_classes = config, config.qubits, n_classes
        self.parameters = n_angles(config, n_classes)
        read = read_qubits(config.qubits, n_classes) if config.kind == "qcnn" else range(config.qubits)
        self.readout = readout(config.readout, config.qubits, read, n_classes)

    @cached_property
    def ansatz(self) -> Ansatz:
        """The circuit; qiskit is first needed here."""
        from quantum.circuits import CIRCUITS

        c = self.config
        keys: dict[str, Any] = {"qubits": c.qubits, "feature_map": c.feature_map, "scale": c.scale}
        more = {"classes": self.n_classes} if c.kind == "qcnn" else {"reps": c.reps, "entanglement": c.entanglement}
        return CIRCUITS[c.kind](**keys, **more)

    @cached_property
    def compiled(self) -> Compiled:
        """For losses alone."""
        from quantum.statevector import Compiled

        return Compiled(self.ansatz)

    @cached_property
    def engine(self) -> Engine:
        """For exact gradients; torch is first needed here."""
        from quantum.engine import Engine

        engine = Engine(self.ansatz, precision="double")
        log.info("gradients of the exact engine: %s", engine.backend)
        return engine

    @cached_property
    def shifts(self) -> Shifts:
        """For gradients from circuits alone."""
        from quantum.shift import shifts

        return shifts(self.ansatz)

    @property
    def periods(self) -> Arrays:
        """How far each angle turns until all probabilities repeat."""
        return {"theta": np.array(self.ansatz.periods)}

    def initial(self, seed: int) -> Arrays:
        """θ ~ N(0, 0.1²): rotations near the identity."""
        theta = stream(seed, "student").normal(0, 0.1, self.parameters)
        return {"theta": theta.astype(np.float32)}

    def predict(self, arrays: Arrays, x: NDArray[Any], *, executor: Executor | None = None) -> Floats:
        """(B, K) class probabilities."""
        outputs = CircuitOutputs(self, rows_of(self, x), executor)
        return self.readout.classes(outputs.at(theta_of(self, arrays)[None])[0], outputs.shots)

    def fit(
        self,
        arrays: Arrays,
        x: NDArray[Any],
        labels: NDArray[Any],
        optimiser: OptimiserConfig,
        maxiter: int,
        *,
        guidance: Guidance = UNGUIDED,
        seed: int = 0,
        executor: Executor | None = None,
    ) -> Fit:
        """On the exact engine, rows are encoded once."""
        outputs = CircuitOutputs(self, rows_of(self, x), executor)
        loss = Loss(outputs, self.readout, labels, guidance, theta_of(self, arrays))
        return search(loss, optimiser, maxiter, seed)

    def angles(self, arrays: Arrays, x: NDArray[Any]) -> Floats:
        """(B, N) what the circuit takes of every row: its features."""
        return rows_of(self, x)

    def step(self, optimiser: OptimiserConfig) -> int:
        """The least maxiter with which the optimiser moves this student."""
        return fewest(optimiser, self.shifts.evaluations if optimiser.kind == "shift" else 0)


class CircuitOutputs:
    """Outputs of one circuit over fixed rows, exact or out of shots."""

    def __init__(self, student: CircuitStudent, x_BN: Floats, executor: Executor | None) -> None:
        self.student, self.x_BN, self.executor = student, x_BN, executor
        self.shots = executor.shots if executor else None
        self.spent = 0
        self._matrix_DK = student.readout.matrix

    @cached_property
    def _encoded(self) -> Any:
        return self.student.compiled.encode(self.x_BN)

    @property
    def shifts(self) -> int:
        """Circuits a row that `shifted` runs."""
        return self.student.shifts.evaluations

    def at(self, thetas_EP: Floats) -> Floats:
        """(E, B, K)"""
        if self.executor is None:
            compiled = self.student.compiled
            return np.stack([compiled.probabilities(self._encoded, theta) for theta in thetas_EP]) @ self._matrix_DK
        ansatz = self.student.ansatz
        return self._run(ansatz.circuit, ansatz.rows(self.x_BN, thetas_EP))

    def exact(self, theta_P: Floats) -> tuple[Floats, Pullback]:
        """By automatic differentiation of the exact engine; a recipe of another executor is refused."""
        import torch

        theta = torch.tensor(theta_P, requires_grad=True)
        probs_BD = self.student.engine.probabilities(torch.from_numpy(self.x_BN), theta)

        def pullback(slope_BK: Floats) -> Floats:
            (slope_P,) = torch.autograd.grad(probs_BD, theta, torch.from_numpy(slope_BK @ self._matrix_DK.T))
            return np.asarray(slope_P.numpy(), dtype=np.float64)

        return probs_BD.detach().numpy().astype(np.float64) @ self._matrix_DK, pullback

    def shifted(self, theta_P: Floats) -> tuple[Floats, Pullback]:
        """The point itself and all its shifts in one batch."""
        shifts = self.student.shifts
        outputs_TBK = self._run(shifts.circuit, shifts.rows(self.x_BN, theta_P))
        return outputs_TBK[0], lambda slope_BK: shifts.slope(outputs_TBK, slope_BK)

    def _run(self, circuit: QuantumCircuit, rows: Floats) -> Floats:
        """(rows / B, B, K)"""
        from quantum.executor import exact

        probs_BD = self.executor.probabilities(circuit, rows) if self.executor else exact(circuit, rows)
        self.spent += len(rows) * (self.shots or 0)
        return (probs_BD @ self._matrix_DK).reshape(-1, len(self.x_BN), self._matrix_DK.shape[1])


def n_angles(config: StudentConfig, n_classes: int) -> int:
    """How many angles a student has, known without Qiskit."""
    return n_weights(config.qubits, n_classes) if config.kind == "qcnn" else config.qubits * (config.reps + 1)
