"""Mini-batches against PyTorch's own training loop, and against a minimum that is known."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from quantum.minibatch import descend
from recipes.load import load
from recipes.schema import EXACT_GRADIENT, OptimiserConfig
from recipes.section import RecipeError

DRAWS = np.random.default_rng(0)
X, Y = DRAWS.normal(size=(50, 3)).astype(np.float32), DRAWS.normal(size=(50, 2)).astype(np.float32)
START = {"W": DRAWS.normal(size=(3, 2)).astype(np.float32), "b": np.zeros(2, np.float32)}


def squares(arrays, rows):
    return (torch.from_numpy(X)[rows] @ arrays["W"] + arrays["b"] - torch.from_numpy(Y)[rows]).square().mean()


def fit(epochs=3, proximal=0.0, seed=0, paces=None, **keys):
    config = OptimiserConfig(kind="minibatch", epochs=epochs, **{"learning_rate": 0.05, "batch": 16} | keys)
    return descend(squares, START, len(X), config, config.budget, proximal=proximal, seed=seed, paces=paces or {})


@pytest.mark.parametrize("pace", [1, 0.3])
def test_whole_batches_are_pytorchs_own_adam_with_a_group_for_each_rate(pace):
    W, b = (torch.tensor(START[name], requires_grad=True) for name in ("W", "b"))
    adam = torch.optim.Adam([{"params": [W], "lr": 0.05 * pace}, {"params": [b]}], lr=0.05)
    for _ in range(20):
        adam.zero_grad()
        squares({"W": W, "b": b}, torch.arange(len(X))).backward()
        adam.step()
    found = fit(epochs=20, batch=len(X), paces={"W": pace}).arrays
    assert_allclose(found["W"], W.detach(), rtol=1e-4)
    assert_allclose(found["b"], b.detach(), rtol=1e-4)


def test_batches_come_close_to_the_least_squares_solution():
    whole = np.column_stack([X, np.ones(len(X))])
    best = ((whole @ np.linalg.lstsq(whole, Y, rcond=None)[0] - Y) ** 2).mean()
    assert fit(epochs=300, learning_rate=0.01).losses[-1] == pytest.approx(best, rel=0.02)


def test_an_epoch_costs_three_evaluations_and_is_one_loss():
    found = fit(epochs=4)
    assert (found.evaluations, len(found.losses), found.shots) == (4 * EXACT_GRADIENT, 4, 0)
    assert {name: (array.shape, array.dtype) for name, array in found.arrays.items()} == {
        name: (array.shape, np.dtype(np.float32)) for name, array in START.items()
    }


def test_equal_seeds_see_the_rows_in_the_same_order_and_others_do_not():
    first, again, other = fit(seed=1).arrays["W"], fit(seed=1).arrays["W"], fit(seed=2).arrays["W"]
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_moments_do_not_outlive_a_visit():
    config, whole = OptimiserConfig(kind="minibatch", batch=len(X), learning_rate=0.05, epochs=1), START
    for _ in range(5):
        before = whole
        whole = descend(squares, whole, len(X), config, config.budget, proximal=0.0, seed=0).arrays
        for name in whole:  # every visit's first step is as long as the rate, as Adam's from zero moments is
            assert_allclose(abs(whole[name] - before[name]), 0.05, rtol=1e-3)
    assert abs(fit(epochs=5, batch=len(X)).arrays["W"] - whole["W"]).max() > 1e-3


def test_the_papers_epochs_are_one_visit_in_which_moments_last():
    recipe = load("qd-llm-topic-paper")
    assert (recipe.clients, recipe.rounds, recipe.optimiser.epochs) == (1, 1, 10)


def test_the_start_is_left_as_it_was_and_a_strong_pull_holds_the_fit_near_it():
    before = START["W"].copy()
    free, held = (np.linalg.norm(fit(epochs=50, proximal=mu).arrays["W"] - before) for mu in (0.0, 100.0))
    assert held < 0.1 * free
    assert_array_equal(START["W"], before)


def test_a_loss_that_is_no_number_ends_the_fit():
    with pytest.raises(RecipeError, match=r"loss is nan in epoch 1 of a fit; lower optimiser.learning_rate$"):
        descend(
            lambda arrays, rows: arrays["W"].sum() * float("nan"),
            *(START, 5, OptimiserConfig(kind="minibatch"), 3),
            proximal=0.0,
            seed=0,
        )


def test_the_learning_rate_falls_by_its_factor_a_round():
    config = OptimiserConfig(kind="minibatch", learning_rate=0.1, decay=0.5)
    assert [config.at(number).learning_rate for number in (1, 2, 4)] == pytest.approx([0.1, 0.05, 0.0125])
    assert config.at(10000).learning_rate > 0
    assert OptimiserConfig(kind="adam").at(7) == OptimiserConfig(kind="adam")
