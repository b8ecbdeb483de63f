"""What a run has trained, put to use: texts are classified on any executor, and their circuits become OpenQASM 3.

B texts, K classes.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from data.corpus import load as load_corpus
from data.stages import through
from data.whole import write_whole
from quantum import qasm
from quantum.circuit_student import CircuitStudent
from quantum.devices import fake_device
from quantum.dressed import Dressed
from quantum.executor import executor, visit_seed
from quantum.reduction import stages
from quantum.student import Arrays, Student
from recipes.executor import READOUT_ERRORS, split_executor
from recipes.load import load
from recipes.schema import UNSTAGED, Recipe
from recipes.section import InputError, RecipeError
from server.checkpoint import newest
from server.ledger import lines
from server.ready import models
from strategies.state import State
from teacher.encoders import encoder

ABOUT = "circuits.json"  # beside the circuits that it names


@dataclass(frozen=True)
class Trained:
    """A run's last checkpoint, and the models that its arrays are of."""

    recipe: Recipe
    state: State
    arms: dict[str, Student]
    classes: list[str]

    def columns(self, texts: Sequence[str]) -> Any:
        """(B, N) what its students read."""
        for number, text in enumerate(texts, 1):
            if not text.strip():
                raise InputError(f"text {number} is empty; there is nothing to classify")
            if any("\udc80" <= letter <= "\udcff" for letter in text):  # a byte that the shell gave and Python kept
                raise InputError(f"text {number} is not UTF-8; give it in UTF-8")
        made = stages(self.recipe, encoder(self.recipe.features), len(self.classes))
        return through(made, self.state.shared, [" ".join(text.split()) for text in texts])


def trained(folder: Path) -> Trained:
    """From a run's folder, finished or not."""
    if not (folder / "recipe.yaml").is_file():
        raise InputError(f"{folder} is not a run folder: it has no recipe.yaml")
    recipe = load(str(folder / "recipe.yaml"))
    if recipe.student.kind in UNSTAGED:
        raise InputError(f"{folder} is a run of a {recipe.student.kind} student, which does not read texts")
    state = newest(folder, recipe.digest())
    if state is None:
        raise InputError(
            f"{folder} has no checkpoint yet: no round of it has ended. Go on with: qflock resume {folder}"
        )
    classes = classes_of(folder, recipe)
    arms = models(recipe, len(classes))
    for name, arm in arms.items():
        made, found = ({key: a.shape for key, a in one.items()} for one in (arm.initial(0), state.arms[name].arrays))
        if made != found:
            raise InputError(
                f"{folder} has a {name} of {found}, and one for the {len(classes)} classes of {recipe.data.corpus} is "
                f"of {made}: give back the data that it was trained on"
            )
    return Trained(recipe, state, arms, classes)


def classes_of(folder: Path, recipe: Recipe) -> list[str]:
    """Of the corpus that the run began with: renamed labels would name its answers wrongly."""
    corpus = load_corpus(recipe.data, recipe.seed)
    began = next((line["corpus"]["digest"] for line in lines(folder) if "corpus" in line), corpus.digest)  # old: none
    if corpus.digest != began:
        raise InputError(
            f"{folder} was trained on {recipe.data.corpus} with digest {began}, and what is there now has "
            f"{corpus.digest}, other rows or labels: give back the data that it was trained on"
        )
    return corpus.classes


def predicted(run: Trained, texts: Sequence[str], spec: str, shots: int, *, mitigate: bool = False) -> Table:
    """One row a text and arm, with the probability of every class."""
    kind, backend = split_executor(spec)
    if kind == "ibm":
        raise InputError(f"executor {spec} is paid for; try ibm-local:{like(backend)} or another")
    if mitigate and kind not in READOUT_ERRORS:
        raise InputError(f"--mitigate: executor {kind} makes no read-out errors; leave it out")
    x, table = run.columns(texts), Table()
    for column in ("text", "arm", "class", *run.classes):
        table.add_column(column, justify="right" if column in run.classes else "left")
    with closing(executor(spec, shots=shots, seed=visit_seed(run.recipe.seed, 0, 0), mitigate=mitigate)) as one:
        on = None if kind == "exact" else one
        probs = {name: arm.predict(run.state.arms[name].arrays, x, executor=on) for name, arm in run.arms.items()}
    for row, text in enumerate(texts):
        for name, probs_BK in probs.items():
            p_K = probs_BK[row]
            table.add_row(text, name, run.classes[p_K.argmax()], *(f"{p:.3f}" for p in p_K))
    return table


def like(backend: str) -> str:
    """The fake device of one of IBM's backends, or another that has qubits enough."""
    name = backend.removeprefix("ibm_")
    try:
        fake_device(name)
    except RecipeError:
        return "brisbane"
    return name


def exported(run: Trained, texts: Sequence[str], folder: Path, device: str = "") -> list[Path]:
    """A circuit a text, headed by its fingerprint and read back, and what makes classes of its counts; all or none."""
    if not texts:
        raise InputError("no text; a circuit is exported for a text: give one or more after RUN")
    model, arrays = run.arms["student"], run.state.arms["student"].arrays
    assert isinstance(model, CircuitStudent | Dressed)
    needed = model.ansatz.circuit.num_qubits
    if device:
        try:
            offered = fake_device(device).num_qubits
        except RecipeError as error:
            raise InputError(str(error).replace("executor:", "--device:")) from None
        if needed > offered:
            raise InputError(f"{device} has {offered} qubits; the circuit needs {needed}: name a larger device")
    circuits = [qasm.trained(model.ansatz, z, arrays["theta"]) for z in model.angles(arrays, run.columns(texts))]
    files = {f"text-{number}.qasm": qasm.dumps(circuit) for number, circuit in enumerate(circuits, 1)}
    marks = [qasm.fingerprint(qasm.loads(text, name)) for name, text in files.items()]
    facts = {
        "schema": 1,
        "recipe": run.recipe.name,
        "recipe_digest": run.recipe.digest(),
        "classes": run.classes,
        "read_out": said(model, arrays),
        "circuits": [
            {"file": file, "text": text, "sha256": mark} for file, text, mark in zip(files, texts, marks, strict=True)
        ],
    }
    files[ABOUT] = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    paths = [folder / name for name in files]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="export-", dir=folder) as aside:
            for name, text in files.items():
                write_whole(Path(aside) / name, text.encode())
            if taken := next((path for path in paths if path.is_dir()), None):
                raise InputError(f"{taken} is a folder, so no circuit is written; give another --qasm")
            if strange := sorted({path.name for path in folder.glob("text-*.qasm")} - set(files)):
                raise InputError(
                    f"{folder / strange[0]} is of an export with other texts; delete its files or give another --qasm"
                )
            for path in paths:
                (Path(aside) / path.name).replace(path)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); give another --qasm") from None
    return paths


def said(model: CircuitStudent | Dressed, arrays: Arrays) -> dict[str, Any]:
    """How counts of the measured bits become a class; ⟨Z⟩ of a bit is the share of zeros less that of ones."""
    if isinstance(model, Dressed):
        weights_NK, bias_K = model.out(arrays)
        class_ = "the largest of ⟨Z⟩·weights + bias, ⟨Z⟩ of bits 0, 1, …"
        return {"class": class_, "weights": weights_NK.tolist(), "bias": bias_K.tolist()}
    if model.readout.softmax:
        return {"class": "the largest mean ⟨Z⟩, where bit q counts for class q modulo the number of classes"}
    return {"class": "that which most shots have, each for its number of ones modulo the number of classes"}
