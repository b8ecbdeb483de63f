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
    one = ImageStudent(GeneratorConfig(by=by, activation=activation, gain=1.0, pace=1.0), 10)  # the authors'
    arrays = one.initial(0)
    if by == "circuit":
        arrays = {"beta": np.array(beta, np.float32), "gamma": np.array(gamma, np.float32)}
        one.writer = Generator(one.config, one.size, kernel)
    x, y = images(batch * batches)
    optimiser = OptimiserConfig(kind="minibatch", batch=batch, learning_rate=1e-12)
    return lambda: list(one.fit(arrays, x, y, optimiser, 3).losses)


def distil(qubits: int, reps: int, classes: int, batch: int, batches: int, arrays: dict[str, list]) -> Timed:
    """Training steps of QD-LLM's student."""
    import torch
    from gates import taught_rows

    from quantum.guidance import Guidance

    torch.set_num_threads(1)
    held = {name: np.array(values, np.float32) for name, values in arrays.items()}
    columns = len(held["W"])
    config = StudentConfig(
        kind="layered", readout="dense", entanglement="circular", angles="shifted", qubits=qubits, reps=reps
    )
    one = student(config, classes, columns=columns)
    x, labels, soft = taught_rows(batch * batches, columns, classes)
    guidance = Guidance(soft, weight=2.0, temperature=2.0, labels=0.5, shannon=0.5)
    optimiser = OptimiserConfig(kind="minibatch", batch=batch, learning_rate=1e-12)
    return lambda: list(one.fit(held, x, labels, optimiser, 3, guidance=guidance).losses)


def answer(qubits: int, reps: int, classes: int, rows: int, arrays: dict[str, list]) -> Timed:
    """The student's probabilities, features given."""
    import torch
    from gates import taught_rows

    torch.set_num_threads(1)
    held = {name: np.array(values, np.float32) for name, values in arrays.items()}
    config = StudentConfig(kind="layered", readout="dense", entanglement="circular", qubits=qubits, reps=reps)
    one = student(config, classes, columns=len(held["W"]))
    x, _, _ = taught_rows(rows, len(held["W"]), classes)
    return lambda: [float(one.predict(held, x).mean())]


if __name__ == "__main__":
    serve(
        {"vqc_fit": vqc_fit, "ring": ring, "layered": layered, "qfed": qfed, "distil": distil, "answer": answer},
        "0.1.0",
    )
