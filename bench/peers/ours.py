"""Our student, as a peer of its own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the app's folders are no installed packages

import numpy as np
from serving import Timed, serve

from quantum.student import VqcStudent
from recipes.schema import OptimiserConfig, StudentConfig


def vqc_fit(
    feature_map: str,
    rows: list[list[float]],
    labels: list[int],
    start: list[float],
    reps: int,
    scale: float,
    maxiter: int,
    rhobeg: float,
) -> Timed:
    """One client's visit."""
    x, y = np.array(rows), np.array(labels)
    student = VqcStudent(
        StudentConfig(qubits=x.shape[1], feature_map=feature_map, scale=scale, reps=reps), int(y.max()) + 1
    )
    arrays = {"theta": np.array(start, np.float32)}
    optimiser = OptimiserConfig(rhobeg=rhobeg)
    return lambda: list(student.fit(arrays, x, y, optimiser, maxiter).losses)


if __name__ == "__main__":
    serve({"vqc_fit": vqc_fit}, "0.1.0")
