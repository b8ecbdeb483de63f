"""What a recipe will do and cost, known before anything is spent."""

import time
from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from data.images import PUBLISHED, folder_of, nowhere
from quantum.backends import method
from quantum.circuit_student import CircuitStudent
from quantum.dressed import Dressed
from quantum.student import Student
from recipes.executor import split_executor
from recipes.schema import MINIBATCHED, UNSTAGED, GeneratorConfig, Recipe, TeacherConfig
from server.flower import at_once
from server.price import most_evaluations, price, rows_of
from server.ready import SHAPES, models, ready
from server.summary import itself
from server.symptoms import NEAR
from strategies.wire import count_bytes
from teacher.models import at_hand
from teacher.size import adapter_bytes, most_ranks

START_SECONDS = 15.0  # Ray and the SuperLink, on a laptop
ROWS = 500  # of a client whose number of rows is not known yet
TRIED = 10  # batches that are timed


def priced(recipe: Recipe) -> Table:
    """Two columns: what, and how much."""
    table = Table(title=f"{recipe.name} · digest {recipe.digest()}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    n_classes = ready(recipe, fetch=False)
    arms = models(recipe, n_classes)
    rows = max(1, 3 * (recipe.data.rows or ROWS) // 5)  # three fifths of them are trained on
    if recipe.student.kind in MINIBATCHED:
        rows, _ = rows_of(recipe)
    most = most_evaluations(recipe)
    n_fits, seconds, up = fits(recipe), 0.0, 0
    for name, model in arms.items():
        arrays = model.initial(recipe.seed)
        up += count_bytes(arrays)
        seconds += timed(recipe, model, rows, n_classes) * most * fits(recipe, at_once(recipe.clients))
        table.add_row(name, f"{model.name}, {model.parameters:,} parameters, {count_bytes(arrays):,} bytes")
        for what, said in details(recipe, model):
            table.add_row(what, said)
    table.add_row("data", f"{recipe.data.corpus}, {recipe.data.partition} partition, {recipe.clients} clients")
    published = PUBLISHED.get(recipe.data.corpus)
    if published and folder_of(published) is None:
        files = ", ".join(published.files)
        table.add_row("", f"not here yet: {nowhere(published)}; a run asks {published.url} for {files}")
    staged = recipe.student.kind not in UNSTAGED
    if staged:
        table.add_row("features", features(recipe))
    table.add_row("teacher", teaching(recipe))
    table.add_row("regulation", regulation(recipe))
    chosen = (
        ""
        if recipe.select.by == "everyone"
        else f" {recipe.select.percent:g}% of clients, rules: {recipe.select.rules}"
    )
    table.add_row("server", f"select {recipe.select.by}{chosen}; aggregate {averaging(recipe)}; {stopping(recipe)}")
    table.add_row("spends", spends(recipe, rows, most))
    if recipe.optimiser.kind == "minibatch":
        table.add_row("steps", steps(recipe, rows))
    if recipe.paid():
        table.add_row("QPU", str(price(recipe)))
    stages = ", and the feature stages once" if staged else ""
    adapters = f"; {federating(recipe, n_classes)}" if recipe.teacher.tunes(1) else ""
    table.add_row("bytes up", f"{up:,} a client and round{itself(recipe)}, {up * n_fits:,} in all{stages}{adapters}")
    slower = "" if recipe.executor == "exact" else f"; {recipe.executor} comes on top of it"
    took = START_SECONDS + seconds + recipe.rounds * 0.3
    before = ", texts encoded and teachers tuned already" if staged else ""  # nobody knows how fast a machine reads
    beside = f", {n} clients at once" if (n := at_once(recipe.clients)) > 1 else ""
    table.add_row("time", f"about {took:.0f} s here on the exact engine{beside}{before}{slower}")
    return table


def fits(recipe: Recipe, beside: int = 1) -> int:
    """How often an arm is fitted; where a rule invites, by all clients in round 1 and then by those that it takes.

    With `beside` the fits that follow each other, when so many clients of a round are fitted side by side.
    """
    later = recipe.select.takes(recipe.clients) if recipe.select.rules == "invite" else recipe.clients
    return ceil(recipe.clients / beside) + (recipe.rounds - 1) * ceil(later / beside)


def details(recipe: Recipe, model: Student) -> Iterator[tuple[str, str]]:
    """What is to be known of a model besides its size."""
    if recipe.student.kind == "generator":
        yield "writes", writes(recipe.student.generator, model)
    if isinstance(model, Dressed):
        yield "of these", f"{model.effective:,} can tell; {dressed(recipe, model)}"
    if isinstance(model, CircuitStudent):
        yield "circuit", circuit(recipe, model)
        if recipe.optimiser.kind == "adam":
            yield "gradients", f"exact engine, {model.engine.backend}"
        if split_executor(recipe.executor)[0] in ("noisy", "depolarizing"):
            yield "noise", method(recipe.executor, model.ansatz.circuit, recipe.shots)


def timed(recipe: Recipe, model: Student, rows: int, n_classes: int) -> float:
    """Seconds of one evaluation of a fit on so many rows; of mini-batches, which cost by the row, on a few of them."""
    config, draws = recipe.optimiser, np.random.default_rng(0)
    if config.kind == "minibatch":
        tried = min(rows, TRIED * config.batch)
        trial = model.step(config)
    else:
        tried, trial = rows, max(20, model.step(config))
    x: NDArray[Any]
    if recipe.student.kind == "generator":
        x = draws.integers(0, 256, (tried, *SHAPES[recipe.data.corpus]), dtype=np.uint8)
    else:
        x = draws.random((tried, model.features))
    labels, arrays = np.arange(tried) % n_classes, model.initial(recipe.seed)
    model.fit(arrays, x, labels, config, trial)  # imports and compiles
    began = time.perf_counter()
    evaluations = model.fit(arrays, x, labels, config, trial).evaluations
    return (time.perf_counter() - began) / max(1, evaluations) * rows / tried


def writes(config: GeneratorConfig, model: Any) -> str:
    """How a generator writes, and what remains once it is trained."""
    if config.by in ("small", "full"):
        return f"nothing: the {model.size:,} weights of {model.target} are trained themselves"
    writer = model.writer
    sizes = ", ".join(f"{name} {size:,}" for name, size in writer.sizes.items())
    targets = f"{', '.join(config.named())}: {writer.most:,} weights"
    saved = 1 - model.parameters / writer.most
    layers = "-".join(map(str, writer.widths))
    than = f"{abs(saved):.1%} {'fewer' if saved >= 0 else 'more'}"
    return f"{targets} by {sizes} ({than}), {writer.qubits} qubits, mapping {layers} {config.activation}"


def features(recipe: Recipe) -> str:
    """What a student reads of a text."""
    if recipe.student.kind == "layered":
        return f"{recipe.features.encoder}, all columns"
    return f"{recipe.features.encoder}, {recipe.features.reduction} reduction to {recipe.student.qubits} numbers"


def dressed(recipe: Recipe, model: Dressed) -> str:
    """What stands between two dense layers."""
    if not model.circuit:
        return "no circuit"
    s, drawn = recipe.student, model.ansatz.circuit
    gates = f"depth {drawn.depth()}, {drawn.num_nonlocal_gates()} two-qubit gates"
    return f"{s.qubits} qubits, {s.reps} reps, {s.angles} angles, {s.readout} read-out, {gates}; {model.engine.backend}"


def circuit(recipe: Recipe, model: CircuitStudent) -> str:
    """Qubits, depth and two-qubit gates of the student's circuit."""
    s, drawn = recipe.student, model.ansatz.circuit
    reps = "" if s.kind == "qcnn" else f", {s.reps} reps"
    gates = f"depth {drawn.depth()}, {drawn.num_nonlocal_gates()} two-qubit gates"
    return f"{s.qubits} qubits, {s.feature_map} map × {s.scale:.4g}{reps}, {s.readout} read-out, {gates}"


def spends(recipe: Recipe, rows: int, most: int) -> str:
    """Circuits and shots at most, of the student's arm; the twin has none."""
    n_fits, first, last = fits(recipe), recipe.optimiser.budget, most
    each = f"{first}" if first == last else f"{first} growing to {last} at most"
    evaluations = f"{each} evaluations a client and round ({recipe.optimiser.kind}), at most {last * n_fits:,} an arm"
    if recipe.executor == "exact":
        return f"{evaluations}, exact: 0 shots, 0 QPU seconds"
    circuits = last * n_fits * rows + (recipe.clients * rows // 3 if recipe.scored_by == "executor" else 0)
    return (
        f"{evaluations}; on {recipe.executor} × about {rows} rows: at most {circuits:,} circuits × {recipe.shots:,} "
        f"shots = {circuits * recipe.shots:,} shots"
    )


def steps(recipe: Recipe, rows: int) -> str:
    """Of mini-batches, and whether they can lead anywhere."""
    search = recipe.optimiser
    each = search.epochs * ceil(rows / search.batch)
    moved = sum(each * search.at(number).learning_rate for number in range(1, recipe.rounds + 1))
    said = f"{each:,} of Adam a client and round, {each * recipe.rounds:,} in all"
    if moved >= NEAR:
        return said
    return f"{said}; few: a number moves by hardly {moved:.2g}: raise optimiser.epochs or lower optimiser.batch"


def taught(config: TeacherConfig) -> str:
    """The teacher in words."""
    if config.kind == "tiny":
        return "tiny"
    where = f"the top {config.layers} layers" if config.layers else "all layers"
    return f"{config.model}, LoRA r {config.rank} on {', '.join(config.targets)} of {where}, {config.epochs} epochs"


def stopping(recipe: Recipe) -> str:
    """The stop rule in words."""
    stop = recipe.stop
    rules = [f"|ΔL|/L < {stop.epsilon:g}"] if stop.epsilon else []
    rules += [f"the student within {stop.delta:g} nats of its teacher"] if stop.delta is not None else []
    early = f", or {' or '.join(rules)} for {stop.patience} rounds" if rules else ""
    return f"{recipe.rounds} rounds{early}"


def averaging(recipe: Recipe) -> str:
    """The aggregator in words."""
    a = recipe.aggregate
    return f"{a.by}{f', τ {a.tau:g}' if a.tau else ''}{', angles on the circle' if a.mean == 'circular' else ''}"


def teaching(recipe: Recipe) -> str:
    """Who teaches what, to whom."""
    t, d = recipe.teacher, recipe.distil
    if t.kind == "none":
        return "none" + (f"; proximal μ {d.proximal:g}" if d.proximal else "")
    k, stride = recipe.words()
    read = [f"reads DNA as words of {k} letters, one every {stride}"] if k else []
    words = [taught(t), *read, f"tuned on {recipe.data.labelled:.0%} of a client's training rows"]
    if t.federate != "none":
        words.append(f"federated ({t.federate}, {t.rounds} round{'s' * (t.rounds > 1)})")
    weights = f"ν {d.labels:g}, λ {d.weight:g}, κ {d.shannon:g}"
    words.append(f"distilled with {weights} at T {d.temperature:g}" if d.teaches else "nothing distilled")
    return "; ".join(words + ([f"proximal μ {d.proximal:g}"] if d.proximal else []))


def federating(recipe: Recipe, n_classes: int) -> str:
    """Bytes of the adapters that travel, in words."""
    t = recipe.teacher
    if t.kind == "lora" and not at_hand(t.model):
        return f"adapters in {t.rounds} of the rounds, of a size known once {t.model} is here"
    first, *later = (adapter_bytes(t, n_classes, rank) for rank in growing(t, recipe.clients))
    whole = recipe.clients * (first + sum(later[:-1]))
    most = "at most " * (recipe.select.rules == "invite")  # arms may invite others than each other
    return (
        f"adapters of {first:,} a client in round 1, at most {max(later):,} back and from round 2 on, "
        f"{most}{whole:,} in all"
    )


def growing(config: TeacherConfig, clients: int) -> list[int]:
    """The ranks of round 1 and those that come back from each; a mean of products has as many as its parts together."""
    if config.federate != "exact":
        return [config.rank] * (config.rounds + 1)
    most = config.merged_rank or most_ranks(config)
    return [config.rank, *(min(most, config.rank * clients**merged) for merged in range(1, config.rounds + 1))]


def regulation(recipe: Recipe) -> str:
    """What may move maxiter; whether it does, only a run can say."""
    law, start, cap = recipe.regulate.law, recipe.optimiser.budget, recipe.regulate.cap
    if law == "none":
        return f"none: maxiter {start} in every round"
    when = "" if law == "twoway" else " where ρ > 1, in a client-round whose student is behind its teacher"
    return f"{law}: maxiter {start}, from round 2 on m′(ρ){when}, cap {max(cap, start)}; a run counts them"
