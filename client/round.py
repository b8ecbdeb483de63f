"""One visit on one client: agree on features, train every arm, or score the final arrays."""

import logging
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from client.lessons import Lessons, attend
from client.memory import Memory, recall, remember
from client.participant import Participant
from client.regulator import Budget, regulate
from data.baselines import logistic_regression, majority
from data.corpus import DataError
from quantum.guidance import Guidance, cross_entropy, divergence
from recipes.schema import DistilConfig
from strategies.messages import Answer, Assignment, Report, Score, Tuned

REPETITIONS = 20  # of a score with shots and no other noise

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say


def prepare(who: Participant, assignment: Assignment, chosen: dict[str, str] | None = None) -> Answer:
    """Say hello and what the node has chosen, or answer with this client's part of a feature stage."""
    began = time.monotonic()
    if assignment.corpus_digest not in ("", who.corpus_digest) and not who.path:
        raise DataError(
            f"this node holds rows {who.corpus_digest} of corpus {who.recipe.data.corpus}, the server rows "
            f"{assignment.corpus_digest}: give both the same files"
        )
    arrays = who.statistics(assignment.stage, assignment.shared) if assignment.stage else {}
    examples = len(who.share.train.labels)
    seconds = time.monotonic() - began
    said = Answer(client=who.number, examples=examples, arrays=arrays, seconds=seconds)
    return said if assignment.stage else replace(said, holds=who.holds(), chosen=chosen or {})


def train(who: Participant, assignment: Assignment) -> list[Report | Tuned]:
    """Regulate, then fit every assigned arm on the training rows in one budget; losses are on the validation rows."""
    began = time.monotonic()
    recipe, labels, held_out = who.recipe, who.share.train.labels, who.share.validation
    lessons, tuned, note = attend(who, assignment)
    began += lessons.tuning_seconds  # which are reported apart
    before = recall(assignment.run, who.number, assignment.memory_round) if assignment.memory_round else None
    lost = assignment.memory_round > 0 and before is None
    notes = [note, f"memory of round {assignment.memory_round} was lost, started anew" if lost else ""]
    memory = before or Memory(maxiter=recipe.optimiser.budget, student_loss={})
    x_held_out = who.features(held_out, assignment.shared)
    x = who.fitted(assignment.shared, taught=len(lessons.soft) > 0)
    student_loss, budget = dict(memory.student_loss), Budget(memory.maxiter, memory.maxiter, 0.0)
    seen = "student" in assignment.arms and "student" in student_loss
    if lessons.loss is not None and seen:  # its twin gets the same budget
        budget = regulate(recipe.regulate, memory.maxiter, student_loss["student"], lessons.loss)
    if budget.requested > budget.maxiter:
        notes.append(budget.held_back(recipe.regulate.law))
        log.warning("round %d  client %03d  %s", assignment.round, who.number, notes[-1])
    seed = who.seed(assignment.round)
    optimiser = recipe.optimiser.at(assignment.round)
    guidance, dressed = guided(recipe.distil, lessons), recipe.student.kind == "layered"  # which is QD-LLM's
    reports: list[Report | Tuned] = []
    for name, arrays in assignment.arms.items():
        arm = who.arms[name]
        with who.executor(assignment) if name == "student" else nullcontext() as executor:
            fit = arm.fit(
                *(arrays, x, labels, optimiser, budget.maxiter), guidance=guidance, seed=seed, executor=executor
            )
        probs_BK = arm.predict(fit.arrays, x_held_out)  # exact: the teacher's loss that it meets has no shot noise
        student_loss[name] = cross_entropy(probs_BK, held_out.labels)
        now = time.monotonic()
        reports.append(
            Report(
                client=who.number,
                arm=name,
                arrays=fit.arrays,
                examples=len(x),
                student_loss=student_loss[name],
                student_accuracy=float(np.mean(probs_BK.argmax(1) == held_out.labels)),
                teacher_loss=lessons.loss,
                teacher_accuracy=lessons.accuracy,
                teacher_f1=lessons.f1,
                teacher_precision=lessons.precision,
                teacher_recall=lessons.recall,
                divergence=divergence(lessons.beliefs, probs_BK) if len(lessons.beliefs) else 0.0,
                terms=guidance.terms(arm.predict(fit.arrays, x), labels) if guidance.teaches or dressed else {},
                rho=budget.rho,
                requested=budget.requested,
                maxiter=budget.maxiter,
                evaluations=fit.evaluations,
                shots=fit.shots,
                seconds=now - began,
                tuning_seconds=lessons.tuning_seconds,
                tokens_per_second=lessons.tokens_per_second,
                note="; ".join(filter(None, notes)),
            )
        )
        log.info(
            "round %d  client %03d  %-7s  maxiter %d→%d  student %.3f  teacher %s  %.1f s",
            *(assignment.round, who.number, name, memory.maxiter, budget.maxiter),
            *(student_loss[name], "none" if lessons.loss is None else f"{lessons.loss:.3f}", now - began),
        )
        began = now
    after = Memory(maxiter=budget.maxiter, student_loss=student_loss)
    remember(after, assignment.run, who.number, assignment.round)
    return reports + tuned


def guided(config: DistilConfig, lessons: Lessons) -> Guidance:
    """What a client's fits minimise; one without a teacher, as its note says, has its labels alone."""
    if not len(lessons.soft):
        return Guidance(lessons.soft, proximal=config.proximal)
    return Guidance(lessons.soft, config.weight, config.temperature, config.proximal, config.labels, config.shannon)


def score(who: Participant, assignment: Assignment) -> Score:
    """The final arrays of every arm on this client's test rows, beside what needs no federation at all."""
    began = time.monotonic()
    train_rows, test = who.share.train, who.share.test
    x = who.features(test, assignment.shared)
    accuracy, loss, confusion, exact_loss, of_shots, shots = {}, {}, {}, {}, {}, 0
    exact = who.recipe.scored_by == "exact"
    with nullcontext() if exact else who.executor(assignment) as executor:
        for name, arrays in assignment.arms.items():
            probs_BK = who.arms[name].predict(arrays, x, executor=executor)
            accuracy[name] = float(np.mean(probs_BK.argmax(1) == test.labels))
            loss[name] = cross_entropy(probs_BK, test.labels)
            confusion[name] = crossed(test.labels, probs_BK.argmax(1), who.n_classes)
            if not executor:
                continue
            exact_loss[name] = cross_entropy(who.arms[name].predict(arrays, x), test.labels)
            if name == "student":  # a twin takes none
                with who.shots() as ideal:
                    again = (who.arms[name].predict(arrays, x, executor=ideal) for _ in range(REPETITIONS))
                    of_shots[name] = [cross_entropy(p_BK, test.labels) for p_BK in again]
        if executor and "student" in assignment.arms:  # a twin takes none
            shots = len(x) * (executor.shots or 0)
    vectors = [who.vectors(rows, assignment.shared) for rows in (train_rows, test)] if who.stages else None
    guess = who.head(test, assignment.shared)
    return Score(
        client=who.number,
        examples=len(test.labels),
        accuracy=accuracy,
        loss=loss,
        confusion=confusion,
        exact_loss=exact_loss,
        shot_loss={name: float(np.mean(losses)) for name, losses in of_shots.items()},
        shot_spread={name: float(np.std(losses, ddof=1)) for name, losses in of_shots.items()},
        majority=majority(train_rows.labels, test.labels),
        head=None if guess is None else float(np.mean(guess == test.labels)),
        logistic=logistic_regression(vectors[0], train_rows.labels, vectors[1], test.labels) if vectors else None,
        shots=shots,
        seconds=time.monotonic() - began,
    )


def crossed(labels: NDArray[np.int64], said: NDArray[np.int64], n_classes: int) -> list[list[int]]:
    """The confusion matrix: rows are classes, columns answers."""
    counts = np.bincount(labels * n_classes + said, minlength=n_classes**2)
    found: list[list[int]] = counts.reshape(n_classes, n_classes).tolist()
    return found
