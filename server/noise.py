"""`qflock noise RUN`: what a trained generator is worth when its circuit is not exact.

Each level is an executor. The trained angles run on it once, and write a network that is measured on the server's rows;
then the generator may be fine-tuned there, each step with what the executor sees of the circuit. What is expected to
take longer than LONGEST is refused with the estimate.
"""

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from data.corpus import load
from data.split import deal
from data.streams import stream
from data.whole import write_whole
from quantum.arms import student
from quantum.backends import method
from quantum.executor import Executor, executor
from quantum.ring import ring
from quantum.student import Arrays
from quantum.threads import limit_threads
from recipes.executor import split_executor
from recipes.schema import OptimiserConfig
from recipes.section import InputError
from server.checkpoint import newest
from server.outcome import outcome

LEVELS = ("shots", "depolarizing:1e-4", "depolarizing:1e-3", "depolarizing:1e-2")  # a device is asked for by name
LONGEST = 1800.0  # seconds in all
FEW = 50  # shots that are timed where each costs the same
NARROW, SHALLOW = 6, 2  # qubits and blocks of a density matrix that is timed; a qubit more costs four times as much
PAID = ("ibm", "ibm-local")
ARM = "student"


@dataclass(frozen=True)
class Level:
    """One executor: accuracy of the trained angles on it, and after fine-tuning there."""

    executor: str
    shots: int
    accuracy: float
    tuned: float | None
    seconds: float


@dataclass(frozen=True)
class Measured:
    """A run under every level, beside its accuracy without noise."""

    run: str
    rows: int
    exact: float
    steps: int
    levels: tuple[Level, ...]


def noise(folder: Path, levels: Sequence[str], *, shots: int, steps: int, go_on: bool) -> Measured:
    """Measure all levels, and write RUN/noise.json."""
    found = outcome(folder)
    recipe, generator = found.recipe, found.recipe.student.generator
    if recipe.student.kind != "generator" or generator.by != "circuit" or generator.targets:
        raise InputError(f"{folder} trained no circuit that writes one network, so there is nothing to run under noise")
    state = newest(folder, recipe.digest())
    if state is None:
        raise InputError(f"{folder} has no checkpoint, so its arrays are lost: run it again")
    limit_threads(recipe.threads)
    model: Any = student(recipe.student, 10)
    levels = levels or LEVELS
    for level in levels:
        if split_executor(level)[0] in PAID:
            raise InputError(f"--level {level}: hardware is for recipes; use shots, aer, depolarizing or noisy")
    expected = {level: estimated(level, model, shots, 1 + steps + bool(steps)) for level in levels}
    if sum(expected.values()) > LONGEST and not go_on:
        said = ", ".join(f"{level} {spoken(seconds)}" for level, seconds in expected.items())
        raise InputError(
            f"this would take {spoken(sum(expected.values()))} ({said}): choose levels with --level, lower --steps or "
            f"--shots, or add --go-on"
        )
    corpus = load(recipe.data, recipe.seed)
    dealt, arrays = deal(corpus, recipe.data, recipe.clients, recipe.seed), state.arms[ARM].arrays
    rows = dealt.reference
    x, y = (np.concatenate([getattr(share.train, key) for share in dealt.shares]) for key in ("images", "labels"))

    def accuracy(of: Any, run: Any) -> float:
        return float(np.mean(model.predict(of, rows.images, executor=run).argmax(1) == rows.labels))

    measured = []
    for level in levels:
        began, tuned = time.monotonic(), None
        with closing(executor(level, shots=shots, seed=recipe.seed)) as run:
            before = accuracy(arrays, run)
            if steps:
                tuned = accuracy(fine_tuned(model, arrays, x, y, recipe.optimiser, steps, recipe.seed, run), run)
        measured.append(Level(level, shots, before, tuned, time.monotonic() - began))
    whole = Measured(folder.name, len(rows), accuracy(arrays, None), steps, tuple(measured))
    write_whole(folder / "noise.json", (json.dumps({"schema": 1, **asdict(whole)}, indent=1) + "\n").encode())
    return whole


def fine_tuned(
    model: Any,
    arrays: Arrays,
    x: NDArray[Any],
    y: NDArray[Any],
    optimiser: OptimiserConfig,
    steps: int,
    seed: int,
    run: Executor | None,
) -> Arrays:
    """The arrays after so many steps on an executor, on the rows of all clients mixed.

    Every pass has an order of its own, the last is as long as is left, and each begins Adam anew, as a visit does. The
    learning rate is the recipe's of round 1: that of the last round has decayed to almost nothing.
    """
    draws = stream(seed, "pool")
    while steps > 0:
        rows = draws.permutation(len(y))[: steps * optimiser.batch]
        order = int(draws.integers(2**31))
        fit = model.fit(arrays, x[rows], y[rows], optimiser, model.step(optimiser), seed=order, executor=run)
        arrays, steps = fit.arrays, steps - ceil(len(rows) / optimiser.batch)
    return arrays


def estimated(level: str, model: Any, shots: int, runs: int) -> float:
    """Seconds of so many runs of the circuit, from one that is smaller where a whole one would be long."""
    circuit, kind = model.writer.source.engine.ansatz.circuit, split_executor(level)[0]
    n, factor = circuit.num_qubits, 1.0
    if kind == "noisy" and n > NARROW:
        method(level, circuit)  # places it, and refuses what does not fit into memory
        factor = 4 ** (n - NARROW) * n * model.writer.config.blocks / (NARROW * SHALLOW)
        circuit = ring(NARROW, SHALLOW).circuit
    few = min(FEW, shots) if kind == "depolarizing" else shots
    with closing(executor(level, shots=few, seed=0)) as run:
        row = np.zeros((1, circuit.num_parameters))
        run.probabilities(circuit, row)  # sets it up
        began = time.monotonic()
        run.probabilities(circuit, row)
        return (time.monotonic() - began) * factor * shots / few * runs


def spoken(seconds: float) -> str:
    """A rough time."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def table(measured: Measured) -> Table:
    """One row a level."""
    drawn = Table(
        title=f"{measured.run}: {measured.exact:.2%} of {measured.rows:,} rows right without noise",
        title_justify="left",
    )
    tuned = f"after {measured.steps} steps there"
    for name in ("executor", "shots", "accuracy", "lost", *([tuned] if measured.steps else []), "seconds"):
        drawn.add_column(name, justify="left" if name == "executor" else "right")
    for level in measured.levels:
        after = [f"{level.tuned:.2%}"] if level.tuned is not None else []
        lost = f"{100 * (measured.exact - level.accuracy):.1f} points"
        drawn.add_row(level.executor, f"{level.shots:,}", f"{level.accuracy:.2%}", lost, *after, f"{level.seconds:.0f}")
    return drawn
