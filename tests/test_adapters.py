"""Averaging adapters: the products of LoRA pairs against NumPy's dense matrices, and what each rule leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from recipes.schema import TeacherConfig
from strategies import collect
from strategies.adapters import RULES, average, exact, federate, ffa
from strategies.messages import Tuned

D_IN, D_OUT = 48, 40
LAYERS = ("adapter/0.q", "adapter/7.v")


def adapter(rng, rank, layers=LAYERS, dtype=np.float32):
    arrays = {"head/weight": rng.normal(size=(3, D_OUT)).astype(dtype)}
    for layer in layers:
        arrays[f"{layer}/A"] = rng.normal(size=(rank, D_IN)).astype(dtype)
        arrays[f"{layer}/B"] = rng.normal(0, 0.1, (D_OUT, rank)).astype(dtype)
    return arrays


def product(arrays, layer):
    return arrays[f"{layer}/B"].astype(np.float64) @ arrays[f"{layer}/A"].astype(np.float64)


def dense(updates, weights, layer):
    """The oracle: the weighted mean of the whole matrices."""
    return np.average([product(update, layer) for update in updates], axis=0, weights=weights)


@pytest.mark.parametrize("rank", [4, 8, 16])
@settings(max_examples=20)
@given(weights=st.lists(st.integers(1, 500), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_exact_gives_the_dense_weighted_mean_of_the_products(rank, weights, seed):
    rng = np.random.default_rng(seed)
    updates = [adapter(rng, rank) for _ in weights]
    merged = exact(updates, weights)
    for layer in LAYERS:
        assert_allclose(product(merged, layer), dense(updates, weights, layer), atol=1e-5)
        assert len(merged[f"{layer}/A"]) == min(rank * len(weights), D_IN, D_OUT)


@given(ranks=st.lists(st.integers(1, 16), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_clients_may_have_different_ranks(ranks, seed):
    rng = np.random.default_rng(seed)
    updates, weights = [adapter(rng, rank) for rank in ranks], list(range(1, len(ranks) + 1))
    merged = exact(updates, weights)
    for layer in LAYERS:
        assert_allclose(product(merged, layer), dense(updates, weights, layer), atol=1e-5)


@pytest.mark.parametrize("kept", [1, 4, 8, 16])
def test_with_fewer_ranks_it_is_the_nearest_matrix_of_that_rank(kept):
    """Eckart-Young: no matrix of rank r is nearer to M than its truncated singular value decomposition."""
    rng = np.random.default_rng(kept)
    updates, weights = [adapter(rng, 8) for _ in range(4)], [5, 1, 2, 9]
    merged = exact(updates, weights, kept)
    for layer in LAYERS:
        mean = dense(updates, weights, layer)
        U, spread, Vt = np.linalg.svd(mean)
        assert_allclose(product(merged, layer), (U[:, :kept] * spread[:kept]) @ Vt[:kept], atol=1e-5)
        assert_allclose(np.linalg.norm(product(merged, layer) - mean), np.linalg.norm(spread[kept:]), rtol=1e-5)


def test_clients_that_agree_keep_their_rank():
    one = adapter(np.random.default_rng(0), 8)
    merged = exact([one, one, one], [1, 2, 3])
    for layer in LAYERS:
        assert merged[f"{layer}/A"].shape == (8, D_IN)
        assert_allclose(product(merged, layer), product(one, layer), atol=1e-5)


def test_adapters_that_have_learned_nothing_merge_to_nothing():
    one = adapter(np.random.default_rng(0), 4)
    fresh = {name: np.zeros_like(array) if name.endswith("/B") else array for name, array in one.items()}
    merged = exact([fresh, fresh], [1, 1])
    for layer in LAYERS:
        assert not product(merged, layer).any()


def test_plain_averaging_of_the_factors_is_not_the_mean_of_the_products():
    rng = np.random.default_rng(3)
    updates, weights = [adapter(rng, 8) for _ in range(3)], [1, 2, 3]
    merged = average(updates, weights)
    for name in updates[0]:
        assert_allclose(merged[name], np.average([u[name] for u in updates], axis=0, weights=weights), atol=1e-6)
    wrong = np.linalg.norm(product(merged, LAYERS[0]) - dense(updates, weights, LAYERS[0]))
    assert wrong > 0.1 * np.linalg.norm(dense(updates, weights, LAYERS[0]))


@pytest.mark.parametrize("rank", [4, 8, 16])
def test_with_one_frozen_factor_for_all_the_mean_of_the_others_is_exact(rank):
    rng = np.random.default_rng(rank)
    shared, weights = adapter(rng, rank), [3, 1, 2]
    frozen = {name: array for name, array in shared.items() if name.endswith("/A")}
    updates = [adapter(rng, rank) | frozen for _ in weights]
    travelling = [{name: array for name, array in update.items() if name not in frozen} for update in updates]
    merged = ffa(travelling, weights)
    assert merged.keys() == travelling[0].keys()
    for layer in LAYERS:
        assert_allclose(product(merged | frozen, layer), dense(updates, weights, layer), atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_no_lora_factor_is_averaged_under_every_rule(rule):
    rng = np.random.default_rng(1)
    tiny = [{"weight": rng.normal(size=(6, 2)).astype(np.float32), "bias": np.zeros(2, np.float32)} for _ in range(3)]
    merged = RULES[rule](tiny, [1, 1, 2], 0)
    assert_array_equal(merged["weight"], average(tiny, [1, 1, 2])["weight"])


@pytest.mark.parametrize("rule", RULES)
@given(order=st.permutations(range(4)))
@settings(max_examples=10)
def test_the_order_of_arrival_changes_no_bit_and_types_stay(rule, order):
    rng = np.random.default_rng(5)
    sent = [Tuned(client=c, arrays=adapter(rng, 4), examples=10 + c) for c in range(4)]
    config = TeacherConfig(federate=rule)
    one, other = federate(config, sent), federate(config, [sent[c] for c in order])
    for name, array in one.items():
        assert array.dtype == np.float32
        assert_array_equal(other[name], array)


def test_the_recipe_s_rank_is_the_most_that_comes_back():
    rng = np.random.default_rng(2)
    sent = [Tuned(client=c, arrays=adapter(rng, 8), examples=1) for c in range(3)]
    assert {len(federate(TeacherConfig(federate="exact", merged_rank=r), sent)["adapter/0.q/A"]) for r in (4, 24)} == {
        4,
        24,
    }
    assert len(federate(TeacherConfig(federate="exact"), sent)["adapter/0.q/A"]) == 24


def lora(rank=4, d_in=6, dtype=np.float32):
    return {"l/A": np.ones((rank, d_in), dtype), "l/B": np.ones((5, rank), dtype), "head": np.ones(3, dtype)}


def sent(*adapters, **changes):
    """What three clients said: an adapter each, beside no reports."""
    return [(c, [replace(Tuned(client=c, arrays=a, examples=9), **changes)]) for c, a in enumerate(adapters)]


WRONG = {
    "another base model": (lora(d_in=7), "l/A is float32[4, 7]; expected float32[4, 6]"),
    "another rank": (lora(rank=2), "l/A is float32[2, 6]; expected float32[4, 6]"),
    "another precision": (lora(dtype=np.float64), "l/A is float64[4, 6]; expected float32[4, 6]"),
    "no head": ({name: lora()[name] for name in ("l/A", "l/B")}, "sent l/A, l/B; expected head, l/A, l/B"),
    "not numbers": (lora() | {"head": np.full(3, np.nan, np.float32)}, "head holds 3 values that are not finite"),
}


@pytest.mark.parametrize(("adapter", "reason"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("current", [{}, lora()], ids=["first round", "later"])
def test_an_adapter_unlike_the_others_is_named_and_left_out(adapter, reason, current):
    usable, failed = collect.adapters(sent(lora(), lora(), adapter), current, asked=True, any_rank=False)
    assert [one.client for one in usable] == [0, 1]
    assert failed == {2: f"adapter: {reason}"}


def test_an_adapter_that_lies_on_another_llm_of_the_same_shape_is_left_out():
    said = [(c, [replace(one[0], base=base)]) for (c, one), base in zip(sent(*[lora()] * 3), "aba", strict=True)]
    usable, failed = collect.adapters(said, lora(), asked=True, any_rank=False)
    assert [one.client for one in usable] == [0, 2]
    assert failed == {1: "adapter: it lies on the LLM b, those of most clients on a"}


def test_under_exact_aggregation_ranks_may_differ_but_a_pair_must_fit():
    torn = lora() | {"l/B": np.ones((5, 3), np.float32)}
    usable, failed = collect.adapters(sent(lora(2), lora(4), torn), {}, asked=True, any_rank=True)
    assert [one.client for one in usable] == [0, 1]
    assert failed == {2: "adapter: l/B is float32[5, 3]; expected float32[5, 4]"}


def test_half_a_pair_is_no_pair_and_does_not_stop_the_server():
    half = {name: lora()[name] for name in ("l/A", "head")}
    usable, failed = collect.adapters(sent(lora(), half, lora()), {}, asked=True, any_rank=True)
    assert ([one.client for one in usable], failed) == (
        [0, 2],
        {1: "adapter: sent head, l/A; expected head, l/A, l/B"},
    )
    assert_array_equal(exact([half, half], [1, 1])["l/A"], half["l/A"])


def test_adapters_come_when_they_are_asked_for_from_who_they_say():
    none = [(0, []), (1, [])]
    assert collect.adapters(none, {}, asked=True, any_rank=False)[1] == dict.fromkeys((0, 1), "sent 0 adapters, not 1")
    assert collect.adapters(none, {}, asked=False, any_rank=False) == ([], {})
    said = sent(lora(), lora())
    assert collect.adapters(said, {}, asked=False, any_rank=False)[1] == dict.fromkeys((0, 1), "sent 1 adapters, not 0")
    assert collect.adapters(sent(lora(), examples=0), {}, asked=True, any_rank=False)[1] == {
        0: "tuned its teacher on 0 rows"
    }
    assert collect.adapters(sent(lora(), client=5), {}, asked=True, any_rank=False)[1] == {
        0: "sent the adapter of client 5"
    }
