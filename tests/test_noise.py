"""`qflock noise`: fine-tuning takes the steps it was asked for, on every client's rows."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from data.corpus import load as load_corpus
from data.split import deal
from quantum.ring import ring
from quantum.student import Fit
from recipes.load import load
from server.noise import estimated, fine_tuned, usual


class FakeStudent:
    """Learns nothing; counts the steps that Adam would take, and remembers the rows."""

    def __init__(self):
        self.batches, self.labels = [], []

    def step(self, optimiser):
        return 3

    def fit(self, arrays, x, y, optimiser, maxiter, *, seed, executor):
        assert len(x) == len(y)
        self.batches += [len(y[at : at + optimiser.batch]) for at in range(0, len(y), optimiser.batch)]
        self.labels.append(y)
        return Fit(arrays, (1.0,), maxiter, 0)


@pytest.mark.parametrize("steps", [1, 7, 57, 58, 200])
def test_fine_tuning_takes_as_many_steps_as_were_asked_for(steps):
    recipe = load("qfed-digits")
    x, y, student = np.zeros((900, 1, 8, 8)), np.arange(900) % 10, FakeStudent()
    fine_tuned(student, {}, x, y, recipe.optimiser, steps, 0, None)
    assert len(student.batches) == steps  # 900 rows are 57 steps of 16, the last of them shorter
    assert sum(student.batches) == 900 * (steps // 57) + 16 * (steps % 57)


def test_a_few_steps_of_fine_tuning_see_every_class_also_where_each_client_holds_two():
    recipe = load("qfed-digits", ["data.partition=shards"])
    dealt = deal(load_corpus(recipe.data, 0), recipe.data, recipe.clients, 0)
    x, y = (np.concatenate([getattr(share.train, key) for share in dealt.shares]) for key in ("images", "labels"))
    assert len(np.unique(y[: 10 * 16])) < 10
    student, again = FakeStudent(), FakeStudent()
    for one in (student, again):
        fine_tuned(one, {}, x, y, replace(recipe.optimiser, batch=16), 10, 0, None)
    assert len(np.unique(student.labels[0])) == 10
    assert student.labels[0].tolist() == again.labels[0].tolist()


@pytest.mark.parametrize(
    ("level", "n", "shots"),
    [
        *(("shots", 13, 10_000), ("aer", 13, 10_000), ("noisy:guadalupe", 13, 10_000_000)),
        *(("depolarizing:1e-3", 13, 10_000_000), ("depolarizing:1e-3", 16, 10_000)),  # of 16, each shot costs
    ],
)
def test_errors_are_measured_with_so_many_shots_that_these_are_no_noise_unless_each_costs(level, n, shots):
    assert usual(level, n) == shots


class SlowExecutor:
    """Waits 20 ms in every call, as for a core that others use; in one call it works itself as long."""

    def __init__(self):
        self.calls = 0

    def probabilities(self, circuit, rows):
        self.calls += 1
        time.sleep(0.02)
        until = time.process_time() + 0.02 * (self.calls == 3)
        while time.process_time() < until:
            pass

    def close(self):
        pass


def test_an_estimate_counts_a_cores_own_seconds_and_no_single_slow_call(monkeypatch):
    run = SlowExecutor()
    monkeypatch.setattr("server.noise.executor", lambda *_, **__: run)
    ansatz = SimpleNamespace(circuit=ring(3, 2).circuit)
    model = SimpleNamespace(writer=SimpleNamespace(source=SimpleNamespace(engine=SimpleNamespace(ansatz=ansatz))))
    assert estimated("shots", model, 100, 1) < 0.01
    assert run.calls > 3
