"""The LLM teacher: LoRA-tuned on one client's rows, measured on its held-out rows; nothing is loaded before it is used.

What tuning found is kept on disk under everything that it depends on, so that runs which differ in their students only
share it; so are the logits of texts that were asked for before.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from data.assets import cache_folder
from data.streams import stream
from recipes.schema import TeacherConfig
from teacher.adapted import Adapted, widened
from teacher.base import base, facts
from teacher.kept import alone, digest, keeping, kept, threads
from teacher.lower import EVERY_SECONDS, Lower
from teacher.models import check_teacher, tokenizer
from teacher.protocol import Arrays, TeacherError, Tuning
from teacher.soft_labels import held_out, softened
from teacher.tokens import Tokens, batches, padded, tokenised

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

FEWEST = 4  # training rows
WARM_UP = 0.06  # share of the steps in which the rate rises; it then falls to 0, both along a line
LONGEST_STEP = 1.0  # norm of all gradients together


class LoraTeacher:
    """One client's teacher. Its adapter is its own; the frozen LLM below may serve several in one process."""

    name = "lora"

    def __init__(self, config: TeacherConfig, n_classes: int, seed: int, client: int) -> None:
        self.config, self.n_classes, self.seed, self.client = config, n_classes, seed, client
        self._arrays: Arrays | None = None
        self._llm: Adapted | None = None
        self._rank = config.rank

    def tune(
        self,
        train_texts: Sequence[str],
        train_labels: NDArray[Any],
        held_out_texts: Sequence[str],
        held_out_labels: NDArray[Any],
    ) -> Tuning:
        """AdamW over shuffled batches, from the adapter it holds, a new one at first."""
        labels, asked = np.asarray(train_labels, np.int64), np.asarray(held_out_labels, np.int64)
        self._refuse(labels, asked)
        path = self._path(train_texts, labels, held_out_texts, asked)
        if before := recalled(path):
            log.info("teacher of client %d was tuned before: loss %.3f", self.client, before[1].loss)
        else:
            with alone(path):
                before = recalled(path) or self._tuned(path, train_texts, labels, held_out_texts, asked)
        self._arrays, tuning = before
        return tuning

    def _tuned(
        self, path: Path, texts: Sequence[str], labels: NDArray[Any], held_texts: Sequence[str], asked: NDArray[Any]
    ) -> tuple[Arrays, Tuning]:
        """Tune, measure, and keep both."""
        self._adapted()  # loading is no part of the time
        began = time.perf_counter()
        read = self.learn(texts, labels)
        seconds = time.perf_counter() - began
        found = held_out(self.soft_labels(held_texts, 1.0), asked)
        tuning = Tuning(found.loss, found.accuracy, found.f1, seconds, read / seconds)
        whole: dict[str, Any] = {"tuning": json.dumps(asdict(tuning)), **self.adapter()}
        with keeping(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **whole)
        return self.adapter(), tuning

    def learn(self, texts: Sequence[str], labels: NDArray[np.int64]) -> int:
        """The descent alone; returns how many tokens were read, each as often as it was."""
        import torch

        llm, c = self._adapted(), self.config
        llm.write(self.adapter())
        llm.drop(True)
        tokens, lower = self._tokens(texts)
        pieces = batches(tokens, c.batch)
        moved = llm.learnt(c.federate)
        optimiser = torch.optim.AdamW(moved, lr=c.rate, weight_decay=0.0)
        steps = c.epochs * len(pieces)
        warm = max(1, round(WARM_UP * steps))
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm + 1))
        )
        draws = stream(self.seed, "tuning", self.client)
        began = said = time.monotonic()
        read = 0
        with torch.random.fork_rng():
            torch.manual_seed(int(draws.integers(2**31)))  # of the dropout; nobody else's numbers shift
            for epoch in range(1, c.epochs + 1):
                total = 0.0
                for done, piece in enumerate(draws.permutation(len(pieces)), 1):
                    rows = pieces[piece]
                    logits = llm.logits(*padded(tokens, rows), lower(rows) if lower else None)
                    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[rows]).to(logits.device))
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    torch.nn.utils.clip_grad_norm_(moved, LONGEST_STEP)
                    optimiser.step()
                    scheduler.step()
                    total += loss.item()
                    read += sum(len(tokens[row]) for row in rows)
                    if done == len(pieces) or time.monotonic() > said + EVERY_SECONDS:
                        said = time.monotonic()
                        log.info(
                            "teacher of client %d  epoch %d/%d  step %d/%d  loss %.3f  %.0f tokens/s",
                            *(self.client, epoch, c.epochs, done, len(pieces), total / done, read / (said - began)),
                        )
        self._arrays = llm.read()
        return read

    def soft_labels(self, texts: Sequence[str], temperature: float) -> NDArray[np.float64]:
        """(B, K) softmax of logits / temperature."""
        facts = f"{self._facts()} {named(self.adapter())}"
        return softened(kept("logits", facts, texts, self.n_classes, lambda: self._logits(texts)), temperature)

    def features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(B, D) what the head reads; a student of these needs the tuned LLM at inference, so no recipe offers them."""
        llm = self._adapted()
        return self._passed(texts, llm.head.in_features, llm.states)

    def adapter(self) -> Arrays:
        """Every A, B and the head, float32; before tuning those that every client of a seed starts from."""
        if self._arrays is None:
            return self._adapted().first(stream(self.seed, "adapter"))
        return {name: array.copy() for name, array in self._arrays.items()}

    def load_adapter(self, adapter: Arrays) -> None:
        """Another LoRA teacher's adapter, of this base, rank and number of classes; of any rank under `exact`."""
        if self.config.federate == "exact":
            adapter = widened(adapter)
            rank = next((len(array) for name, array in adapter.items() if name.endswith("/A")), self._rank)
            self._llm, self._rank = (self._llm if rank == self._rank else None), rank
        self._adapted().write(adapter)
        self._arrays = {name: np.array(array, np.float32) for name, array in adapter.items()}

    def _refuse(self, labels: NDArray[np.int64], asked: NDArray[np.int64]) -> None:
        """Rows that a teacher cannot learn from or be measured on."""
        if len(labels) < FEWEST:
            raise TeacherError(f"{len(labels)} training rows are too few to tune a teacher; it needs {FEWEST}")
        if not len(asked):
            raise TeacherError("no held-out rows, so a teacher cannot be measured; give the client more rows")
        foreign = np.setdiff1d(np.union1d(labels, asked), np.arange(self.n_classes))
        if len(foreign):
            raise TeacherError(f"the rows hold class {foreign[0]}; the teacher knows 0 to {self.n_classes - 1}")
        if len(seen := np.unique(labels)) == 1:
            raise TeacherError(f"all {len(labels)} training rows are of class {seen[0]}, so there is nothing to learn")
        unseen = np.setdiff1d(asked, labels)
        if len(unseen) and self._arrays is None:
            raise TeacherError(f"the held-out rows hold class {unseen[0]}, of which no training row is")

    def _path(
        self, texts: Sequence[str], labels: NDArray[np.int64], held: Sequence[str], asked: NDArray[np.int64]
    ) -> Path:
        """Where the result of a tuning lies: named by all that it depends on."""
        start = "" if self._arrays is None else named(self._arrays)
        rest = f"{self._facts()} seed {self.seed} client {self.client} threads {threads()} from {start}"
        counted = f"{rest} {len(texts)} {labels.tolist()} {asked.tolist()}"
        return cache_folder() / "teachers" / f"lora-{digest(counted, [*texts, *held])}.npz"

    def _facts(self) -> str:
        """What a tuning and an adapter's answers depend on; how adapters are averaged is not, but for ffa's A."""
        c = replace(self.config, federate="ffa" if self.config.federate == "ffa" else "none", rounds=1, merged_rank=0)
        llm = f"{facts(c.model, c.dtype, c.quantised)} peft {version('peft')}"
        return f"{llm} {json.dumps(asdict(c), sort_keys=True)} {self.n_classes} classes"

    def _adapted(self) -> Adapted:
        """The LLM itself, loaded now if it was not needed before."""
        if self._llm is None:
            import torch

            c = self.config
            check_teacher(c)
            with torch.random.fork_rng():  # new modules draw numbers, which are overwritten
                self._llm = Adapted(base(c.model, c.dtype, c.quantised), c, self.n_classes, self._rank)
        return self._llm

    def _tokens(self, texts: Sequence[str]) -> tuple[Tokens, Lower | None]:
        """Texts as tokens, and what enters the top layers, when there are layers below them."""
        c, depth = self.config, self._adapted().depth
        tokens = tokenised(tokenizer(c.model), texts, c.max_tokens)
        if not depth or not tokens:
            return tokens, None
        return tokens, Lower(base(c.model, c.dtype, c.quantised), texts, tokens, depth, c.batch, c.max_tokens)

    def _logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(B, K), in the same batches whoever asks."""
        return self._passed(texts, self.n_classes, self._adapted().logits)

    def _passed(self, texts: Sequence[str], columns: int, output: Callable[..., Any]) -> NDArray[np.float32]:
        """(B, columns) of what the adapted LLM puts out."""
        import torch

        llm = self._adapted()
        llm.write(self.adapter())
        llm.drop(False)
        tokens, lower = self._tokens(texts)
        found = np.zeros((len(texts), columns), np.float32)
        for rows in batches(tokens, self.config.batch):
            with torch.inference_mode():
                found[rows] = output(*padded(tokens, rows), lower(rows) if lower else None).cpu().numpy()
        return found


def named(adapter: Arrays) -> str:
    """Names an adapter by its numbers."""
    name = hashlib.sha256()
    for key, array in adapter.items():
        name.update(key.encode() + array.tobytes())
    return name.hexdigest()


def recalled(path: Path) -> tuple[Arrays, Tuning] | None:
    """A kept tuning: the adapter and how good it was, in no time; None where there is none, or none to be read."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        tuning = Tuning(**json.loads(str(arrays.pop("tuning"))))
        return arrays, replace(tuning, seconds=0.0, tokens_per_second=0.0)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (BadZipFile, LookupError, TypeError, ValueError, EOFError, OSError) as error:
        log.warning("%s is damaged (%s) and is made anew", path, error)
        return None
