"""`qflock noise RUN`: what a trained generator is worth when its circuit is not exact.

Each level is an executor. The trained angles run on it once, and write a network that is measured on the server's rows;
then the generator may be fine-tuned there, each step with what the executor sees of the circuit. What is expected to
take longer than LONGEST is refused with the estimate. RUN/noise.json keeps every level that is done.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from data.corpus import load
from data.split import deal
from data.streams import stream
from data.whole import write_whole
from quantum.arms import student
from quantum.backends import by_trajectories, method
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
SHOTS, MANY = 10_000, 10_000_000  # the second, of a density matrix, which any number costs the same, is hardly noise
FEW = 50  # shots that are timed where each costs the same
TURNS = 5  # calls that are timed
NARROW, SHALLOW = 8, 2  # qubits and blocks of a density matrix that is timed; a qubit more costs four times as much
PAID = ("ibm", "ibm-local")
ARM = "student"
FILE, SCHEMA = "noise.json", 2
Asked = tuple[str, int, int]  # executor, shots, steps


@dataclass(frozen=True)
class Level:
    """One executor: accuracy of the trained angles on it, and after fine-tuning there."""

    executor: str
    shots: int
    steps: int
    accuracy: float
    tuned: float | None
    seconds: float

    @property
    def asked(self) -> Asked:
        """What it is the answer to."""
        return self.executor, self.shots, self.steps


@dataclass(frozen=True)
class Measured:
    """A run under every level so far, beside its accuracy without noise."""

    run: str
    rows: int
    exact: float
    levels: tuple[Level, ...]


def noise(
    folder: Path,
    levels: Sequence[str],
    *,
    shots: int | None,
    steps: int,
    go_on: bool,
    say: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Measure the levels that RUN/noise.json does not hold yet, and add each to it once it is done.

    Without a number of shots each level has its usual one.
    """
    found = outcome(folder)
    recipe, generator = found.recipe, found.recipe.student.generator
    if recipe.student.kind != "generator" or generator.by != "circuit" or generator.targets:
        raise InputError(f"{folder} trained no circuit that writes one network, so there is nothing to run under noise")
    state = newest(folder, recipe.digest())
    if state is None:
        raise InputError(f"{folder} has no checkpoint, so its arrays are lost: run it again")
    limit_threads(recipe.threads)
    model: Any = student(recipe.student, 10)
    for level in levels:
        if split_executor(level)[0] in PAID:
            raise InputError(f"--level {level}: hardware is for recipes; use shots, aer, depolarizing or noisy")
    kept = measured_in(folder)
    wanted = {level: shots or usual(level, model.writer.qubits) for level in levels or LEVELS}
    remaining = {level: taken for level, taken in wanted.items() if (level, taken, steps) not in kept}
    expected = {level: estimated(level, model, taken, 1 + steps + bool(steps)) for level, taken in remaining.items()}
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

    exact = accuracy(arrays, None)
    for level, taken in remaining.items():
        say(f"{level}: {taken:,} shots{f' and {steps} steps' if steps else ''}, {spoken(expected[level])}")
        began, tuned = time.monotonic(), None
        with closing(executor(level, shots=taken, seed=recipe.seed)) as run:
            before = accuracy(arrays, run)
            if steps:
                last = recipe.optimiser.at(recipe.rounds)
                tuned = accuracy(fine_tuned(model, arrays, x, y, last, steps, recipe.seed, run), run)
        done = Level(level, taken, steps, before, tuned, time.monotonic() - began)
        kept[done.asked] = done
        write(folder, Measured(folder.name, len(rows), exact, tuple(kept.values())))
        say(f"{level}: {before:.2%}{f', {tuned:.2%} after its steps' if tuned is not None else ''}")
    return Measured(folder.name, len(rows), exact, tuple(kept.values()))


def measured_in(folder: Path) -> dict[Asked, Level]:
    """The levels in RUN/noise.json."""
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        schema, levels = said["schema"], said["levels"]
        found = [Level(**level) for level in levels] if schema == SCHEMA else []
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it, and its levels are measured again") from None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema}, this qflock reads {SCHEMA}: delete it, and measure again")
    return {level.asked: level for level in found}


def write(folder: Path, measured: Measured) -> None:
    """RUN/noise.json, whole."""
    text = json.dumps({"schema": SCHEMA, **asdict(measured)}, indent=1)
    write_whole(folder / FILE, f"{text}\n".encode())


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
    learning rate is to be the last round's: at the first's, 300 exact steps take qfed-scale's 84.3% to 77.8%.
    """
    draws = stream(seed, "pool")
    while steps > 0:
        rows = draws.permutation(len(y))[: steps * optimiser.batch]
        order = int(draws.integers(2**31))
        fit = model.fit(arrays, x[rows], y[rows], optimiser, model.step(optimiser), seed=order, executor=run)
        arrays, steps = fit.arrays, steps - ceil(len(rows) / optimiser.batch)
    return arrays


def usual(level: str, n: int) -> int:
    """Shots of a level on n qubits; of errors alone, many: 10,000 by themselves take qfed-scale's 84.3% to 11.3%."""
    kind = split_executor(level)[0]
    single = kind == "depolarizing" and by_trajectories(n, MANY)
    return MANY if kind in ("noisy", "depolarizing") and not single else SHOTS


def estimated(level: str, model: Any, shots: int, runs: int) -> float:
    """Seconds of so many runs of the circuit, from some that are smaller where a whole one would be long.

    A core's own seconds, and their median: what else the machine does would be multiplied too.
    """
    circuit, kind = model.writer.source.engine.ansatz.circuit, split_executor(level)[0]
    n, factor = circuit.num_qubits, 1.0
    single = kind == "depolarizing" and by_trajectories(n, shots)
    if kind in ("noisy", "depolarizing") and not single and n > NARROW:
        method(level, circuit, shots)  # places it, and refuses what does not fit into memory
        factor = 4 ** (n - NARROW) * n * model.writer.config.blocks / (NARROW * SHALLOW)
        circuit = ring(NARROW, SHALLOW).circuit
    few = min(FEW, shots) if single else shots
    with closing(executor(level, shots=few, seed=0)) as run:
        row = np.zeros((1, circuit.num_parameters))
        run.probabilities(circuit, row)  # sets it up
        took = []
        for _ in range(TURNS):
            began = time.process_time()
            run.probabilities(circuit, row)
            took.append(time.process_time() - began)
        return median(took) * factor * shots / few * runs


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
    tuned = ("steps there", "then") if any(level.steps for level in measured.levels) else ()
    for name in ("executor", "shots", "accuracy", "lost", *tuned, "seconds"):
        drawn.add_column(name, justify="left" if name == "executor" else "right")
    for level in measured.levels:
        after = [f"{level.steps:,}", f"{level.tuned:.2%}"] if level.tuned is not None else [""] * len(tuned)
        lost = f"{100 * (measured.exact - level.accuracy):.1f} points"
        drawn.add_row(level.executor, f"{level.shots:,}", f"{level.accuracy:.2%}", lost, *after, f"{level.seconds:.0f}")
    return drawn
