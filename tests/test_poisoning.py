"""Clients that lie: each lie is what it says, a federation survives it, the benchmark's rounds are the real ones."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from rich.console import Console

from bench import poisoning
from bench.liars import LIES, NOISE_STD, SIGN_TIMES
from client.participant import Participant, participant
from client.round import train
from recipes.load import load
from server import checkpoint
from server.ledger import lines, untimed
from strategies.messages import Assignment
from strategies.wire import assigned, reply

SMALL = ("features.buckets=64", "data.rows=40", "optimiser.maxiter=18", "regulate.law=none", "rounds=2")


@pytest.fixture(scope="module")
def crowd():
    """Five clients that have agreed on their features."""
    recipe = load("smoke", [*SMALL, "clients=5"])
    clients = [Participant(recipe, number) for number in range(5)]
    return recipe, clients, poisoning.agreed(recipe, clients)


@pytest.fixture
def asked(crowd, monkeypatch, tmp_path):
    """The first client, and what a round asks of it."""
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))
    recipe, (who, *_), shared = crowd
    arms = {name: arm.initial(0) for name, arm in who.arms.items()}
    return who, Assignment(kind="train", run="r", recipe_digest=recipe.digest(), round=1, shared=shared, arms=arms)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_usable_repeatable_and_leaves_the_client_as_it_was(lie, asked):
    who, assignment = asked
    honest = train(who, assignment)
    first, second = (LIES[lie](who, assignment) for _ in range(2))
    for true, one, other in zip(honest, first, second, strict=True):
        assert (one.client, one.arm, one.examples) == (true.client, true.arm, true.examples)
        assert one.arrays["theta"].dtype == np.float32
        assert np.isfinite(one.arrays["theta"]).all()
        assert not np.array_equal(one.arrays["theta"], true.arrays["theta"])
        assert_array_equal(one.arrays["theta"], other.arrays["theta"])
    assert_array_equal(train(who, assignment)[0].arrays["theta"], honest[0].arrays["theta"])


def test_sign_goes_the_other_way_and_farther(asked):
    who, assignment = asked
    for true, lie in zip(train(who, assignment), LIES["sign"](who, assignment), strict=True):
        start = assignment.arms[true.arm]["theta"]
        assert_allclose(lie.arrays["theta"] - start, -SIGN_TIMES * (true.arrays["theta"] - start), atol=1e-5)


def test_noise_is_as_wide_as_it_says_and_another_in_each_arm(asked):
    who, assignment = asked
    pairs = zip(train(who, assignment), LIES["noise"](who, assignment), strict=True)
    student, twin = (lie.arrays["theta"] - true.arrays["theta"] for true, lie in pairs)
    assert 0.5 * NOISE_STD < np.r_[student, twin].std() < 1.5 * NOISE_STD
    assert not np.array_equal(student, twin)


def test_flip_learns_the_opposite(asked):
    who, assignment = asked
    for true, lie in zip(train(who, assignment), LIES["flip"](who, assignment), strict=True):
        assert lie.student_loss > true.student_loss


def liar(lie, recipe, number):
    """What RealClients does in a liar's place."""

    def act(client, message):
        asked = assigned(message)
        if client != number or asked.kind != "train":
            return None
        return reply(LIES[lie](participant(recipe.as_json(), client), asked), message, asked.recipe_digest)

    return act


@pytest.mark.parametrize("lie", LIES)
def test_the_benchmark_runs_the_rounds_of_a_real_federation(lie, crowd, run_here, monkeypatch, tmp_path):
    _, clients, shared = crowd
    overrides = [*SMALL, "clients=5", "aggregate.by=clipped"]
    recipe = load("smoke", overrides)
    config = {"recipe": "smoke", "rounds": 0, "override": " ".join(overrides)}
    folder = run_here("run", config, 5, act=liar(lie, recipe, 4))
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path / "bench"))
    found = poisoning.federation(recipe, clients, shared, lie, [4], "run")
    for name, arm in checkpoint.newest(folder, recipe.digest()).arms.items():
        assert arm.arrays["theta"].tobytes() == found[name]["theta"].tobytes()


def test_a_liar_ruins_fedavg_and_not_the_median_and_the_order_of_arrival_is_nothing(run_here):
    def run(name, by, shuffle=0):
        overrides = [*SMALL, "clients=5", f"aggregate.by={by}"]
        recipe = load("smoke", overrides)
        config = {"recipe": "smoke", "rounds": 0, "override": " ".join(overrides)}
        folder = run_here(name, config, 5, shuffle=shuffle, act=liar("noise", recipe, 0))
        state = checkpoint.newest(folder, recipe.digest())
        return folder, np.abs(state.arms["student"].arrays["theta"]).max()

    (one, median), (other, _), (_, fedavg) = run("a", "median"), run("b", "median", 7), run("c", "fedavg")
    assert [untimed(line) for line in lines(one)] == [untimed(line) for line in lines(other)]
    assert median < 1.5 < fedavg


def test_the_benchmark_writes_whole_results_and_its_tables_come_from_them_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))
    monkeypatch.setattr(poisoning, "LIES", {"sign": LIES["sign"]})  # the others cost as much again
    results = poisoning.measure([(5, 1)], 2, [*SMALL, "rounds=1"], lambda text: None)
    results = json.loads(json.dumps(results))
    assert {"schema", "commit", "command", "date", "machine", "packages", "recipe", "work", "seeds"} < results.keys()
    places = [(cell["rule"], cell["lie"]) for cell in results["cells"]]
    assert places == [(rule, lie) for rule in poisoning.rules(5, 1) for lie in (poisoning.HONEST, "sign")]
    assert len({cell["recipe_digest"] for cell in results["cells"]}) == len(poisoning.rules(5, 1))
    for cell in results["cells"]:
        for arm in cell["arms"].values():
            assert len(arm["runs"]) == 2
            assert arm["accuracy"]["low"] <= arm["accuracy"]["mean"] <= arm["accuracy"]["high"]
            assert cell["lie"] != poisoning.HONEST or not any(arm["change"].values())
    console = Console(width=120)
    with console.capture() as captured:
        console.print(poisoning.table(results, "twin"))
    first = results["cells"][0]["arms"]["twin"]["accuracy"]
    assert f"{100 * first['mean']:.1f} [{100 * first['low']:.1f}, {100 * first['high']:.1f}]" in captured.get()


def test_an_interval_of_equal_values_is_a_point_and_it_covers_what_it_should():
    assert poisoning.interval([0.5] * 5) == {"mean": 0.5, "low": 0.5, "high": 0.5}
    found = poisoning.interval([0.0, 1.0] * 50)
    assert_allclose([found["low"], found["high"]], [0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05], atol=0.015)
