"""QD-LLM federated: whole runs in this process, public rows, and the server's ensemble distillation."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from data.corpus import DataError, load
from data.split import deal
from quantum.guidance import divergence
from quantum.readout import softmax
from recipes.load import load as load_recipe
from recipes.schema import DataConfig
from server.ensemble import Ensemble
from server.ledger import lines, untimed
from server.plan import priced
from server.reference import Reference

SMALL = {
    "rounds": 2,
    "clients": 2,
    "data": {"rows": 60, "reference_rows": 100},
    "features": {"buckets": 64},
    "student": {"kind": "layered", "readout": "dense", "entanglement": "circular", "reps": 2},
    "optimiser": {"kind": "minibatch", "learning_rate": 0.05, "batch": 16},
}
TAUGHT = {"distil": {"labels": 0.5, "weight": 2, "shannon": 0.5}}
PUBLIC = {"data": SMALL["data"] | {"public_rows": 40}}


def config_of(*more):
    whole = {key: value for part in (SMALL, *more) for key, value in part.items()}
    return {"recipe": json.dumps(whole)}


def recipe_of(*more):
    return load_recipe(config_of(*more)["recipe"])


def test_a_federation_of_layered_students_learns_says_its_terms_and_repeats_to_the_bit(run_here):
    priced(recipe_of(TAUGHT))
    first, second = (lines(run_here(name, config_of(TAUGHT), 2)) for name in ("first", "second"))
    assert [untimed(line) for line in first] == [untimed(line) for line in second]
    rounds = [line for line in first if line["kind"] == "round"]
    for line in rounds:
        for client in line["arms"]["student"]["clients"].values():
            assert set(client["terms"]) == {"ce", "kl", "js"}
            assert all(value >= 0 for value in client["terms"].values())
    losses = [line["arms"]["student"]["reference_loss"] for line in rounds]
    assert losses[1] < losses[0]


def test_without_a_teacher_there_are_no_terms(run_here):
    ledger = lines(run_here("run", config_of({"rounds": 1}), 2))
    (line,) = (line for line in ledger if line["kind"] == "round")
    assert [client["terms"] for client in line["arms"]["student"]["clients"].values()] == [{}, {}]


def test_angles_may_be_averaged_on_the_circle_while_dense_layers_are_not(run_here):
    ledger = lines(run_here("run", config_of(TAUGHT, {"aggregate": {"mean": "circular", "tau": 1}}, {"rounds": 1}), 2))
    assert ledger[-1]["state"] == "completed"


def test_the_server_distils_its_students_on_public_rows(run_here):
    plain, fused = (
        [line for line in lines(run_here(name, config_of(TAUGHT, PUBLIC, how), 2)) if line["kind"] == "round"]
        for name, how in (("plain", {}), ("fused", {"aggregate": {"by": "feddf"}}))
    )
    clients = [line[0]["arms"]["student"]["clients"] for line in (plain, fused)]
    assert clients[0] == clients[1]  # of the first round: only what the server does with them differs
    assert plain[0]["arms"]["student"]["reference_loss"] != fused[0]["arms"]["student"]["reference_loss"]


@pytest.fixture
def ensemble():
    recipe = recipe_of(TAUGHT, PUBLIC, {"aggregate": {"by": "feddf", "epochs": 20}})
    reference = Reference(recipe)
    (stage,) = reference.stages
    answer = stage.local({}, reference.public.texts, reference.public.labels)
    reference.encode({f"encoder/{name}": array for name, array in stage.merge({}, [answer], [1]).items()})
    return Ensemble(recipe, reference)


def test_an_ensemble_of_equals_is_learned_at_once(ensemble):
    model = ensemble.reference.arms["student"]
    same = model.initial(3)
    fused = ensemble("student", 1, same, [same, same])
    assert divergence(model.predict(same, ensemble.x), model.predict(fused, ensemble.x)) < 1e-3


@pytest.mark.parametrize("arm", ["student", "twin"])
def test_the_average_comes_nearer_to_the_clients_mean_logits(ensemble, arm):
    model, rng = ensemble.reference.arms[arm], np.random.default_rng(0)
    updates = [
        {name: array + rng.normal(0, 1, array.shape).astype(np.float32) for name, array in model.initial(i).items()}
        for i in range(3)
    ]
    mean = {name: np.mean([update[name] for update in updates], axis=0) for name in updates[0]}
    wanted = softmax(np.mean([np.log(model.predict(update, ensemble.x)) for update in updates], axis=0))
    before, after = (
        divergence(wanted, model.predict(arrays, ensemble.x)) for arrays in (mean, ensemble(arm, 1, mean, updates))
    )
    assert after < 0.5 * before


@pytest.mark.parametrize("config", [DataConfig(public_rows=50), DataConfig(partition="shards", public_rows=7)])
def test_public_rows_are_nobodys_own_and_have_no_labels(config):
    corpus = load(config, 0)
    dealt = deal(corpus, config, 3, seed=1)
    assert len(dealt.public) == config.public_rows
    assert not dealt.public.labels.size
    held = {
        text for share in dealt.shares for rows in (share.train, share.validation, share.test) for text in rows.texts
    }
    assert not held & {*dealt.public.texts, *dealt.reference.texts}
    assert len(held) + len(dealt.public) + len(dealt.reference) == len(corpus.texts)


def test_without_public_rows_everyone_holds_what_they_held():
    config = DataConfig()
    corpus = load(config, 0)
    assert not len(deal(corpus, config, 3, seed=1).public)


def test_public_rows_may_be_of_another_corpus(tmp_path):
    (tmp_path / "mine.tsv").write_text("".join(f"{i % 2}\tmine {i}\n" for i in range(60)))
    own = DataConfig(corpus="text", path=str(tmp_path / "mine.tsv"), reference_rows=10)
    other = replace(own, public="synthetic", public_rows=30)
    corpus = load(own, 0)
    plain, with_public = deal(corpus, own, 2, seed=0), deal(corpus, other, 2, seed=0)
    assert_array_equal(plain.shares[0].train.labels, with_public.shares[0].train.labels)
    assert set(with_public.public.texts) <= set(load(DataConfig(), 0).texts)


def test_more_public_rows_than_there_are_is_one_line():
    config = DataConfig(public_rows=10**6)
    with pytest.raises(DataError, match=r"^data.public_rows is 1000000 of \d+ training rows; lower it"):
        deal(load(config, 0), config, 2, seed=0)
