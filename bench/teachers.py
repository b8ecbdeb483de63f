"""How good one teacher is that sees a whole corpus, over three seeds: `python -m bench.teachers`.

Each LLM is tuned as the corpus's recipe says, but in as many layers and at the rate that keep up with tuning all of
them (bench/teacher.py), on up to 3,000 of its training rows, and asked about all test rows.
Beside it a 4-qubit student of the *tuned* LLM's own states: it needs the LLM at inference, so no recipe offers it. A
tuning is kept, so what is done is not done again.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import facts
from bench.study import Results, asked, over, write
from bench.teacher import DEEPER
from data.corpus import TEST, TRAIN, VALIDATION, Corpus, load
from data.kmers import spaced_kmers
from data.streams import stream
from quantum.arms import arms
from quantum.reduction import TrainedReduction
from recipes.load import load as recipe_of
from recipes.schema import Recipe
from server.statistics import mean
from teacher.lora import LoraTeacher
from teacher.soft_labels import held_out

RESULTS = Path(__file__).parent / "results" / "teachers.json"
WANTED = {"topic": 0.87, "senti": 0.78, "tweets": 0.67, "stega": 0.76, "genomic": None}
MOST_ROWS, SEEDS, EVALUATIONS, EXCHANGES = 3000, 3, 300, 3

Rows = tuple[list[str], NDArray[np.int64]]


def main() -> None:
    """Tune and measure what is missing; a corpus is written once its seeds are done."""
    said = asked("bench.teachers", __doc__, seeds=SEEDS, results=RESULTS)
    found: list[Results] = []
    for corpus in WANTED:
        recipe = recipe_of(f"llm-qfl-{corpus}")
        found.append({"corpus": corpus} | measured([one(recipe, seed) for seed in range(said.seeds)]))
        write({"schema": 1, **facts(("torch", "transformers", "peft")), "rows": found}, said.results)


def measured(runs: Sequence[Results]) -> Results:
    """A list of numbers, one a seed, for every name."""
    return {name: [run[name] for run in runs] for name in runs[0]}


def one(recipe: Recipe, seed: int) -> Results:
    """One teacher of one seed, and the student that reads its states."""
    corpus = load(recipe.data, seed)
    train, validation, test = (chosen(recipe, corpus, part, seed) for part in (TRAIN, VALIDATION, TEST))
    config = replace(recipe.teacher, layers=max(recipe.teacher.layers, DEEPER.layers), rate=DEEPER.rate)
    teacher = LoraTeacher(config, len(corpus.classes), seed, 0)
    teacher.tune(*train, *validation)
    loss, accuracy, f1, *_ = held_out(teacher.soft_labels(test[0], 1.0), test[1])
    student = of_states(replace(recipe, seed=seed), teacher, train, test, len(corpus.classes))
    return {"rows": len(train[1]), "accuracy": accuracy, "loss": loss, "f1": f1, "student": student}


def chosen(recipe: Recipe, corpus: Corpus, part: int, seed: int) -> Rows:
    """One split in the order of the seed, as the teacher reads it; of training rows not more than `MOST_ROWS`."""
    assert corpus.splits is not None  # these corpora come divided
    rows = np.flatnonzero(corpus.splits == part)
    if part == TRAIN:
        rows = stream(seed, "share").permutation(rows)[:MOST_ROWS]
    texts = [corpus.texts[row] for row in rows]
    k, stride = recipe.words()
    if k:
        texts = [spaced_kmers(text, k, stride) for text in texts]
    return texts, corpus.labels[rows]


def of_states(recipe: Recipe, teacher: LoraTeacher, train: Rows, test: Rows, n_classes: int) -> float:
    """Test accuracy of the recipe's student on the tuned teacher's states, reduced to one number a qubit."""
    x, x_test = (teacher.features(texts).astype(np.float64) for texts, _ in (train, test))
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    x, x_test = (x - centre) / spread, (x_test - centre) / spread
    reduction = TrainedReduction(x.shape[1], recipe.student.qubits, n_classes, EXCHANGES)
    arrays = reduction.initial(recipe.seed)
    for _ in range(EXCHANGES):
        arrays = reduction.local(arrays, x, train[1])
    student = arms(recipe.student, n_classes)["student"]
    z, z_test = (reduction.apply(arrays, rows) for rows in (x, x_test))
    fit = student.fit(student.initial(recipe.seed), z, train[1], recipe.optimiser, EVALUATIONS)
    return float(np.mean(student.predict(fit.arrays, z_test).argmax(1) == test[1]))


def table(results: Results) -> Table:
    """One line a corpus."""
    drawn = Table()
    for name in ("corpus", "training rows", "teacher", "F1", "loss, nats", "wanted", "student of its states ¹"):
        drawn.add_column(name, justify="left" if name == "corpus" else "right")
    for row in results["rows"]:
        wanted = WANTED[row["corpus"]]
        drawn.add_row(
            row["corpus"],
            f"{row['rows'][0]:,}",
            f"{mean(row['accuracy']):.1%}",
            f"{mean(row['f1']):.3f}",
            f"{mean(row['loss']):.3f}",
            f"{wanted:.0%}" if wanted else "",
            f"{mean(row['student']):.1%}",
        )
    return drawn


def note(results: Results) -> str:
    """What the columns mean and where the numbers come from."""
    seeds = over(len(row["accuracy"]) for row in results["rows"])
    return (
        f"SmolLM2-135M tuned as `llm-qfl-<corpus>` says, but in {DEEPER.layers} layers or more at rate "
        f"{DEEPER.rate:g}; all test rows, mean of {seeds}; wanted: what was asked for. ¹ needs the LLM at inference. "
        f"`make teachers`, qflock {results['commit']}."
    )


if __name__ == "__main__":
    main()
