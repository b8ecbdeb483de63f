"""One client: its rows, feature stages, arms and teacher, built once in a process and reused by every visit."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.site import site
from data.corpus import Corpus, load
from data.own import own_rows
from data.split import Deal, Rows, deal
from data.stages import Stage, arrays_of, through
from quantum.arms import arms
from quantum.executor import Executor, executor, visit_seed
from quantum.reduction import TrainedReduction, stages
from quantum.student import Student
from recipes.load import load as load_recipe
from recipes.schema import UNSTAGED, DataConfig, Recipe
from strategies.messages import Arrays, Assignment, Counts
from teacher.encoders import encoder
from teacher.protocol import Teacher, teacher


class Participant:
    """What client `number` of a recipe holds. Texts never leave it."""

    def __init__(self, recipe: Recipe, number: int, path: str = "") -> None:
        """With a path, its rows are those there, and not its share of the recipe's corpus."""
        self.recipe, self.number, self.path = recipe, number, path
        if path:
            corpus, self.share, self.public = own_rows(path, recipe, number)
        else:
            corpus, dealt = dealt_corpus(recipe.data, recipe.clients, recipe.seed)
            self.share, self.public = dealt.shares[number], dealt.public
        self.corpus_digest = corpus.digest
        self.classes, self.n_classes = corpus.classes, len(corpus.classes)
        staged = recipe.student.kind not in UNSTAGED
        self.stages: list[Stage] = stages(recipe, encoder(recipe.features), self.n_classes) if staged else []
        columns = self.stages[0].size if staged else 0
        self.arms: dict[str, Student] = arms(recipe.student, self.n_classes, client=number, columns=columns)
        self._vectors: dict[Any, NDArray[np.float64]] = {}

    def new_teacher(self) -> Teacher:
        """A teacher that has seen nothing yet; never shared, also when several clients live in one process."""
        return teacher(self.recipe.teacher, self.n_classes, self.recipe.seed, self.number, self.recipe.words())

    def holds(self) -> Counts:
        """How many rows it has of what: no text, and nothing of one row."""
        share = self.share
        parts = {name: len(getattr(share, name)) for name in ("train", "unlabelled", "validation", "test")}
        counts = np.bincount(share.train.labels, minlength=self.n_classes).tolist()
        return {"parts": parts, "classes": dict(zip(self.classes, counts, strict=True)), "domains": share.domains}

    def seed(self, round_number: int) -> int:
        """Of everything that one visit draws; a visit that is repeated draws the same again."""
        return visit_seed(self.recipe.seed, self.number, round_number)

    @contextmanager
    def executor(self, assignment: Assignment) -> Iterator[Executor | None]:
        """What runs the circuits of a visit; None is the exact engine."""
        r = self.recipe
        if r.executor == "exact":
            yield None
            return
        last = assignment.kind == "score"  # draws what no round of training does
        seed, place = self.seed(r.rounds + 1 if last else assignment.round), site(r, self.number, assignment)
        with closing(executor(r.executor, shots=r.shots, seed=seed, mitigate=r.mitigate, site=place)) as one:
            yield one

    def shots(self) -> AbstractContextManager[Executor]:
        """The exact engine with as many shots as the recipe's executor has: what differs from it then is noise."""
        r = self.recipe
        return closing(executor("shots", shots=r.shots, seed=self.seed(r.rounds + 2)))

    def statistics(self, name: str, shared: Arrays) -> Arrays:
        """This client's answer about one stage, from its training rows; an encoder reads no label, so all."""
        index = [stage.name for stage in self.stages].index(name)
        stage, rows = self.stages[index], self.share.train
        before: Any = self.vectors(rows, shared) if index else rows.texts + self.share.unlabelled.texts
        return stage.local(arrays_of(stage, shared), before, rows.labels)

    def features(self, rows: Rows, shared: Arrays) -> Any:
        """Rows as the numbers a student reads; texts themselves when there are no stages."""
        return through(self.stages[1:], shared, self.vectors(rows, shared)) if self.stages else rows.raw

    def fitted(self, shared: Arrays, *, taught: bool) -> Any:
        """What a student is fitted on: the labelled rows, then, when a teacher speaks of them, the others."""
        labelled = self.features(self.share.train, shared)
        others = [rows for rows in (self.share.unlabelled, self.public) if taught and len(rows)]
        return np.vstack([labelled, *(self.features(rows, shared) for rows in others)]) if others else labelled

    def head(self, rows: Rows, shared: Arrays) -> NDArray[np.int64] | None:
        """Classes by the head of a trained reduction, or None where there is none."""
        last = self.stages[-1] if self.stages else None
        if not isinstance(last, TrainedReduction):
            return None
        probs_BK = last.predict(arrays_of(last, shared), self.vectors(rows, shared))
        return np.asarray(probs_BK.argmax(1), dtype=np.int64)

    def vectors(self, rows: Rows, shared: Arrays) -> NDArray[np.float64]:
        """Encoded rows, kept: the encoder's arrays do not change once they are agreed on."""
        key = (id(rows), *(array.tobytes() for array in arrays_of(self.stages[0], shared).values()))
        if key not in self._vectors:
            self._vectors[key] = through(self.stages[:1], shared, rows.texts)
        return self._vectors[key]


@lru_cache(maxsize=1)
def dealt_corpus(config: DataConfig, clients: int, seed: int) -> tuple[Corpus, Deal]:
    """The corpus and who holds what; every client of a process shares it."""
    corpus = load(config, seed)
    return corpus, deal(corpus, config, clients, seed)


@lru_cache(maxsize=64)
def participant(recipe_json: str, number: int, path: str = "") -> Participant:
    """The participant of this process; several clients may live in one."""
    return Participant(load_recipe(recipe_json), number, path)
