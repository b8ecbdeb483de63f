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


def ring(qubits: int, reps: int, theta: list[float], mix: list[float], kernel: str) -> Timed:
    """Σ mix·probability, and its slopes."""
    import torch

    from quantum import ring as circuits
    from quantum.engine import Engine

    torch.set_num_threads(1)
    engine = Engine(circuits.ring(qubits, reps), kernel=kernel)
    rows, weights, mixed = torch.empty(1, 0), torch.tensor(theta, requires_grad=True), torch.tensor(mix)

    def work() -> list[float]:
        weights.grad = None
        loss = (engine.probabilities(rows, weights)[0] * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist()]

    return work


def layered(
    qubits: int, reps: int, x: list[list[float]], theta: list[float], mix: list[list[float]], kernel: str
) -> Timed:
    """Σ mix·⟨Z⟩, and its slopes."""
    import torch

    from quantum import layered as circuits
    from quantum.engine import Engine

    torch.set_num_threads(1)
    engine = Engine(circuits.layered(qubits, reps), kernel=kernel)
    rows, weights = (torch.tensor(values, requires_grad=True) for values in (x, theta))
    mixed = torch.tensor(mix)

    def work() -> list[float]:
        rows.grad = weights.grad = None
        loss = (engine.expectations(rows, weights) * mixed).sum()
        loss.backward()
        return [loss.item(), *weights.grad[:8].tolist(), *rows.grad[0, :4].tolist()]

    return work


def qfed(
    beta: list[float], gamma: list[float], batch: int, batches: int, by: str, activation: str, kernel: str
) -> Timed:
    """Training steps of a generator, or of its network by itself."""
    import torch
    from gates import images

    from quantum.generator import Generator
    from quantum.image_student import ImageStudent
    from recipes.schema import GeneratorConfig

    torch.set_num_threads(1)
    one = ImageStudent(GeneratorConfig(by=by, activation=activation), 10)
    arrays = one.initial(0)
    if by == "circuit":
        arrays = {"beta": np.array(beta, np.float32), "gamma": np.array(gamma, np.float32)}
        one.writer = Generator(one.config, one.size, kernel)
    x, y = images(batch * batches)
    optimiser = OptimiserConfig(kind="minibatch", batch=batch, learning_rate=1e-12)
    return lambda: list(one.fit(arrays, x, y, optimiser, 3).losses)


if __name__ == "__main__":
    serve({"vqc_fit": vqc_fit, "ring": ring, "layered": layered, "qfed": qfed}, "0.1.0")
