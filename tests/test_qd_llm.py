"""QD-LLM federated: whole runs in this process, public rows, and the server's ensemble distillation."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from qiskit.quantum_info import Statevector

from client.lessons import Lessons
from client.round import guided
from data.corpus import DataError, load
from data.divided import folder_of
from data.split import deal
from quantum import qasm
from quantum.guidance import divergence
from quantum.readout import softmax
from recipes.load import load as load_recipe
from recipes.schema import DataConfig, DistilConfig
from server.central import central
from server.ensemble import Ensemble
from server.folder import as_yaml
from server.ledger import lines, untimed
from server.plan import priced
from server.reference import Reference
from server.trained import trained

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


def test_without_a_teacher_there_is_the_labels_term_alone(run_here):
    ledger = lines(run_here("run", config_of({"rounds": 1}), 2))
    (line,) = (line for line in ledger if line["kind"] == "round")
    for client in line["arms"]["student"]["clients"].values():
        assert set(client["terms"]) == {"ce"}


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


def test_a_client_without_a_teacher_fits_its_labels_whatever_their_weight_beside_one():
    none = Lessons(np.zeros((0, 2)), np.full((3, 2), 0.5), 0.69, 0.5, 0.5, 0.5, 0.5)
    config = DistilConfig(labels=0.0, weight=2.0, shannon=1.0, proximal=0.3)
    alone = guided(config, none)
    assert (alone.labels, alone.teaches, alone.proximal) == (1.0, False, 0.3)
    taught = guided(config, replace(none, soft=np.full((4, 2), 0.5)))
    assert (taught.labels, taught.weight, taught.shannon, taught.temperature) == (0.0, 2.0, 1.0, 2.0)


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


@pytest.fixture
def a_run(run_here):
    """The folder of a run as the command leaves it."""
    folder = run_here("trained", config_of(TAUGHT, {"rounds": 1}), 2)
    (folder / "recipe.yaml").write_text(as_yaml(recipe_of(TAUGHT, {"rounds": 1})))
    return folder


def test_texts_are_classified_on_any_executor_and_their_circuits_are_the_trained_ones(a_run, told, tmp_path):
    one = trained(a_run)
    text = load(one.recipe.data, 0).texts[0]
    code, said = told("predict", a_run, text, "other words")
    assert code == 0
    arrays, x = one.state.arms["student"].arrays, one.columns([text, "other words"])
    exact = one.arms["student"].predict(arrays, x)
    assert all(f"{p:.3f}" in said for p in exact.ravel())
    code, said = told("predict", a_run, text, "--executor", "shots", "--shots", "100000")
    assert code == 0
    out = tmp_path / "circuits"
    code, said = told("export", a_run, text, "other words", "--qasm", out, "--device", "manila")
    assert code == 0
    student = one.arms["student"]
    for z, name in zip(student.angles(arrays, x), ("text-1", "text-2"), strict=True):
        read = qasm.load(out / f"{name}.qasm")
        assert qasm.fingerprint(read) == qasm.fingerprint(qasm.trained(student.ansatz, z, arrays["theta"]))


def test_counts_of_exported_circuits_become_the_classes_that_the_student_says(a_run, told, tmp_path):
    one, words, out = trained(a_run), ["a text", "other words"], tmp_path / "circuits"
    assert told("export", a_run, *words, "--qasm", out)[0] == 0
    facts = json.loads((out / "circuits.json").read_text(encoding="utf-8"))
    assert (facts["recipe_digest"], facts["classes"]) == (one.recipe.digest(), one.classes)
    weights, bias, logits = np.array(facts["read_out"]["weights"]), np.array(facts["read_out"]["bias"]), []
    for circuit, text in zip(facts["circuits"], words, strict=True):
        read = qasm.load(out / circuit["file"])
        assert (circuit["text"], circuit["sha256"]) == (text, qasm.fingerprint(read))
        read.remove_final_measurements()
        probs = Statevector(read).probabilities()
        z = [sum(p * (1 - 2 * (b >> q & 1)) for b, p in enumerate(probs)) for q in range(read.num_qubits)]
        logits.append(z @ weights + bias)
    exact = one.arms["student"].predict(one.state.arms["student"].arrays, one.columns(words))
    assert_allclose(softmax(np.array(logits)), exact, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predict", "RUN", " "], "error: text 1 is empty; there is nothing to classify"),
        (["predict", "NONE", "a"], "error: NONE is not a run folder: it has no recipe.yaml"),
        (
            ["predict", "RUN", "a", "--executor", "ibm:x"],
            "error: executor ibm:x is paid for; try ibm-local:brisbane or",
        ),
        (["predict", "RUN", "a", "--executor", "ibm:least-busy"], "is paid for; try ibm-local:brisbane or another"),
        (["predict", "RUN", "a", "--executor", "ibm:ibm_torino"], "is paid for; try ibm-local:torino or another"),
        *(
            (
                ["predict", "RUN", "a", "--executor", executor, "--mitigate"],
                f"error: --mitigate: executor {executor.partition(':')[0]} makes no read-out errors; leave it out",
            )
            for executor in ("exact", "shots", "aer", "depolarizing:0.1")
        ),
        (["export", "RUN"], "leaves a classical network to export; for its circuits, give texts and --qasm FOLDER"),
        (["predict", "RUN", "a", "--executor", "nosy:x"], 'error: executor is "nosy:x"; it must be exact'),
        (["export", "RUN", "a", "--qasm", "RUN/recipe.yaml"], "cannot be written (File exists); give another --qasm"),
    ],
)
def test_what_cannot_be_put_to_use_is_one_line(words, line, a_run, told):
    code, said = told(*(word.replace("RUN", str(a_run)) for word in words))
    assert code == 2
    assert line in said


def test_circuits_are_written_all_or_none(a_run, told, tmp_path):
    out = tmp_path / "circuits"
    (out / "text-2.qasm").mkdir(parents=True)
    code, said = told("export", a_run, "a text", "another", "--qasm", out)
    assert code == 2
    assert "text-2.qasm is a folder, so no circuit is written; give another --qasm" in said.replace("\n", "")
    assert [path.name for path in out.iterdir()] == ["text-2.qasm"]
    (out / "text-2.qasm").rmdir()
    assert told("export", a_run, "a text", "another", "--qasm", out)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["circuits.json", "text-1.qasm", "text-2.qasm"]
    code, said = told("export", a_run, "a text", "--qasm", out)  # of whose circuits text-2.qasm would not be one
    assert code == 2
    assert "text-2.qasm is of an export with other texts; delete its files or give" in said.replace("\n", "")


def test_a_circuit_that_a_device_cannot_hold_is_not_exported(run_here, told, tmp_path):
    wide = {"student": SMALL["student"] | {"qubits": 6, "reps": 1}, "rounds": 1}
    folder = run_here("wide", config_of(wide), 2)
    (folder / "recipe.yaml").write_text(as_yaml(recipe_of(wide)))
    out = tmp_path / "circuits"
    code, said = told("export", folder, "a text", "--qasm", out, "--device", "manila")
    assert (code, out.exists()) == (2, False)
    assert "error: manila has 5 qubits; the circuit needs 6: name a larger device" in said
    code, said = told("export", folder, "a text", "--qasm", out, "--device", "manilla")
    assert (code, out.exists()) == (2, False)
    assert "error: --device: manilla is no fake device. Did you mean manila" in said


def test_distill_is_a_run_whose_one_client_holds_all_rows(monkeypatch, told):
    seen = []
    monkeypatch.setattr("server.launch.launch", lambda recipe, *_, **__: seen.append(recipe))
    code, said = told("distill", "qd-llm-reviews", "--seed", "3", "--set", "rounds=2")
    assert code == 0
    assert "in one place: clients=1 min_reports=1 data.partition=iid" in said
    (recipe,) = seen
    assert (recipe.clients, recipe.min_reports, recipe.rounds, recipe.seed) == (1, 1, 2, 3)
    assert recipe.optimiser.epochs == 1  # of 4 of each of four clients, who hold a quarter of the rows
    assert recipe.data.partition == "iid"


NEWS = pytest.mark.skipif(folder_of("topic") is None, reason="QFLOCK_DATA is not set to a folder that holds topic")


@pytest.mark.parametrize(
    "name",
    [
        *("qd-llm-reviews", "qd-llm-reviews-20"),
        *(pytest.param(name, marks=NEWS) for name in ("qd-llm-topic", "qd-llm-topic-20")),
    ],
)
def test_in_one_place_are_the_rows_of_all_and_about_as_many_steps_as_of_one(name):
    def work(recipe):
        dealt = deal(load(recipe.data, 0), recipe.data, recipe.clients, 0)
        rows = [len(share.train) for share in dealt.shares]
        return sum(rows), recipe.optimiser.epochs * max(rows) / recipe.optimiser.batch

    many = load_recipe(name)
    (rows, steps), (all_rows, taken) = work(many), work(load_recipe(name, central(many)))
    assert all_rows == pytest.approx(rows, rel=0.01)
    assert taken == pytest.approx(steps, rel=0.3)


@pytest.mark.parametrize("few", ["topic", "senti", "stega", "reviews-5"])
def test_a_client_of_twenty_takes_as_many_steps_an_epoch_as_one_of_five(few):
    five, twenty = load_recipe(f"qd-llm-{few}"), load_recipe(f"qd-llm-{few.removesuffix('-5')}-20")
    assert (five.clients, twenty.clients) == (5, 20)
    assert five.clients * five.optimiser.batch == twenty.clients * twenty.optimiser.batch
    assert replace(twenty.optimiser, batch=five.optimiser.batch) == five.optimiser
