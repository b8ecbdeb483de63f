"""What of QD-LLM's distillation pays: `python -m bench.distillation --only STUDY…`.

ablation   the loss's terms, table 7 of arXiv:2505.13205
teachers   the same student under three teachers that need no hub, as table 8 under five
transfer   a tenth of the labels: alone, and with a teacher that speaks of the other rows or of another corpus
federated  five and twenty clients and FedDF, beside one place
scale      the student beside its twin by qubits and layers, of labels alone
paper      the paper's own settings; which of its λ is 0.9 is not stated, so both
choices    what the recipes' defaults are chosen by: accuracy on validation rows, of labels alone

Every row over five seeds or what --seeds says, in one place but in `federated`; what is done, in `runs/` or in the
results file, is not done again. Speed moves no number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from bench.llm_qfl import apart
from bench.llm_qfl import measured as counted
from bench.qdllm import published
from bench.study import Results, asked, commits, kept, over, unseeded, write
from recipes.load import load
from server.central import central
from server.jobs import finish
from server.ledger import Line
from server.outcome import Outcome
from server.statistics import LEVEL, estimate, mean
from server.sweep import planned

FOLDER = Path(__file__).parent / "results"
CORPORA = ("topic", "senti", "stega")  # of the paper
FIVE = {corpus: f"qd-llm-{corpus}" for corpus in CORPORA} | {"reviews": "qd-llm-reviews-5"}  # recipes of five clients
LOSSES = {  # as table 7 names them → the recipe's weights
    "CE": "{labels: 1, weight: 0, shannon: 0}",
    "KL": "{labels: 0, weight: 2, shannon: 0}",
    "JS": "{labels: 0, weight: 0, shannon: 0.5}",
    "KL+JS+CE": "{labels: 0.5, weight: 2, shannon: 0.5}",
}
ALONE = ("teacher.kind=none", f"distil={LOSSES['CE']}")  # labels and nothing else
TENTH = "data.labelled=0.1"
PUBLIC = "data.public_rows=300"
STEPS = "optimiser.epochs=10"  # as many steps on a tenth of the rows
TEACHERS = {
    "a bag of words": "teacher={kind: tiny}",
    "SmolLM2, top 8 layers": "teacher={kind: lora, layers: 8}",
    "SmolLM2, all layers": "teacher={kind: lora, layers: 0}",
}
VARIED = [
    *((change,) for change in ("student.angles=tanh", "student.angles=minmax", "student.readout=softmax")),
    ("student.angles=minmax", "optimiser.learning_rate=0.06"),  # the original, at its own rate
    *((f"student.reps={reps}",) for reps in (1, 2, 4, 11)),
    *((f"optimiser.learning_rate={rate}",) for rate in (0.001, 0.003, 0.01, 0.06)),
    *((f"features={{encoder: hidden, layer: {layer}}}",) for layer in (12, 16, 20, 24, 30)),
    ("features={encoder: minilm}",),
]
OF_TWO_LAYERS = [  # of the circuit, as stega's rate and layer of the LLM were compared before it had four
    ("student.reps=2", change)
    for change in (
        "optimiser.learning_rate=0.003",
        *(f"features={{encoder: hidden, layer: {layer}}}" for layer in (12, 16, 24)),
    )
]


class Row(NamedTuple):
    """One recipe with what is changed in it; the first of a recipe is what its others are compared with."""

    label: str
    recipe: str
    changes: tuple[str, ...]


def of(corpus: str, label: str, *changes: str) -> Row:
    """In one place."""
    recipe = FIVE[corpus]
    return Row(f"{corpus}: {label}", recipe, (*central(load(recipe)), *changes))


def varied(corpus: str) -> list[Row]:
    """As it is, and with one choice changed; what is the choice already is left out."""
    first = of(corpus, "as it is", *ALONE)
    others = [of(corpus, " ".join(change), *ALONE, *change) for change in VARIED]
    chosen = load(first.recipe, first.changes).digest()
    return [first, *(row for row in others if load(row.recipe, row.changes).digest() != chosen)]


STUDIES: dict[str, list[Row]] = {
    "ablation": [of(c, name, f"distil={loss}") for c in FIVE for name, loss in LOSSES.items()],
    "teachers": [of(c, name, teacher) for c in CORPORA for name, teacher in TEACHERS.items()],
    "transfer": [
        row
        for c in CORPORA
        for row in (
            of(c, "labels of 10%, no teacher", *ALONE, TENTH, STEPS),
            of(c, "labels of 10%, its teacher on all rows", TENTH),
            of(c, "the same without the labels", TENTH, "distil={labels: 0, weight: 2, shannon: 0.5}"),
            of(
                c,
                "labels of 10%, its teacher on 3,000 reviews too",
                TENTH,
                "data.public=reviews",
                "data.public_rows=3000",
            ),
            of(c, "all labels, no teacher", *ALONE),
        )
    ],
    "federated": [
        row
        for c, five in FIVE.items()
        for row in (
            of(c, "one place"),
            Row(f"{c}: 5 clients", five, ()),
            Row(f"{c}: 5 clients, labels alone", five, ALONE),
            *(  # as the other recipes have it
                [Row(f"{c}: 5 clients, half of it the teacher's", five, (f"distil={LOSSES['KL+JS+CE']}",))]
                if c == "stega"
                else []
            ),
            Row(f"{c}: 5 clients, τ = 1", five, ("aggregate.tau=1",)),
            Row(f"{c}: 5 clients, public rows, FedAvg", five, (PUBLIC,)),  # fewer rows of their own
            Row(f"{c}: 5 clients, FedDF", five, ("aggregate.by=feddf", PUBLIC)),
            Row(f"{c}: 20 clients", f"qd-llm-{c}-20", ()),
        )
    ],
    "scale": [
        Row(f"topic: {qubits} qubits × {reps}", "qd-llm-scale", (f"student.qubits={qubits}", f"student.reps={reps}"))
        for qubits in (4, 8, 11, 13, 16)
        for reps in (1, 2, 4, 11)
    ],
    "paper": [
        Row(
            f"topic: λ2 {labels}",
            "qd-llm-topic-paper",
            (f"distil={{labels: {labels}, weight: {rest}, shannon: {rest}}}",),
        )
        for labels, rest in ((0.9, 0.1), (0.1, 0.9))
    ],
    "choices": [
        *(row for c in CORPORA for row in varied(c)),
        *(of("stega", " ".join(change), *ALONE, *change) for change in OF_TWO_LAYERS),
    ],
}
SEEDS = 5


def main() -> None:
    """Run what is missing; a results file a study grows by each row."""
    said = asked("bench.distillation", __doc__, seeds=SEEDS, results=FOLDER, only=list(STUDIES))
    for study in said.only:
        path, found = said.results / f"qdllm-{study}.json", []
        before, seeds = kept(path), range(said.seeds)
        for row in STUDIES[study]:
            done = before.get((unseeded(load(row.recipe, row.changes)), tuple(seeds)))
            if done is None:
                changes = [list(row.changes)]
                done = measured(row, finish(planned(row.recipe, changes, seeds, said.runs_dir), said.jobs))
            found.append(done | {"label": row.label})
            write({"schema": 1, "study": study, "rows": found}, path)


def measured(row: Row, outcomes: Sequence[Outcome]) -> Results:
    """One row: a number a seed, with all that they depend on."""
    runs = sorted(outcomes, key=lambda run: run.recipe.seed)
    found = counted(row.recipe, list(row.changes), runs, "make qd-llm")
    return found | {
        "label": row.label,
        "f1": {name: [run.score["arms"][name]["f1"] for run in runs] for name in runs[0].arms},
        "validation": [held_out(run.rounds[-1]) for run in runs],
    }


def held_out(line: Line) -> float:
    """The student's accuracy on the clients' validation rows in a round."""
    said = line["arms"]["student"]["clients"].values()
    return mean([client["student_accuracy"] for client in said])


def table(results: Results) -> Table:
    """One line a row."""
    drawn = Table(title=results["study"], title_justify="left")
    columns = ["", "validation", "student", "95% interval", "macro F1", "− first of its corpus, points", "twin"]
    columns += [
        "student − twin, points",
        "logistic",
        "teacher",
        *(["published"] if results["study"] in PRINTED else []),
    ]
    for name in columns:
        drawn.add_column(name, justify="right" if name else "left")
    firsts: dict[str, Results] = {}
    for row in results["rows"]:
        first = firsts.setdefault(corpus_of(row), row)
        student, twin = (row["accuracy"][name] for name in ("student", "twin"))
        bounds = estimate(student).interval
        drawn.add_row(
            row["label"],
            f"{mean(row['validation']):.1%}",
            f"{mean(student):.1%}",
            f"{100 * bounds[0]:.1f} to {bounds[1]:.1%}" if bounds else "",
            f"{mean(row['f1']['student']):.3f}",
            "" if row is first else apart(student, first["accuracy"]["student"]),
            f"{mean(twin):.1%}",
            apart(student, twin),
            f"{mean(row['accuracy']['logistic']):.1%}" if "logistic" in row["accuracy"] else "",
            f"{mean(row['teacher']):.1%}" if row["taught"] and row["teacher"][0] is not None else "",
            *([printed(results["study"], row["label"])] if results["study"] in PRINTED else []),
        )
    return drawn


def corpus_of(row: Results) -> str:
    """The word before its label's colon."""
    return str(row["label"]).partition(":")[0]


PRINTED = {"ablation": "Table 7"}


def printed(study: str, label: str) -> str:
    """The paper's accuracy for a term, a mean over its corpora and teachers; beside the first corpus alone."""
    corpus, _, name = label.partition(": ")
    (one,) = published(PRINTED[study], method=name)
    return f"{float(one['accuracy']):.1%}" if corpus == CORPORA[0] else ""


def note(results: Results) -> str:
    """What the columns mean, which row validation would choose, and where the numbers come from."""
    groups: dict[str, list[Results]] = {}
    for row in results["rows"]:
        groups.setdefault(corpus_of(row), []).append(row)
    best = [max(rows, key=lambda row: mean(row["validation"])) for rows in groups.values()]
    chosen = "; ".join(row["label"] for row in best)
    seeds = over(len(row["seeds"]) for row in results["rows"])
    return (
        f"Means over {seeds}, test rows of all clients, students as of the last round; differences paired by seed with "
        f"Student's {LEVEL:.0%} interval, bold when shown. teacher: its clients' held-out rows. logistic: a regression "
        f"(C = 1) on the same features, each client's rows alone. Highest on validation rows: {chosen}. "
        f"{SAID.get(results['study'], '')}`python -m bench.distillation --only {results['study']}`, qflock "
        f"{commits(results)}."
    )


SAID = {
    "ablation": "Published: means over three corpora of the paper and five teachers of 1.1 to 8 billion weights. ",
    "teachers": "Two of the three are one LLM, tuned at two depths: no other is at hand without a hub. The paper's "
    "table 8 has 80.8% to 83.3% under teachers of 1.1 to 8 billion weights, on its three corpora together; those need "
    "a GPU and a hub. ",
}


if __name__ == "__main__":
    main()
