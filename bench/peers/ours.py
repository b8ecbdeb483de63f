"""Our student, as a peer of its own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the app's folders are no installed packages

import numpy as np
from serving import Timed, serve

from quantum.arms import student
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
    config = StudentConfig(qubits=x.shape[1], feature_map=feature_map, scale=scale, reps=reps)
    one = student(config, int(y.max()) + 1)
    arrays = {"theta": np.array(start, np.float32)}
    optimiser = OptimiserConfig(rhobeg=rhobeg)
    return lambda: list(one.fit(arrays, x, y, optimiser, maxiter).losses)


if __name__ == "__main__":
    serve({"vqc_fit": vqc_fit}, "0.1.0")
