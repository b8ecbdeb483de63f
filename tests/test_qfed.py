"""QFed in a federation: one recipe end to end, what its keys do, what it refuses, and the network it leaves."""

import json
from dataclasses import replace
from math import ceil
from statistics import fmean

import numpy as np
import pytest
import torch
from flwr.app import Error
from numpy.testing import assert_allclose
from rich.console import Console
from torch.optim import Adam

from bench import qfed_noise
from bench.tables import TABLES
from client.participant import Participant
from data.images import PUBLISHED
from data.split import LENT
from quantum.arms import student
from quantum.image_student import ImageStudent
from recipes.executor import split_executor
from recipes.load import from_run_config, load, shipped
from recipes.schema import GeneratorConfig
from recipes.section import InputError, RecipeError
from server import export as exporting
from server import noise as noises
from server.checkpoint import newest
from server.export import export
from server.folder import as_yaml
from server.ledger import lines, untimed
from server.noise import noise, table
from server.plan import priced
from server.ready import ready
from server.record import record
from server.sheets import costs
from server.summary import summary
from server.tables import markdown
from strategies.aggregation import aggregate
from strategies.failure import RunFailedError
from strategies.messages import Report
from strategies.wire import assigned

QUICK = "rounds=2 clients=2 student.generator.blocks=2 optimiser.epochs=1 optimiser.batch=64"
RUNS = {
    "as it is": "",
    "angles on the circle": "aggregate.mean=circular",
    "a proximal term": "distil.proximal=0.1",
    "label-sorted shards": "data.partition=shards",
    "Dirichlet": "data.partition=dirichlet data.alpha=0.5",
    "half of the clients": "clients=4 select.by=uniform select.rules=invite select.percent=50",
    "low rank": "student.generator.by=low-rank student.twin=false",
    "the network itself": "student.generator.by=full student.twin=false",
    "a small network": "student.generator.by=small student.twin=false",
    "tanh": "student.generator.activation=tanh",
    "chunks": "student.generator.chunk=100",
    "one client": "clients=1 min_reports=1",
    "a network a client": "student.generator.target=cnn student.generator.targets=[digits,digits-small]",
}


def config_of(changes=""):
    return {"recipe": "qfed-digits", "override": f"{QUICK} {changes}"}


def rounds_of(folder):
    return [line for line in lines(folder) if line["kind"] == "round"]


@pytest.fixture
def finished(run_here):
    """A finished run's folder, as the command leaves it."""

    def run(changes="", name="run"):
        config = config_of(changes)
        recipe = from_run_config(config)
        folder = run_here(name, config, recipe.clients)
        (folder / "recipe.yaml").write_text(as_yaml(recipe))
        (folder / "environment.json").write_text('{"qflock": "0.1.0 abc", "packages": {}}')
        return folder

    return run


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_run_trains_reports_its_bytes_and_closes(changes, finished):
    recipe = from_run_config(config_of(changes))
    priced(recipe)
    folder = finished(changes)
    score = next(line for line in lines(folder) if line["kind"] == "score")
    for round_ in rounds_of(folder):
        sizes = [part["parameters"] * len(part["clients"]) for part in round_["arms"].values()]
        assert round_["bytes_up"] == 4 * sum(sizes)
        for part in round_["arms"].values():
            assert part["reference_loss"] < 3
            assert {client["evaluations"] for client in part["clients"].values()} == {3}
    assert len(score["clients"]) == recipe.clients
    assert "logistic" not in score
    summary(folder)


def test_the_digits_are_learned_by_all_clients_together(finished):
    folder = finished("student.twin=false student.generator.by=full optimiser.epochs=6 optimiser.batch=16")
    first, last = (round_["arms"]["student"]["reference_accuracy"] for round_ in rounds_of(folder))
    assert 0.5 < first < last
    assert last > 0.8


def test_a_student_of_texts_needs_no_teacher_either(run_here):
    changes = "teacher.kind=none regulate.law=none rounds=2 optimiser.maxiter=18 features.buckets=64 data.rows=40"
    folder = run_here("run", {"recipe": "smoke", "override": changes}, 2)
    clients = rounds_of(folder)[-1]["arms"]["student"]["clients"].values()
    assert [client["teacher_loss"] for client in clients] == [None] * 2
    assert {client["rho"] for client in clients} == {0.0}


def test_a_run_repeats_to_the_bit(finished):
    first, again = ([untimed(line) for line in lines(finished("", name))] for name in ("first", "again"))
    assert first == again


def test_a_run_that_is_stopped_after_round_1_and_resumed_ends_with_the_same_bits(run_here):
    config = config_of("distil.proximal=0.1")
    whole = run_here("whole", config, 2)

    def dies(client, message):
        asked = assigned(message)
        said = "<class 'ray.exceptions.ActorDiedError'>:<'The actor died unexpectedly.'>"
        return Error(0, said) if (client, asked.kind, asked.round) == (1, "train", 2) else None

    with pytest.raises(RunFailedError):
        run_here("broken", config, 2, act=dies)
    digest = from_run_config(config).digest()
    assert newest(whole.with_name("broken"), digest).round == 1
    broken = run_here("broken", config, 2, shuffle=5)
    assert [untimed(line) for line in rounds_of(broken)] == [untimed(line) for line in rounds_of(whole)]
    resumed, arms = (newest(folder, digest).arms for folder in (broken, whole))
    assert {(name, key) for name, arm in arms.items() for key in arm.arrays} == {
        (name, key) for name in ("student", "twin") for key in ("beta", "gamma")
    }
    for name, arm in arms.items():
        for key, array in arm.arrays.items():
            assert resumed[name].arrays[key].tobytes() == array.tobytes()


def test_the_papers_instance_sends_5988_bytes_a_client_and_the_network_itself_26760():
    from quantum.arms import arms

    recipe = load("qfed-fashion", ["student.twin=false"])
    whole = load("qfed-fashion", ["student.twin=false", "student.generator.by=full"])
    found = [arms(one.student, 10)["student"].initial(0) for one in (recipe, whole)]
    assert [sum(array.nbytes for array in arrays.values()) for arrays in found] == [5988, 26760]


def test_what_differs_from_the_authors_notebook_is_named_as_it_is_here():
    said = " ".join(shipped()["qfed-central-paper"].read_text().replace("# ", "").split())
    images, adam = PUBLISHED["fashion"].training, Adam([torch.zeros(1)])
    assert f"{images - ceil(images / LENT):,} images are trained on, not {images:,}" in said
    assert (adam.defaults["eps"], adam.defaults["weight_decay"]) == (1e-8, 0)
    assert "Adam's ε is 1e-8, not 1e-6. No weights decay, there by 1e-5." in said
    one = ImageStudent(GeneratorConfig(target="digits"), 10)
    assert one._images(np.array([[[[0, 255] * 4] * 8]], np.uint8)).unique().tolist() == [0, 1]
    assert "pixels are from 0 to 1, in the notebook from −1 to 1" in said


def test_the_bytes_of_a_generator_are_shown_beside_those_of_the_network_itself(run_of, tmp_path):
    beside = "5,988 bytes up a fit (the network itself: 26,760)"
    recipe = load("qfed-fashion", ["student.twin=false"])
    folder = run_of(tmp_path / "run", recipe, {"student": 0.8}, parameters=1497, shots=lambda _: 0)
    assert beside in costs(record(folder)).caption
    bare = replace(recipe, student=replace(recipe.student, generator=replace(recipe.student.generator, by="full")))
    assert "itself" not in costs(record(run_of(tmp_path / "full", bare, {"student": 0.8}, parameters=6690))).caption


def test_a_plan_and_a_summary_say_what_the_network_itself_would_send(finished):
    folder = finished()
    assert said_by(priced(from_run_config(config_of()))).count("(the network itself: 13,080 an arm)") == 1
    assert said_by(summary(folder)).count("1,556 bytes up a fit (the network itself: 13,080 an arm)") == 2
    several = config_of(f"{RUNS['a network a client']} student.twin=false")
    assert "(the largest network itself: 13,080)" in said_by(priced(from_run_config(several)))


def said_by(drawn):
    console = Console(width=300)
    with console.capture() as said:
        console.print(drawn)
    return said.get()


def test_the_reference_of_several_networks_is_their_mean(finished):
    from server.reference import Reference

    folder = finished(RUNS["a network a client"])
    reference = Reference(from_run_config(config_of(RUNS["a network a client"])))
    reference.encode({})
    arrays = newest(folder, from_run_config(config_of(RUNS["a network a client"])).digest()).arms["student"].arrays
    each = [
        np.mean(one.predict(arrays, reference.rows.images).argmax(1) == reference.rows.labels)
        for one in reference.members["student"]
    ]
    assert [one.size for one in reference.members["student"]] == [3270, 510]
    assert reference("student", arrays)[1] == pytest.approx(fmean(each))


def test_an_export_is_the_trained_network_and_needs_nothing_quantum(finished):
    from safetensors.numpy import load_file

    folder = finished("student.twin=false")
    (found,) = export(folder)
    assert found.accuracy == rounds_of(folder)[-1]["arms"]["student"]["reference_accuracy"]
    assert found.loss == pytest.approx(rounds_of(folder)[-1]["arms"]["student"]["reference_loss"], rel=1e-5)
    weights = load_file(folder / "export" / "digits.safetensors")
    assert sum(array.size for array in weights.values()) == found.parameters == 3270
    modes = {path.name: path.stat().st_mode for path in (folder / "export").iterdir()}
    assert modes["digits.safetensors"] == modes["digits.pt"]
    assert json.loads((folder / "export" / "export.json").read_text())["networks"][0]["accuracy"] == found.accuracy


def edited(folder, kind, change):
    """The ledger, its last line of a kind changed in place."""
    found = lines(folder)
    change(next(line for line in reversed(found) if line["kind"] == kind))
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))


@pytest.mark.parametrize(("key", "by"), [("reference_accuracy", 2e-2), ("reference_loss", 1e-4)])
def test_an_export_whose_accuracy_or_loss_is_not_that_of_the_ledger_is_refused(key, by, finished):
    folder = finished("student.twin=false")
    edited(folder, "round", lambda line: line["arms"]["student"].update({key: line["arms"]["student"][key] + by}))
    with pytest.raises(RunFailedError, match=r"digits on the server's rows: .* it is not the trained one"):
        export(folder)


def test_every_network_of_an_export_is_held_against_its_clients_scores_so_that_errors_cannot_cancel(finished, told):
    folder = finished(RUNS["a network a client"])
    code, said = told("export", folder)
    assert code == 0
    assert said.count("as in the ledger") == 1
    accuracy = rounds_of(folder)[-1]["arms"]["student"]["reference_accuracy"]
    assert said.endswith(f"{accuracy:.2%}: mean of 2 networks, as in the ledger\n")
    edited(folder, "score", lambda line: line["clients"]["1"]["loss"].update(student=2.0))
    with pytest.raises(RunFailedError, match=r"digits-small on client 1's test rows: .* and 2\.0+: it is not the"):
        export(folder)


def test_safetensors_that_are_not_the_scripted_network_are_refused(finished, monkeypatch):
    from safetensors.torch import save

    def zeros(state, metadata):
        return save({name: part * 0 for name, part in state.items()}, metadata)

    folder = finished("student.twin=false")
    monkeypatch.setattr("quantum.export.save", zeros)
    with pytest.raises(RunFailedError, match=r"digits\.safetensors does not hold the weights of .*digits\.pt"):
        export(folder)


def test_an_export_that_does_not_run_by_itself_is_refused(finished, monkeypatch):
    folder = finished("student.twin=false")
    monkeypatch.setattr(
        exporting, "CHECK", f"import sys; sys.path.insert(0, {str(exporting.__file__)!r})\nimport nothing"
    )
    with pytest.raises(RunFailedError, match="does not run by itself: ModuleNotFoundError"):
        export(folder)


def test_only_a_finished_generator_is_exported(run_of, tmp_path):
    with pytest.raises(InputError, match="trained a vqc; only a generator leaves a classical network"):
        export(run_of(tmp_path / "vqc", load("smoke")))
    with pytest.raises(InputError, match="has not ended"):
        export(run_of(tmp_path / "running", load("qfed-digits"), end=None))
    with pytest.raises(InputError, match="has no checkpoint"):
        export(run_of(tmp_path / "bare", load("qfed-digits")))


REFUSED = {
    "texts": (["data.corpus=synthetic"], "corpus synthetic holds texts, which these students read: all but generator"),
    "a teacher of images": (["teacher.kind=tiny"], "teacher.kind is tiny, which reads texts"),
    "features of images": (["features.steps=2"], "features is set; a student of images reads their pixels"),
    "an executor": (["executor=shots"], "a generator is trained exactly"),
    "a list too short": (
        ["student.generator={target: cnn, targets: [digits]}"],
        "names 1 networks for 4 clients; name one for each client, or one for all with student.generator.target",
    ),
    "a list beside one for all": (["student.generator.targets=[digits]"], "targets stands in place of target"),
    "an unknown network": (["student.generator.target=vgg19"], 'target is "vgg19"; it must be cnn, cnn-relu'),
    "an average of shapes": (
        ["student.generator={by: full, targets: [digits, digits, digits, digits-small]}", "student.twin=false"],
        "networks of different shapes have no average",
    ),
    "a twin of a control": (["student.generator.by=hash"], "a generator by hash is a control itself"),
    "a key of circuits": (["student.qubits=5"], "qubits is 5; a generator has no qubits"),
    "a law without a teacher": (["regulate.law=adaptive"], "it asks a teacher, and teacher.kind is none"),
    "a stop by the test set": (
        ["data.corpus=fashion", "stop.epsilon=0.1"],
        "stop.epsilon would decide by the server's rows, which are the test set of fashion",
    ),
    "a choice by the test set": (
        ["data.corpus=fashion", "select.by=alignment"],
        "leave it out, or set select.reference to clients",
    ),
    "angles of a network": (
        ["student.generator.by=full", "student.twin=false", "aggregate.mean=circular"],
        "has no angles",
    ),
}


@pytest.mark.parametrize(("changes", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_before_anything_starts(changes, line):
    with pytest.raises(RecipeError) as error:
        load("qfed-digits", changes)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_students_and_optimisers_of_texts_do_not_mix_with_those_of_images():
    with pytest.raises(RecipeError, match="corpus digits holds images, which these students read: generator and noop"):
        load("smoke", ["data.corpus=digits", "teacher.kind=none", "regulate.law=none"])
    with pytest.raises(RecipeError, match="a generator student is trained by minibatch alone"):
        load("smoke", ["student={kind: generator}"])


def test_a_target_of_other_images_is_refused_by_the_plan():
    with pytest.raises(RecipeError, match="target cnn reads images of 1×28×28, the corpus has 1×8×8: use digits"):
        ready(load("qfed-digits", ["student.generator.target=cnn"]), fetch=False)


def test_fewer_angles_averaged_on_the_circle_leave_gamma_on_the_line(finished):
    line, circle = (
        newest(finished(changes, name), from_run_config(config_of(changes)).digest()).arms["student"].arrays
        for name, changes in (("line", "rounds=1"), ("circle", "rounds=1 aggregate.mean=circular"))
    )
    assert_allclose(line["gamma"], circle["gamma"], atol=1e-6)
    assert_allclose(line["beta"], circle["beta"], atol=1e-5)  # close to each other, so their mean is that on the line


def test_angles_a_whole_period_apart_are_the_same_angles_to_the_server():
    from quantum.ring import ring
    from server.reference import Reference

    recipe = from_run_config(config_of("aggregate.mean=circular"))
    periods = Reference(recipe).periods()["student"]
    ansatz = ring(12, 2)
    assert {name: array.tolist() for name, array in periods.items()} == {"beta": list(ansatz.periods)}
    start = {name: array.astype(np.float64) for name, array in student(recipe.student, 10).initial(0).items()}
    turned = start | {"beta": start["beta"] + ansatz.periods}
    facts = {"arm": "student", "examples": 1, "student_loss": 0.5, "student_accuracy": 0.5, "teacher_loss": None}
    facts |= {"teacher_accuracy": None, "teacher_f1": None, "maxiter": 3, "evaluations": 3, "shots": 0, "seconds": 0.1}
    sent = [Report(client=client, arrays=arrays, **facts) for client, arrays in enumerate((start, turned))]
    found = aggregate(recipe.aggregate, start, sent, periods)
    for name, array in start.items():
        assert_allclose(found[name], array, atol=1e-12)


def test_a_client_trains_the_network_that_the_recipe_names_for_it():
    targets = ("digits", "digits-small", "digits-small", "digits")
    said = f"student.generator={{target: cnn, targets: [{','.join(targets)}]}}"
    recipe = load("qfed-digits", [said, "student.twin=true"])
    found = [Participant(recipe, number).arms for number in range(recipe.clients)]
    assert [tuple(arm.target for arm in arms.values()) for arms in found] == [(target, target) for target in targets]


def test_every_level_of_noise_is_measured_once_and_kept(finished, monkeypatch):
    folder = finished("student.twin=false optimiser.epochs=3 optimiser.batch=16")
    found = noise(folder, ["shots", "depolarizing:0.0", "depolarizing:1"], shots=400, steps=2, go_on=False)
    assert found.exact == rounds_of(folder)[-1]["arms"]["student"]["reference_accuracy"]
    assert [level.executor for level in found.levels] == ["shots", "depolarizing:0.0", "depolarizing:1"]
    assert all(0 <= level.accuracy <= 1 and 0 <= level.tuned <= 1 for level in found.levels)
    assert json.loads((folder / "noise.json").read_text())["levels"][0]["accuracy"] == found.levels[0].accuracy
    assert "without noise" in str(table(found).title)
    said = []
    more = noise(folder, ["shots", "depolarizing:0.0"], shots=500, steps=0, go_on=False, say=said.append)
    assert more.levels[:3] == found.levels
    assert [level.asked for level in more.levels[3:]] == [("shots", 500, 0), ("depolarizing:0.0", 500, 0)]
    assert [line.split(":")[0] for line in said] == ["shots"] * 2 + ["depolarizing"] * 2
    assert table(more).columns[4].header == "steps there"
    monkeypatch.setattr("server.noise.executor", lambda *_, **__: pytest.fail("what was measured is measured again"))
    assert noise(folder, ["shots"], shots=500, steps=0, go_on=False) == more


def test_a_level_without_a_number_of_shots_has_its_usual_one(finished, monkeypatch):
    folder, whole = finished("student.twin=false"), noises.executor
    monkeypatch.setattr("server.noise.estimated", lambda *_: 1.0)
    monkeypatch.setattr(
        "server.noise.executor", lambda _, **keys: whole("shots", **keys)
    )  # for which 12 qubits are few
    found = noise(folder, ["shots", "depolarizing:1e-3"], shots=None, steps=0, go_on=False)
    assert [level.asked for level in found.levels] == [("shots", 10**4, 0), ("depolarizing:1e-3", 10**7, 0)]


def test_levels_that_are_done_outlive_one_that_is_interrupted(finished, monkeypatch):
    folder = finished("student.twin=false")
    whole = noises.executor

    def interrupted(spec, **keys):
        if spec == "aer":
            raise SystemExit(143)
        return whole(spec, **keys)

    monkeypatch.setattr("server.noise.estimated", lambda *_: 1.0)
    monkeypatch.setattr("server.noise.executor", interrupted)
    with pytest.raises(SystemExit):
        noise(folder, ["shots", "aer"], shots=100, steps=0, go_on=False)
    assert [level.executor for level in noises.measured_in(folder).values()] == ["shots"]
    (folder / "noise.json").write_text('{"schema": 1, "levels": []}')
    with pytest.raises(InputError, match="schema 1, this qflock reads 2: delete it"):
        noise(folder, ["shots"], shots=100, steps=0, go_on=False)
    (folder / "noise.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        noise(folder, ["shots"], shots=100, steps=0, go_on=False)


def test_many_shots_see_what_the_exact_engine_does_and_slopes_are_the_exact_ones():
    import torch

    from quantum.executor import executor
    from quantum.generator import Generator
    from recipes.schema import GeneratorConfig

    generator = Generator(GeneratorConfig(blocks=2, gain=1.0), 16)
    slopes, written = [], []
    for run in (None, executor("shots", shots=10_000_000, seed=0)):
        arrays = {name: torch.from_numpy(array).requires_grad_() for name, array in generator.initial(0).items()}
        weights = generator.weights(arrays) if run is None else generator.noisy(arrays, run)
        (weights @ torch.linspace(-1, 1, 16)).backward()
        slopes.append(arrays["beta"].grad)
        written.append(weights.detach())
    assert_allclose(written[0], written[1], atol=1e-3)
    assert not np.array_equal(written[0], written[1])
    assert_allclose(slopes[0], slopes[1], atol=2e-2)


def test_what_would_take_hours_is_refused_with_the_time_unless_told_to_go_on(run_of, tmp_path, monkeypatch):
    folder = run_of(tmp_path / "run", load("qfed-digits"))
    monkeypatch.setattr("server.noise.newest", lambda *_: object())
    with pytest.raises(InputError, match=r"this would take about .* \(depolarizing:0.01 about .*\): .* --go-on"):
        noise(folder, ["depolarizing:0.01"], shots=10_000, steps=10_000, go_on=False)
    with pytest.raises(InputError, match="hardware is for recipes"):
        noise(folder, ["ibm:x"], shots=10, steps=0, go_on=False)
    with pytest.raises(InputError, match="nothing to run under noise"):
        noise(run_of(tmp_path / "vqc", load("smoke")), [], shots=10, steps=0, go_on=False)


def test_the_bench_of_noise_measures_what_is_missing_and_names_what_cannot_be(finished, monkeypatch):
    folder = finished("student.twin=false")
    levels = [("shots", 100, 2), ("noisy:nowhere", 100, 0), ("depolarizing:1e-2", 20, 0)]
    results = [json.loads(json.dumps(one)) for one in qfed_noise.measured(folder, levels)]
    assert [len(one["levels"]) for one in results] == [1, 1, 2]
    last = results[-1]
    assert [one["tuned"] is None for one in last["levels"]] == [False, True]
    assert last["exact"] == rounds_of(folder)[-1]["arms"]["student"]["reference_accuracy"]
    assert load(last["recipe"], last["changes"]).digest() == last["recipe_digest"]
    assert "student.generator.blocks=2" in last["changes"]
    text = TABLES["qfed-noise"](last)
    assert "| exact |  | " in text
    assert "| depolarizing:1e-2 | 20 | " in text
    assert "Not run: noisy:nowhere, 100 shots (executor: nowhere is no fake device." in text
    monkeypatch.setattr("server.noise.executor", lambda *_, **__: pytest.fail("what was measured is measured again"))
    assert [one["levels"] for one in qfed_noise.measured(folder, levels)][-1] == last["levels"]


def test_the_table_of_noise_shows_accuracy_and_points_lost():
    found = {"executor": "shots", "steps": 0, "tuned": None, "seconds": 3.2}
    levels = [found | {"shots": 10**4, "accuracy": 0.1134, "tuned": 0.21}, found | {"shots": 10**7, "accuracy": 0.8413}]
    text = markdown(qfed_noise.table({"exact": 0.8426, "levels": levels}))
    assert "| exact |  | 84.26% |  |  |  |  |" in text
    assert "| shots | 10,000 | 11.34% | 72.9 | 21.00% | 63.3 | 3 |" in text
    assert "| shots | 10,000,000 | 84.13% | 0.1 |  |  | 3 |" in text


def test_every_level_of_the_bench_is_an_executor():
    assert {("shots", 10**power, qfed_noise.STEPS) for power in (4, 5, 6, 7)} < set(qfed_noise.LEVELS)
    assert {split_executor(level)[0] for level, *_ in qfed_noise.LEVELS} == {"shots", "depolarizing", "noisy"}
