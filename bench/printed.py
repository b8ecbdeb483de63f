"""Every row that tables 3 to 8 of QD-LLM (arXiv:2505.13205) print, and beside it the nearest that we have measured.

The rows are those of qd-llm-published.csv; ours are of qdllm.json and, for the terms of the loss, qdllm-ablation.json.
"""

from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from bench.qdllm import ARMS, CORPORA, published
from bench.small_berts import OBJECTIVES
from bench.study import commits
from bench.systems import read

PRINTED = tuple(f"Table {number}" for number in range(3, 9))
COUNTS, TERMS = "Table 3", "Table 7"  # of parameters, and of the terms of the loss
TASKS = {theirs: ours for ours, theirs in CORPORA.items() if theirs}
METHODS = {"Ours": ARMS["student"], **{name: f"small BERT, as {name}" for name in OBJECTIVES}}
HEADS = {
    **{key: key for key in ("precision", "recall", "f1")},
    "accuracy_per_parameter": "a parameter",
    "accuracy_per_distillation_second": "a second",
}
OURS = dict(zip(HEADS, ("precision", "recall", "f1", "per_parameter", "per_second"), strict=True))
WRITTEN = dict(zip(HEADS, ("{:.4f}", "{:.4f}", "{:.4f}", "{:.2e}", "{:.2e}"), strict=True))
COLUMNS = ("table", "set", "teacher", "method", "theirs", *HEADS.values(), "nearest of ours", "ours")
WORDS = ("table", "set", "teacher", "method", "nearest of ours")

Results = dict[str, Any]
Nearest = tuple[str, str, dict[str, str]]  # a row of ours, its number, and what stands behind theirs


def table(results: Path) -> Table:
    """One line a printed row."""
    measured, terms = read(results / "qdllm.json").get("corpora", {}), read(results / "qdllm-ablation.json")
    drawn = Table()
    for name in COLUMNS:
        drawn.add_column(name, justify="left" if name in WORDS else "right")
    for one in published(*PRINTED):
        value, counts = float(one["accuracy"]), one["table"] == COUNTS
        name, ours, others = (counted if counts else nearest)(one, measured, terms)
        drawn.add_row(
            *(one["table"].removeprefix("Table "), one["task"], one["teacher"]),
            "QD-LLM" if one["method"] == "Ours" else one["method"],
            f"{value:,.0f}" if counts else f"{value:.2%}",
            *(" · ".join(filter(None, (one[key], others.get(key)))) for key in HEADS),
            *(name, ours),
        )
    return drawn


def nearest(one: dict[str, str], measured: dict[str, Results], terms: Results) -> Nearest:
    """Our row, its accuracy and its other measures, means over the corpora that are named where theirs are; or none."""
    corpora = [TASKS[one["task"]]] if one["task"] in TASKS else list(TASKS.values())
    if one["table"] == TERMS:
        name, by_label = f"student by {one['method']}", {row["label"]: row["accuracy"] for row in terms.get("rows", [])}
        labels = {corpus: f"{corpus}: {one['method']}" for corpus in corpora}
        found = {
            corpus: [{"accuracy": value} for value in by_label[at]["student"]]
            for corpus, at in labels.items()
            if at in by_label
        }
    else:
        name = METHODS[one["method"]]
        rows = {corpus: measured[corpus]["rows"].get(name, []) for corpus in corpora if corpus in measured}
        found = {corpus: seeds for corpus, seeds in rows.items() if seeds}
    if not found:
        return "", "", {}

    def over_corpora(key: str) -> float | None:
        values = [[seed[key] for seed in seeds if key in seed] for seeds in found.values()]
        return fmean(map(fmean, values)) if all(values) else None

    means = {theirs: over_corpora(ours) for theirs, ours in OURS.items() if one[theirs]}
    others = {key: WRITTEN[key].format(value) for key, value in means.items() if value is not None}
    return f"{name} ({', '.join(found)})", f"{over_corpora('accuracy'):.1%}", others


def counted(one: dict[str, str], measured: dict[str, Results], _: Results) -> Nearest:
    """Our row and its parameters, on the first corpus that has it: classes are counted too."""
    method = one["method"].removesuffix(" parameters")
    start = {"QD-LLM student": ARMS["student"], "LoRA": "teacher"}.get(method) or METHODS[method]
    for corpus, found in measured.items():
        for name, (seed, *_) in found["rows"].items():
            if name.startswith(start):
                return f"{name} ({corpus})", f"{seed['parameters']:,}", {}
    return "", "", {}


def note(results: Path) -> str:
    """What differs, and where our numbers come from."""
    measured, terms = read(results / "qdllm.json").get("corpora", {}), read(results / "qdllm-ablation.json")
    ran = [f"{corpus} {found['commit']}" for corpus, found in measured.items()]
    ran += [f"terms of the loss {commits(terms)}"] if terms else []
    return (
        f"theirs and ours: accuracy, in table 3 parameters; between them theirs, then · and ours where measured. No "
        f"row of ours repeats one of theirs. Data: they have 24,000 (emotion), 10,000 (hiding) and 20,000 (thematic) "
        f"texts, we the public third "
        f"to two thirds of these (senti, stega, topic), in other splits. Teacher: theirs is in its column, 1.1 to 8 "
        f"billion weights; ours is SmolLM2 of 135 million in every row, so that one number of ours stands beside all "
        f"their teachers. Encoder: their student reads BERT, ours MiniLM or a middle layer of SmolLM2. Their small "
        f"BERTs were pretrained, ours begin from nothing; of ours 0.35 million trained weights are counted and not "
        f"SmolLM2's frozen embedding of 28.3 million, which they read. Seconds, in accuracy a second, are of training "
        f"alone: a teacher's answers are computed once before, where the public code asks it at every step. Means of 3 "
        f"are over their three sets, ours over those in brackets. Blank: not measured. Ours: qflock {', '.join(ran)}."
    )
