"""QD-LLM's student beside its twin, its teacher and other small models: `python -m bench.qdllm`.

In one place, as `qflock distill` does it: a single client holds all rows. A client's own rounds and nothing else, so
seconds are those of training, features and the teacher's answers computed before. Published rows are those of
qd-llm-published.csv, typed from tables 4 to 6 of arXiv:2505.13205: means over its five teachers.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from bench.machine import facts, wide_console
from bench.rivals import NOT_RUN, RIVALS, Task
from client.participant import Participant
from client.round import train
from data.stages import arrays_of, named
from quantum.dressed import Dressed
from quantum.threads import limit_threads
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from server.plan import taught as described
from server.statistics import difference, estimate
from strategies.messages import Arrays, Assignment, Report

RESULTS = Path(__file__).parent / "results" / "qdllm.json"
PUBLISHED = Path(__file__).parent / "qd-llm-published.csv"
CORPORA = {"topic": "thematic", "senti": "emotion", "stega": "hiding"}  # ours → the paper's
SEEDS = 5
CENTRAL = ("clients=1", "min_reports=1", "data.partition=iid", "optimiser.epochs=1")
ARMS = {"student": "student: 11 qubits", "twin": "linear twin: the same without its circuit"}
METRICS = ("accuracy", "precision", "recall", "f1")  # the last three macro

Results = dict[str, Any]
Row = dict[str, Any]


def main() -> None:
    """Measure, print the tables, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.qdllm", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=[*CORPORA, "reviews"])
    asked.add_argument("--seeds", type=int, default=SEEDS)
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    limit_threads(1)
    console = wide_console()
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as memory:
        os.environ["QFLOCK_MEMORY"] = memory
        results = measure(said.corpora, said.seeds, said.set, console.print)
    said.results.parent.mkdir(parents=True, exist_ok=True)
    said.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name in results["corpora"]:
        console.print(table(results, name))
    console.print(note(results))


def measure(corpora: Sequence[str], seeds: int, changes: Sequence[str], say: Callable[[str], None] = print) -> Results:
    """Every corpus at every seed."""
    found: dict[str, Any] = {}
    for corpus in corpora:
        recipes = [load_recipe(f"qd-llm-{corpus}", [*CENTRAL, *changes, f"seed={seed}"]) for seed in range(seeds)]
        runs: list[dict[str, Row]] = []
        for recipe in recipes:
            runs.append(rows(recipe))
            say(
                f"{corpus}  seed {recipe.seed}  "
                + "  ".join(f"{n[:12]} {r['accuracy']:.3f}" for n, r in runs[-1].items())
            )
        found[corpus] = {
            "recipe_digest": recipes[0].digest(),
            "rows": {name: [run[name] for run in runs] for name in runs[0]},
        }
    packages = ("torch", "qiskit", "scikit-learn", "transformers")
    return {"schema": 1, **facts(packages), "seeds": seeds, "changes": list(changes), "corpora": found}


def rows(recipe: Recipe) -> dict[str, Row]:
    """Every method on one corpus at one seed."""
    who = Participant(recipe, 0)
    shared = agreed(who)
    test = who.share.test
    x_test = who.features(test, shared)
    found: dict[str, Row] = {}
    for name, (arrays, seconds, terms) in distilled(who, shared).items():
        arm = who.arms[name]
        began = time.perf_counter()
        probs_BK = arm.predict(arrays, x_test)
        took = time.perf_counter() - began
        found[ARMS[name]] = row(probs_BK, test.labels, arm.parameters, seconds, took) | {"terms": terms}
    found[f"teacher: {described(recipe.teacher)}"] = taught(who)
    student = cast("Dressed", who.arms["student"])
    x = who.features(who.share.train, shared)
    texts = who.share.train.texts
    task = Task(texts, x, who.share.train.labels, test.texts, x_test, who.n_classes, student, recipe.seed)
    for name, rival in RIVALS.items():
        began = time.perf_counter()
        answer = rival(task)
        found[name] = row(answer.probs, test.labels, answer.parameters, time.perf_counter() - began)
    return found


def agreed(who: Participant) -> Arrays:
    """The feature stages of a single client."""
    shared: Arrays = {}
    for stage in who.stages:
        shared |= named(stage, stage.initial(who.recipe.seed))
        for _ in range(stage.exchanges):
            answer = who.statistics(stage.name, shared)
            shared |= named(stage, stage.merge(arrays_of(stage, shared), [answer], [len(who.share.train)]))
    return shared


def distilled(who: Participant, shared: Arrays) -> dict[str, tuple[Arrays, float, dict[str, float]]]:
    """Arm → its arrays after all rounds, seconds of its fits, and the terms of its loss in the end."""
    arrays = {name: arm.initial(who.recipe.seed) for name, arm in who.arms.items()}
    seconds: dict[str, list[float]] = {name: [] for name in arrays}
    terms: dict[str, dict[str, float]] = {}
    for number in range(1, who.recipe.rounds + 1):
        assignment = Assignment(
            kind="train",
            run=f"bench-{who.recipe.digest()}",
            recipe_digest="",
            round=number,
            memory_round=number - 1,
            shared=shared,
            arms=arrays,
        )
        for report in train(who, assignment):
            if isinstance(report, Report):
                arrays[report.arm], terms[report.arm] = report.arrays, report.terms
                seconds[report.arm].append(report.seconds)
    # the first visit holds the teacher and the features too
    return {
        name: (arrays[name], fmean(seconds[name][1:] or seconds[name]) * who.recipe.rounds, terms[name])
        for name in arrays
    }


def taught(who: Participant) -> Row:
    """The teacher itself on the test rows; what it says is kept, so its seconds are those of its tuning alone."""
    train_rows, validation, test = who.share.train, who.share.validation, who.share.test
    teacher = who.new_teacher()
    tuning = teacher.tune(train_rows.texts, train_rows.labels, validation.texts, validation.labels)
    probs_BK = teacher.soft_labels(test.texts, 1.0)
    return row(probs_BK, test.labels, sum(array.size for array in teacher.adapter().values()), tuning.seconds)


def row(
    probs_BK: NDArray[np.float64], labels: NDArray[np.int64], parameters: int, seconds: float, took: float | None = None
) -> Row:
    """The paper's measures; `took` are the seconds of predicting all rows."""
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
        "seconds": seconds,
        "per_second": accuracy / max(seconds, 1e-9),
        "milliseconds": None if took is None else 1000 * took / len(labels),
    }


def table(results: Results, corpus: str) -> Table:
    """One row a method, then what the paper printed."""
    drawn = Table(title=corpus, title_justify="left")
    for column in (
        "method",
        "accuracy",
        "95% interval",
        *METRICS[1:],
        "parameters",
        "per parameter",
        "seconds",
        "ms a text",
    ):
        drawn.add_column(column, justify="left" if column == "method" else "right")
    for name, seeds in results["corpora"][corpus]["rows"].items():
        means = {key: fmean(one[key] for one in seeds) for key in (*METRICS, "parameters", "per_parameter", "seconds")}
        bounds = estimate([one["accuracy"] for one in seeds]).interval
        between = f"{100 * bounds[0]:.1f} to {bounds[1]:.1%}" if bounds else ""
        took = [one["milliseconds"] for one in seeds if one["milliseconds"] is not None]
        drawn.add_row(
            name,
            f"{means['accuracy']:.1%}",
            between,
            *(f"{means[key]:.3f}" for key in METRICS[1:]),
            f"{means['parameters']:,.0f}",
            f"{means['per_parameter']:.2e}",
            f"{means['seconds']:,.1f}",
            f"{fmean(took):.3f}" if took else "",
        )
    drawn.add_section()
    for one in published(CORPORA.get(corpus, "")):
        values = [one[key] for key in METRICS[1:]]
        drawn.add_row(
            f"published: {one['method']}",
            f"{float(one['accuracy']):.1%}",
            "",
            *values,
            "",
            one["accuracy_per_parameter"],
            "",
            "",
        )
    return drawn


def published(task: str) -> list[dict[str, str]]:
    """The paper's means over its five teachers for a task."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return [one for one in csv.DictReader(file) if one["task"] == task and one["teacher"] == "mean of 5"]


def note(results: Results) -> str:
    """What the tables say and what differs from the paper."""
    said = []
    for corpus, found in results["corpora"].items():
        student, twin = ([one["accuracy"] for one in found["rows"][ARMS[name]]] for name in ("student", "twin"))
        pair = difference(student, twin)
        bounds = pair.t_interval
        between = f" (95% interval {100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f})" if bounds else ""
        shown = "" if pair.shown else ", no difference shown"
        said.append(f"{corpus}: student less twin {100 * pair.mean:+.1f} points{between}{shown}")
    rest = "; ".join(f"{name}: {why}" for name, why in NOT_RUN.items())
    return (
        f"{'. '.join(said)}. {results['seeds']} seeds, qflock {results['commit']}. Published rows have 1.5 to 3.2 "
        f"times the data (24,000, 10,000 and 20,000 texts), teachers of 1.1 to 8 billion weights and BERT's embedding; "
        f"theirs are of other splits, so they are context, not a comparison. Not run: {rest}."
    )


if __name__ == "__main__":
    main()
