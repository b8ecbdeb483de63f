"""Tuning the embedded LLM, ours beside transformers' own Trainer: `python -m bench.teacher`.

Same rows of film reviews, tokens, rank, targets, batch and epochs, one thread each, each in a process of its own. Ours
adapts the top layers over kept hidden states, in bfloat16 where the machine is fast with it: as recipes do by default,
and more layers at a higher rate. The Trainer adapts all layers in float32 at the default rate, what peft's own examples
do. Ours tunes twice: the first time includes computing what is kept.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import facts, wide_console
from bench.peer import ONE_THREAD
from bench.peers.serving import peak
from bench.study import write
from data.corpus import load
from data.split import draw
from data.streams import stream
from recipes.schema import DataConfig, TeacherConfig
from teacher.soft_labels import held_out, softened
from teacher.tokens import tokenised

RESULTS = Path(__file__).parent / "results" / "teacher.json"
AT_LEAST, AT_MOST_POINTS, AT_MOST_MB = 5.0, 2.0, 1500.0
OURS = TeacherConfig(kind="lora", layers=8, epochs=2)
WHEN = {"first time": "filling_seconds", "states kept": "seconds"}
DEEPER = replace(OURS, layers=12, rate=1e-3)
TRAIN, VALIDATION, SEEDS = 1000, 1000, 3

Results = dict[str, Any]
Rows = tuple[list[str], NDArray[np.int64]]


def main() -> None:
    """Measure, print the table, write the results file, seed after seed; or be one side of it."""
    asked = argparse.ArgumentParser(prog="bench.teacher", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--train", type=int, default=TRAIN)
    asked.add_argument("--validation", type=int, default=VALIDATION)
    asked.add_argument("--seeds", type=int, default=SEEDS)
    asked.add_argument("--results", type=Path, default=RESULTS)
    asked.add_argument("--side", choices=SIDES, help="be this side: measure one seed and say so in JSON")
    asked.add_argument("--seed", type=int, default=0)
    said = asked.parse_args()
    if said.side:
        print(
            json.dumps(
                SIDES[said.side](*rows(said.train, said.validation, said.seed), said.seed) | {"peak_mb": peak() / 1e6}
            )
        )
        return
    for results in measure(said.train, said.validation, said.seeds):
        write(results, said.results)
        wide_console().print(table(results), note(results))


def measure(train: int, validation: int, seeds: int) -> Iterator[Results]:
    """What all seeds so far came to, both sides in turns."""
    runs: dict[str, list[Results]] = {side: [] for side in SIDES}
    tuned = {"epochs": OURS.epochs, "batch": OURS.batch, "rank": OURS.rank}
    for seed in range(seeds):
        for side in SIDES:
            runs[side].append(alone(side, train, validation, seed))
        work = {"train": train, "validation": validation, **tuned, "seeds": seed + 1}
        results = {"schema": 1, **facts(("torch", "transformers", "peft")), "work": work, "runs": runs}
        yield results | {"asked": compared(runs)}


def compared(runs: dict[str, list[Results]]) -> list[Results]:
    """What was asked for, and whether it is so: medians over the seeds, accuracy by the mean paired difference."""
    speeds = {side: median(run["tokens"] / run["seconds"] for run in of) for side, of in runs.items()}
    found = []
    for side in ADAPTED:
        pairs = zip(runs[side], runs["trainer"], strict=True)
        behind = 100 * fmean(theirs["accuracy"] - mine["accuracy"] for mine, theirs in pairs)
        held = max(run["peak_mb"] for run in runs[side])
        faster = speeds[side] / speeds["trainer"]
        for what, value, met in (
            (f"at least {AT_LEAST:g} times the tokens", round(faster, 2), faster >= AT_LEAST),
            (f"at most {AT_MOST_POINTS:g} points behind", round(behind, 2), behind <= AT_MOST_POINTS),
            (f"under {AT_MOST_MB:g} MB", round(held), held < AT_MOST_MB),
        ):
            found.append({"of": named(side), "what": what, "found": value, "met": met})
    return found


def named(side: str) -> str:
    """How a table calls a side."""
    if side not in ADAPTED:
        return "Trainer, all layers, float32"
    return f"ours, top {ADAPTED[side].layers} layers, rate {ADAPTED[side].rate:g}"


def note(results: Results) -> str:
    """What was asked for, a line for each that it was asked of."""
    lines = []
    for side in ADAPTED:
        mine = [one for one in results["asked"] if one["of"] == named(side)]
        said = (f"{one['what']}: {one['found']:g}{'' if one['met'] else ', NOT met'}" for one in mine)
        lines.append(f"Asked of {named(side)}, with states kept: {'; '.join(said)}.")
    return "\n".join(lines)


def alone(side: str, train: int, validation: int, seed: int) -> Results:
    """One side in a process and a cache of its own, so that its memory and what it keeps are its own."""
    sizes = ["--train", str(train), "--validation", str(validation), "--seed", str(seed), "--side", side]
    done = subprocess.run(
        [sys.executable, "-m", "bench.teacher", *sizes],
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said: Results = json.loads(done.stdout.splitlines()[-1])
    return said


def rows(train: int, validation: int, seed: int) -> tuple[Rows, Rows]:
    """Film reviews, to tune on and to measure on."""
    corpus = load(DataConfig(corpus="reviews"), 0)
    films = np.flatnonzero(corpus.domains == corpus.domain_names.index("movies"))
    rng = stream(seed, "share")
    chosen, others = draw(corpus, films, train, rng)
    measured, _ = draw(corpus, others, validation, rng)
    first, second = (rng.permutation(part) for part in (chosen, measured))
    return tuple(([corpus.texts[row] for row in part], corpus.labels[part]) for part in (first, second))  # type: ignore[return-value]


def ours(config: TeacherConfig, train: Rows, validation: Rows, seed: int) -> Results:
    """Top layers over kept states, learnt twice with an empty cache at first: the second time finds the states."""
    from teacher.lora import LoraTeacher

    one, again = (LoraTeacher(config, 2, seed, client) for client in (0, 1))
    for each in (one, again):
        each.adapter()  # loading is not timed on either side
    with TemporaryDirectory() as cache:
        os.environ["QFLOCK_CACHE"] = cache
        read, filling = timed(lambda: one.learn(*train))
        _, kept = timed(lambda: again.learn(*train))
        probs_BK = one.soft_labels(validation[0], 1.0)
    loss, accuracy, *_ = held_out(probs_BK, validation[1])
    return {"tokens": read, "filling_seconds": filling, "seconds": kept, "accuracy": accuracy, "loss": loss}


def trainer(train: Rows, validation: Rows, seed: int) -> Results:
    """All layers in float32, by transformers' Trainer and peft, as their guides do it."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

    from teacher.models import located, tokenizer

    words = tokenizer(OURS.model)
    llm = AutoModelForSequenceClassification.from_pretrained(located(OURS.model), num_labels=2, dtype=torch.float32)
    llm.config.pad_token_id = words.pad_token_id
    lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=OURS.rank, lora_alpha=OURS.alpha, target_modules=list(OURS.targets))
    few, asked = (dataset(words, *of) for of in (train, validation))
    with TemporaryDirectory() as folder:
        said = TrainingArguments(
            output_dir=folder,
            num_train_epochs=OURS.epochs,
            per_device_train_batch_size=OURS.batch,
            per_device_eval_batch_size=OURS.batch,
            learning_rate=OURS.rate,
            seed=seed,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        theirs = Trainer(
            model=get_peft_model(llm, lora),
            args=said,
            train_dataset=few,
            data_collator=DataCollatorWithPadding(words),
        )
        _, seconds = timed(theirs.train)
        logits_BK = theirs.predict(asked).predictions
    loss, accuracy, *_ = held_out(softened(logits_BK, 1.0), validation[1])
    tokens = OURS.epochs * sum(len(row["input_ids"]) for row in few)
    return {"tokens": tokens, "seconds": seconds, "accuracy": accuracy, "loss": loss}


def dataset(words: Any, texts: list[str], labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rows as the Trainer takes them: the same tokens as ours."""
    tokens = tokenised(words, texts, OURS.max_tokens)
    return [{"input_ids": ids, "labels": int(label)} for ids, label in zip(tokens, labels, strict=True)]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What some work returns, and the seconds of processor time it took."""
    began = time.process_time()
    return work(), time.process_time() - began


ADAPTED = {"default": OURS, "deeper": DEEPER}
SIDES: dict[str, Callable[[Rows, Rows, int], Results]] = {
    **{side: partial(ours, config) for side, config in ADAPTED.items()},
    "trainer": trainer,
}


def table(results: Results) -> Table:
    """One row a side, then how they compare with what was asked for."""
    work, machine, runs = results["work"], results["machine"], results["runs"]
    timings = [(named("trainer"), "trainer", "seconds")]
    for side in ADAPTED:
        timings += [(f"{named(side)}, {when}", side, of) for when, of in WHEN.items()]
    slowest = median(run["tokens"] / run["seconds"] for run in runs["trainer"])
    title = "LoRA r {rank} on {train} film reviews, {epochs} epochs, batch {batch}; median of {seeds} seeds".format(
        **work
    )
    where = f"{results['commit']} · {machine['cpu']} · {machine['cores']} cores · load {machine['load']}"
    drawn = Table(title=title, caption=where, title_justify="left", caption_justify="left")
    for name in ("", "tokens / CPU s", "ratio", f"accuracy on {work['validation']}", "loss", "peak MB"):
        drawn.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, side, seconds in timings:
        of = runs[side]
        speed = median(run["tokens"] / run[seconds] for run in of)
        drawn.add_row(
            *(name, f"{speed:,.0f}", f"{speed / slowest:.1f}×", f"{median(run['accuracy'] for run in of):.1%}"),
            *(f"{median(run['loss'] for run in of):.3f}", f"{median(run['peak_mb'] for run in of):,.0f}"),
        )
    return drawn


if __name__ == "__main__":
    main()
