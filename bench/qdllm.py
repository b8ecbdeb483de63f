"""QD-LLM's student beside its twin, its teacher and other small models: `python -m bench.qdllm`.

In one place, as `qflock distill` does it: a single client holds all rows. Seconds are a core's, of training: features,
a teacher's answers and what small students see inside it are computed before; student and twin are scored after each
round. Memory is the rise above what the process held. Milliseconds are of answering the test rows in batches: from
features where a model reads these, else from the text; from the text, they hold the encoder's too. Published rows are
those of qd-llm-published.csv, typed from tables 3 to 8 of arXiv:2505.13205.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from bench.inside import Inside
from bench.machine import facts, nothing_kept, wide_console
from bench.memory import Growth
from bench.rivals import NOT_RUN, RIVALS, Fitted, Task
from bench.study import commits, over, write
from client.lessons import attend
from client.participant import Participant
from client.round import train
from data.split import Rows
from data.stages import arrays_of, named, through
from quantum.dressed import Dressed
from quantum.student import Student
from quantum.threads import limit_threads
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from server.central import central
from server.plan import taught as described
from server.statistics import difference, estimate
from strategies.messages import Arrays, Assignment, Report

RESULTS = Path(__file__).parent / "results" / "qdllm.json"
PUBLISHED = Path(__file__).parent / "qd-llm-published.csv"
CORPORA = {"topic": "thematic", "senti": "emotion", "stega": "hiding", "reviews": ""}  # ours → the paper's, if any
SEEDS = 5
PACKAGES = ("torch", "qiskit", "scikit-learn", "transformers")
ARMS = {"student": "student: 11 qubits", "twin": "linear twin: the same without its circuit"}
METRICS = ("accuracy", "precision", "recall", "f1")  # the last three macro
AT_FIRST = 8  # rows of a fit that nobody times
TIMED = 64  # texts that the teacher and the encoder are timed on
COLUMNS = {  # of the table, in its order → how a number is written
    **dict.fromkeys(("precision", "recall", "f1"), "{:.3f}"),
    "parameters": "{:,.0f}",
    "effective": "{:,.0f}",  # of these can tell, where we know
    "per_parameter": "{:.2e}",
    "seconds": "{:,.1f}",
    "per_second": "{:.2e}",
    "peak_mb": "{:,.0f}",
    "milliseconds": "{:.3f}",
    "from_text": "{:.3f}",
}
HEADS = {
    "per_parameter": "a parameter",
    "per_second": "a second",
    "peak_mb": "peak MB",
    "milliseconds": "ms a text",
    "from_text": "from the text, ms",
}

Results = dict[str, Any]
Row = dict[str, Any]
Floats = NDArray[np.float64]


def main() -> None:
    """Measure what the results file lacks, print the tables."""
    asked = argparse.ArgumentParser(prog="bench.qdllm", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    asked.add_argument("--seeds", type=int, default=SEEDS)
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    limit_threads(1)
    console = wide_console()
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as memory:
        os.environ["QFLOCK_MEMORY"] = memory
        results = measure(said.corpora, said.seeds, said.set, said.results, console.print)
    for name in results["corpora"]:
        console.print(table(results, name))
    console.print(note(results))


def measure(
    corpora: Sequence[str], seeds: int, changes: Sequence[str], path: Path, say: Callable[[str], None] = print
) -> Results:
    """Every corpus at every seed, written down one by one; what is there of the same recipe and packages stays."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    results: Results = {"schema": 1, "corpora": before.get("corpora", {})}
    for corpus in corpora:
        head, every = facts(PACKAGES), [*central(load_recipe(f"qd-llm-{corpus}")), *changes]
        digest = load_recipe(f"qd-llm-{corpus}", every).digest()
        found = results["corpora"].get(corpus, {})
        if (found.get("recipe_digest"), found.get("packages")) != (digest, head["packages"]):
            found = {"recipe": f"qd-llm-{corpus}", "changes": every, "recipe_digest": digest, "rows": {}}
        results["corpora"][corpus] = found
        done = max(map(len, found["rows"].values()), default=0)
        for seed in range(done, seeds):
            run = rows(load_recipe(f"qd-llm-{corpus}", [*every, f"seed={seed}"]))
            say(f"{corpus}  seed {seed}  " + "  ".join(f"{n[:12]} {r['accuracy']:.3f}" for n, r in run.items()))
            for name, one in run.items():
                found["rows"].setdefault(name, []).append(one)
            earlier = [{"commit": found["commit"]}] if "commit" in found else []
            found |= head | {"commit": commits({"rows": [*earlier, head]})}
            write(results, path)
    return results


def rows(recipe: Recipe) -> dict[str, Row]:
    """Every method on one corpus at one seed."""
    who = Participant(recipe, 0)
    shared = agreed(who)
    warm(who, shared)
    train_rows, test = who.share.train, who.share.test
    x, x_test = who.features(train_rows, shared), who.features(test, shared)
    found: dict[str, Row] = {}
    encoder = encoding(who, shared, test.texts[:TIMED])
    for name, arm in who.arms.items():
        arrays, terms, grown, seconds = distilled(who, shared, name)
        fitted = Fitted(partial(answer, arm, arrays), arm.parameters, encoded=True)
        measured = row(fitted, test, x_test, seconds, grown, encoder)
        found[ARMS[name]] = measured | {"effective": cast("Dressed", arm).effective, "terms": terms}
    inside = within(recipe.teacher.model, recipe.teacher.layers)  # and with it the LLM that the teacher is timed with
    teacher_row, soft_BK = taught(who)
    found[f"teacher: {described(recipe.teacher)}"] = teacher_row
    inside.read(train_rows.texts)
    student = cast("Dressed", who.arms["student"])
    temperature = recipe.distil.temperature
    task = Task(
        train_rows.texts, x, train_rows.labels, soft_BK, temperature, inside, who.n_classes, student, recipe.seed
    )
    for name, rival in RIVALS.items():
        with Growth() as grown:
            began = time.process_time()
            fitted = rival(task)
            seconds = time.process_time() - began
        found[name] = row(fitted, test, x_test, seconds, grown, encoder)
    return found


def answer(arm: Student, arrays: Arrays, _: Sequence[str], x: Floats) -> Floats:
    """Of an arm, which reads features."""
    return arm.predict(arrays, x)


def encoding(who: Participant, shared: Arrays, texts: Sequence[str]) -> float:
    """Milliseconds a text takes to become features, less what every call takes, such as reading the weights."""

    def seconds(some: Sequence[str]) -> float:
        began = time.process_time()
        through(who.stages, shared, some)
        return time.process_time() - began

    with nothing_kept("features"):
        seconds(texts[:1])  # imports what it needs
        once, others = seconds(texts[1:2]), seconds(texts[2:])
    return 1000 * (others - once) / (len(texts) - 3)


@lru_cache(maxsize=1)
def within(model: str, tuned: int) -> Inside:
    """What every seed and corpus reads the same texts in."""
    return Inside(model, tuned)


def agreed(who: Participant) -> Arrays:
    """The feature stages of a single client."""
    shared: Arrays = {}
    for stage in who.stages:
        shared |= named(stage, stage.initial(who.recipe.seed))
        for _ in range(stage.exchanges):
            answer = who.statistics(stage.name, shared)
            shared |= named(stage, stage.merge(arrays_of(stage, shared), [answer], [len(who.share.train)]))
    return shared


def warm(who: Participant, shared: Arrays) -> None:
    """What the first fit and the first look at rows take once: imports, kernels, the encoder of validation rows."""
    who.features(who.share.validation, shared)
    x, labels = who.fitted(shared, taught=False)[:AT_FIRST], who.share.train.labels[:AT_FIRST]
    for arm in who.arms.values():
        arm.fit(arm.initial(0), x, labels, who.recipe.optimiser, arm.step(who.recipe.optimiser))


def distilled(who: Participant, shared: Arrays, name: str) -> tuple[Arrays, dict[str, float], Growth, float]:
    """An arm after all rounds, the terms of its loss in the end, the memory and the seconds of its fits."""
    recipe, arrays, seconds = who.recipe, who.arms[name].initial(who.recipe.seed), 0.0
    terms: dict[str, float] = {}

    def assigned(number: int) -> Assignment:
        return Assignment(
            kind="train",
            run=f"bench-{recipe.digest()}-{name}",
            recipe_digest="",
            round=number,
            memory_round=number - 1,
            shared=shared,
            arms={name: arrays},
        )

    attend(who, assigned(1))  # what the teacher says is then known
    with Growth() as grown:
        for number in range(1, recipe.rounds + 1):
            began = time.process_time()
            (report,) = (said for said in train(who, assigned(number)) if isinstance(said, Report))
            seconds += time.process_time() - began
            arrays, terms = report.arrays, report.terms
    return arrays, terms, grown, seconds


def taught(who: Participant) -> tuple[Row, Floats]:
    """The teacher on the test rows, and its soft labels of the training rows; it is asked anew to time an answer.

    It distils nothing, so it has neither seconds nor a rise in memory; what it holds is its LLM.
    """
    train_rows, validation, test = who.share.train, who.share.validation, who.share.test
    teacher = who.new_teacher()
    teacher.tune(train_rows.texts, train_rows.labels, validation.texts, validation.labels)
    soft_BK = teacher.soft_labels(train_rows.texts, who.recipe.distil.temperature)
    probs_BK = teacher.soft_labels(test.texts, 1.0)
    few = test.texts[:TIMED]
    with nothing_kept():
        teacher.soft_labels(few[:1], 1.0)  # loads what it needs
        began = time.process_time()
        teacher.soft_labels(few, 1.0)
        took = (time.process_time() - began) / len(few)
    size = sum(array.size for array in teacher.adapter().values())
    times = dict.fromkeys(("milliseconds", "from_text"), 1000 * took)
    return measures(probs_BK, test.labels, size) | times, soft_BK


def row(fitted: Fitted, test: Rows, x_test: Floats, seconds: float, grown: Growth, encoder: float) -> Row:
    """A trained model's measures on the test rows; the encoder takes milliseconds a text."""
    began = time.process_time()
    probs_BK = fitted.answer(test.texts, x_test)
    took = 1000 * (time.process_time() - began) / len(test)
    found = measures(probs_BK, test.labels, fitted.parameters)
    return found | {
        "seconds": seconds,
        "per_second": found["accuracy"] / seconds,
        "peak_mb": grown.mb,
        "milliseconds": took,
        "from_text": took + encoder * fitted.encoded,
    }


def measures(probs_BK: Floats, labels: NDArray[np.int64], parameters: int) -> Row:
    """The paper's, of answers alone."""
    answers = probs_BK.argmax(1)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, answers, average="macro", zero_division=0)
    accuracy = float(accuracy_score(labels, answers))
    return {
        "accuracy": accuracy,
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "parameters": parameters,
        "per_parameter": accuracy / parameters,
    }


def table(results: Results, corpus: str) -> Table:
    """One row a method, then what the paper printed."""
    drawn = Table(title=corpus, title_justify="left")
    for column in ("method", "accuracy", "95% interval", *(HEADS.get(key, key) for key in COLUMNS)):
        drawn.add_column(column, justify="left" if column == "method" else "right")
    for name, seeds in results["corpora"][corpus]["rows"].items():
        accuracies = [one["accuracy"] for one in seeds]
        bounds = estimate(accuracies).interval
        between = f"{100 * bounds[0]:.1f} to {bounds[1]:.1%}" if bounds else ""
        values = {key: [one[key] for one in seeds if one.get(key) is not None] for key in COLUMNS}
        cells = (said.format(fmean(values[key])) if values[key] else "" for key, said in COLUMNS.items())
        drawn.add_row(name, f"{fmean(accuracies):.1%}", between, *cells)
    drawn.add_section()
    for one in published("Table 4", "Table 5", "Table 6", task=CORPORA[corpus], teacher="mean of 5"):
        shown = {key: one[key] for key in METRICS[1:]} | {
            "parameters": f"{float(size_of(one['method'])):,.0f}",
            "per_parameter": one["accuracy_per_parameter"],
            "seconds": f"{float(one['accuracy']) / float(one['accuracy_per_distillation_second']):,.0f}",
            "per_second": one["accuracy_per_distillation_second"],
        }
        name = "QD-LLM" if one["method"] == "Ours" else one["method"]
        drawn.add_row(f"published: {name}", f"{float(one['accuracy']):.1%}", "", *(shown.get(k, "") for k in COLUMNS))
    return drawn


def published(*tables: str, **values: str) -> list[dict[str, str]]:
    """The printed rows of some tables that have these values."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        printed = [one for one in csv.DictReader(file) if one["table"] in tables]
    return [one for one in printed if all(one[key] == value for key, value in values.items())]


def size_of(method: str) -> str:
    """The parameters of a student, from table 3."""
    name = f"{'QD-LLM student' if method == 'Ours' else method} parameters"
    return published("Table 3", method=name)[0]["accuracy"]


def note(results: Results) -> str:
    """What the tables say and what differs from the paper."""
    said = []
    for corpus, found in results["corpora"].items():
        student, twin = ([one["accuracy"] for one in found["rows"][ARMS[name]]] for name in ("student", "twin"))
        pair = difference(student, twin)
        bounds = pair.t_interval
        between = f"95% interval {100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f}; " if bounds else ""
        shown = "" if pair.shown else ", no difference shown"
        said.append(
            f"{corpus}: student less twin {100 * pair.mean:+.1f} points ({between}{over([len(student)])}){shown}; "
            f"qflock {found['commit']}, load {found['machine']['load']}"
        )
    adapters = [float(one["accuracy"]) / 1e6 for one in published("Table 3", method="LoRA parameters")]
    least, most = min(adapters), max(adapters)
    rest = "; ".join(f"{name}: {why}" for name, why in NOT_RUN.items())
    return (
        f"{'. '.join(said)}. Parameters are those that are trained: the weights of a frozen encoder, or of the LLM "
        f"below an adapter, are not counted. Seconds are of training, after features and a teacher's answers, which "
        f"are computed once; those of student and twin hold the scores after each round, those of a logistic "
        f"regression the five-fold cross-validation that chooses its penalty. Intervals are over seeds; all but the "
        f"reviews have the same test rows in every seed. "
        f"What differs from the published rows: theirs are of 24,000, 10,000 and 20,000 texts, ours of the public "
        f"third to two thirds of these, in other splits; their teachers have 1.1 to 8 billion weights and adapters of "
        f"{least:.1f} to {most:.1f} million, ours 135 million and the adapter above; their student reads BERT, ours "
        f"the recipe's encoder, so its size differs; their small BERTs start from pretrained ones of 14 to 52 million "
        f"weights, ours from nothing and look into SmolLM2 also where a bag of words teaches (reviews); their seconds "
        f"are of another machine, here as accuracy over accuracy a second. "
        f"So they are context, not a comparison. Not run: {rest}."
    )


if __name__ == "__main__":
    main()
