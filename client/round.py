"""One visit on one client: agree on features, train every arm, or score the final arrays."""

import logging
import time
from contextlib import nullcontext
from math import log as ln

import numpy as np

from client.memory import Memory, recall, remember
from client.participant import Participant
from client.regulator import regulate
from data.baselines import logistic_regression, majority
from quantum.objective import cross_entropy
from recipes.schema import InputError
from strategies.messages import Answer, Assignment, Report, Score

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say


def prepare(who: Participant, assignment: Assignment) -> Answer:
    """Say hello, or answer with this client's part of a feature stage."""
    began = time.monotonic()
    arrays = who.statistics(assignment.stage, assignment.shared) if assignment.stage else {}
    examples = len(who.share.train.labels)
    return Answer(client=who.number, examples=examples, arrays=arrays, seconds=time.monotonic() - began)


def train(who: Participant, assignment: Assignment) -> list[Report]:
    """Regulate, then fit every assigned arm on the training rows in one budget; losses are on the validation rows."""
    began = time.monotonic()
    train_rows, held_out = who.share.train, who.share.validation
    before = recall(assignment.run, who.number, assignment.memory_round) if assignment.memory_round else None
    lost = assignment.memory_round > 0 and before is None
    memory, note = (before, "") if before else met_teacher(who)
    if lost:
        note = f"memory of round {assignment.memory_round} was lost, started anew{note and '; '}{note}"
    x, x_held_out = (who.features(rows, assignment.shared) for rows in (train_rows, held_out))
    maxiter, student_loss = memory.maxiter, dict(memory.student_loss)
    if "student" in assignment.arms and "student" in student_loss:  # its twin gets the same budget
        maxiter = regulate(who.recipe.regulate, maxiter, student_loss["student"], memory.teacher_loss)
    reports = []
    seed = who.seed(assignment.round)
    for name, arrays in assignment.arms.items():
        arm = who.arms[name]
        with who.executor(assignment) if name == "student" else nullcontext() as executor:
            optimiser = who.recipe.optimiser
            fit = arm.fit(arrays, x, train_rows.labels, optimiser, maxiter, seed=seed, executor=executor)
        probs_BK = arm.predict(fit.arrays, x_held_out)  # exact: the teacher's loss that it meets has no shot noise
        student_loss[name] = cross_entropy(probs_BK, held_out.labels)
        now = time.monotonic()
        reports.append(
            Report(
                client=who.number,
                arm=name,
                arrays=fit.arrays,
                examples=len(train_rows.labels),
                student_loss=student_loss[name],
                student_accuracy=float(np.mean(probs_BK.argmax(1) == held_out.labels)),
                teacher_loss=memory.teacher_loss,
                teacher_accuracy=memory.teacher_accuracy,
                maxiter=maxiter,
                evaluations=fit.evaluations,
                shots=fit.shots,
                seconds=now - began,
                note=note,
            )
        )
        log.info(
            "round %d  client %03d  %-7s  maxiter %d→%d  student %.3f  teacher %.3f  %.1f s",
            *(assignment.round, who.number, name, memory.maxiter, maxiter),
            *(student_loss[name], memory.teacher_loss, now - began),
        )
        began = now
    after = Memory(
        teacher_loss=memory.teacher_loss,
        teacher_accuracy=memory.teacher_accuracy,
        maxiter=maxiter,
        student_loss=student_loss,
    )
    remember(after, assignment.run, who.number, assignment.round)
    return reports


def met_teacher(who: Participant) -> tuple[Memory, str]:
    """The memory to start from, with the recipe's maxiter, and why there is no teacher, if there is none.

    A client that cannot tune a teacher goes on without: its teacher's loss is that of knowing nothing, ln K nats.
    """
    rows, held_out = who.share.train, who.share.validation
    loss, accuracy, note = ln(who.n_classes), 1 / who.n_classes, ""
    try:
        tuning = who.new_teacher().tune(rows.texts, rows.labels, held_out.texts, held_out.labels)
        loss, accuracy = tuning.loss, tuning.accuracy
    except InputError as error:
        note = f"no teacher: {error}"
        log.warning("client %03d goes on with no teacher: %s", who.number, error)
    maxiter = who.recipe.optimiser.maxiter
    return Memory(teacher_loss=loss, teacher_accuracy=accuracy, maxiter=maxiter, student_loss={}), note


def score(who: Participant, assignment: Assignment) -> Score:
    """The final arrays of every arm on this client's test rows, beside what needs no federation at all."""
    began = time.monotonic()
    train_rows, test = who.share.train, who.share.test
    x = who.features(test, assignment.shared)
    accuracy, loss, shots = {}, {}, 0
    exact = who.recipe.scored_by == "exact"
    with nullcontext() if exact else who.executor(assignment) as executor:
        for name, arrays in assignment.arms.items():
            probs_BK = who.arms[name].predict(arrays, x, executor=executor)
            accuracy[name] = float(np.mean(probs_BK.argmax(1) == test.labels))
            loss[name] = cross_entropy(probs_BK, test.labels)
        if executor and "student" in assignment.arms:  # a twin takes none
            shots = len(x) * (executor.shots or 0)
    vectors = [who.vectors(rows, assignment.shared) for rows in (train_rows, test)] if who.stages else None
    common = majority(train_rows.labels, test.labels)
    return Score(
        client=who.number,
        examples=len(test.labels),
        accuracy=accuracy,
        loss=loss,
        majority=common,
        head=float(np.mean(guess == test.labels))
        if (guess := who.head(test, assignment.shared)) is not None
        else common,
        logistic=logistic_regression(vectors[0], train_rows.labels, vectors[1], test.labels) if vectors else common,
        shots=shots,
        seconds=time.monotonic() - began,
    )
