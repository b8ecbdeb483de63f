"""Recipes: three ways to name one, what a digest stands for, and what every mistake says."""

import json
import signal
import string
import subprocess
import sys
from dataclasses import MISSING, asdict, replace
from dataclasses import fields as dataclass_fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recipes import schema
from recipes.load import about, build, checked, every_key, from_run_config, load, merged, parse, shipped, sweep_of
from recipes.schema import IMAGES, MINIBATCHED, MOST_QUBITS, OPTIMISER_READS, Recipe
from recipes.section import Between, RecipeError, Section, hints
from server.folder import as_yaml
from server.sweep import grid

APP = Path(__file__).parents[1]
DEFAULTS = Recipe()
KEYS = sorted(every_key(Recipe))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
    max_leaves=5,
)


def fitting(hint):
    """Values that a field of this type may hold."""
    if isinstance(hint, type) and issubclass(hint, Section):
        return recipes(hint)
    origin = get_origin(hint)
    if origin is Annotated:
        kind, limits = get_args(hint)
        low, high = limits.low, min(limits.high, 1e6)
        if kind is int:
            return st.integers(int(low), int(high))
        return st.floats(low, high, exclude_min=limits.above)
    if origin is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(fitting(get_args(hint)[0]), max_size=3).map(tuple)
    if get_args(hint):
        return st.one_of(*(fitting(part) for part in get_args(hint)))
    return {bool: st.booleans(), str: st.text(string.printable + "é→", max_size=12), type(None): st.none()}[hint]


@cache
def recipes(section=Recipe):
    """Any section that the schema allows."""
    fields = {key: fitting(hint) for key, hint in hints(section).items()}
    if section is Recipe:
        fields["name"] = st.text(string.ascii_letters + string.digits + ".-_", min_size=1, max_size=12)
        fields["executor"] = st.sampled_from(["exact", "shots", "aer", "noisy:manila", "depolarizing:0.01", "ibm:x"])
    if section.__name__ == "NodesConfig":
        fields["executors"] = st.just(())  # tests/test_node.py has others
    values = st.fixed_dictionaries({}, optional=fields).map(lambda values: read(section, values))
    values = values.filter(lambda values: allowed(section, values))
    return values.map(lambda values: section(**values))


def read(section, values):
    """The values without those that mean nothing beside the others."""
    unread = set()
    if section.__name__ == "OptimiserConfig":
        reads = OPTIMISER_READS.get(values.get("kind", "cobyla"), {"maxiter", "learning_rate"})
        unread = set(hints(section)) - reads - {"kind"}
    elif section.__name__ == "TeacherConfig":
        unread = {"rounds"} if values.get("federate", "none") == "none" else set()
        unread |= {"merged_rank"} if values.get("federate") != "exact" else set()
        unread |= {"stride"} if values.get("kmer") == 0 else set()
    elif section.__name__ == "SelectConfig" and values.get("by") != "power-of-choice":
        unread = {"candidates"}
    elif section.__name__ == "AggregateConfig":
        unread = {"tau", "mean"} if values.get("by", "fedavg") != "fedavg" else set()
        unread |= {"epochs"} if values.get("by") != "feddf" else set()
    elif section.__name__ == "GeneratorConfig":
        unread = {"targets"} if values.get("by") in ("small", "full") else set()
        unread |= {"target"} if values.get("targets") else set()
    elif section.__name__ == "StudentConfig":
        kind = values.get("kind")
        unread = {"reps", "entanglement"} if kind == "qcnn" else set()
        unread |= {"feature_map", "scale"} if kind == "layered" else {"angles"}
        unread |= set(hints(section)) - {"kind", "twin", "generator"} if kind == "generator" else {"generator"}
    elif section is Recipe:
        unread = set() if values.get("executor", "exact").startswith("ibm") else {"hardware"}
        unread |= set() if "nodes" in values and choosable(values) else {"nodes"}
    return {key: value for key, value in values.items() if key not in unread}


def choosable(values):
    """Whether nodes may choose what the recipe says that they may."""
    nodes, data, teacher = (values.get(key, getattr(DEFAULTS, key)) for key in ("nodes", "data", "teacher"))
    rows = data.corpus == "text" and bool(data.public or not data.public_rows)
    ranks = teacher.kind == "lora" and teacher.federate in ("none", "exact")
    return (rows or not nodes.classes) and (ranks or not nodes.ranks)


def allowed(section, values):
    """Whether the keys of a section do not contradict each other."""
    values = {field.name: field.default for field in dataclass_fields(section)} | values
    if section.__name__ == "DataConfig":
        other = values["public"] not in ("text", values["corpus"]) and values["public_rows"]
        return (values["corpus"] == "text") == bool(values["path"]) and (not values["public"] or other)
    if section.__name__ == "StudentConfig":
        return possible(values)
    if section.__name__ == "DistilConfig":
        return values["labels"] or values["weight"] or values["shannon"]
    if section.__name__ == "TeacherConfig":
        targets = values["targets"]
        return (values["kind"] != "none" or values["federate"] == "none") and bool(
            values["model"] and targets and "" not in targets and len(set(targets)) == len(targets)
        )
    if section.__name__ == "NodesConfig":
        classes = values["classes"]
        return not classes or len(set(classes)) == len(classes) > 1
    if section.__name__ == "SelectConfig":
        return values["by"] != "power-of-choice" or values["percent"] <= values["candidates"]
    return section is not Recipe or consistent(values)


def possible(values):
    """Whether the keys of a student do not contradict each other."""
    kind = values["kind"]
    if kind == "layered":
        return values["readout"] != "parity" and values["entanglement"] in ("circular", "linear")
    if values["readout"] == "dense" or values["qubits"] > MOST_QUBITS:
        return False
    controls = kind == "generator" and values["generator"] is not MISSING
    return not (values["twin"] and (kind == "noop" or (controls and values["generator"].by != "circuit")))


def consistent(values):
    """Whether the sections of a recipe do not contradict each other."""
    now = SimpleNamespace(**{key: getattr(DEFAULTS, key) if v is MISSING else v for key, v in values.items()})
    student, teacher, distil = now.student, now.teacher, now.distil
    if now.data.corpus == "genomic":
        if (teacher.kind, teacher.kmer) == ("tiny", 0):
            return False
    elif teacher.stride is not None or not (teacher.kmer is None or now.data.corpus == "text"):
        return False
    if teacher.rounds > now.rounds:
        return False
    if now.data.corpus in IMAGES or student.kind == "generator":
        return False  # whose many constraints tests/test_qfed.py goes through one by one
    asked = distil.teaches or now.aggregate.tau or now.stop.delta or now.regulate.law != "none"
    if teacher.kind == "none" and asked:
        return False
    fused = now.aggregate.by == "feddf"
    if (fused and not (now.data.public_rows and student.kind == "layered")) or (
        now.data.public_rows and not (distil.teaches or fused)
    ):
        return False
    return runnable(now) and now.min_reports <= now.clients and now.select.takes(now.clients) >= now.aggregate.fewest()


def runnable(now):
    """Whether the student can be trained so, on that executor."""
    student, optimiser, distil = now.student, now.optimiser, now.distil
    if (optimiser.kind == "minibatch") != (student.kind in MINIBATCHED):
        return False
    if student.kind == "noop" and (now.aggregate.mean == "circular" or distil.teaches or distil.proximal):
        return False
    if now.executor == "exact":
        if now.scored_by == "executor":
            return False
    elif optimiser.kind in ("adam", "minibatch") or student.kind == "noop":
        return False
    return not now.mitigate or now.executor.startswith(("noisy", "ibm"))


def attempt(act, *given):
    """(what it returns, None), or (None, what the RecipeError says)."""
    try:
        return act(*given), None
    except RecipeError as error:
        return None, str(error)


def value_at(recipe, key):
    value = asdict(recipe)
    for part in key.split("."):
        value = value[part]
    return value


def hint_at(key, section=Recipe):
    head, _, rest = key.partition(".")
    return hint_at(rest, hints(section)[head]) if rest else hints(section)[head]


@settings(max_examples=40)
@given(recipe=recipes())
def test_one_line_of_json_is_the_whole_recipe(recipe):
    line = recipe.as_json()
    assert "\n" not in line
    assert load(line) == recipe
    assert load(line).digest() == recipe.digest()
    assert from_run_config({"recipe": line, "rounds": 0, "override": ""}) == recipe


def with_key(recipe, key, value):
    """As `--set` does it, for values that a command line cannot spell."""
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return build(merged(asdict(recipe), checked(nested, "")))


@settings(max_examples=60)
@given(recipe=recipes(), key=st.sampled_from(KEYS), data=st.data())
def test_a_digest_changes_with_any_value_but_trackers_and_with_nothing_else(recipe, key, data):
    new = data.draw(fitting(hint_at(key)))
    try:
        other = with_key(recipe, key, new)
    except RecipeError:
        return  # this value contradicts another key
    if key == "student.generator.activation" and other.student.kind != "generator":
        return  # which has none: that first default, as old runs wrote it down, is left out
    assert value_at(other, key) == new
    assert (other.digest() == recipe.digest()) == (key == "trackers" or new == value_at(recipe, key))
    assert replace(recipe).digest() == recipe.digest()


@example(key="two\nlines", value=1)
@example(key="teacher.model", value="\U00010000")
@example(key="deadline_seconds", value=10**400)
@given(key=st.sampled_from(KEYS) | st.text(max_size=8), value=ANYTHING)
def test_whatever_a_key_is_set_to_is_a_recipe_or_one_line(key, value):
    """Also for keys that do not exist, and for values that no YAML author would think of."""
    recipe, said = attempt(with_key, DEFAULTS, key, value)
    if recipe:
        assert load(recipe.as_json()) == recipe
    else:
        assert said
        assert "\n" not in said


@given(text=st.text(string.printable) | st.text("{}[]:,#&*!|>'\"%@`-? \n\tabc123.", max_size=30))
def test_any_text_is_yaml_or_one_line_that_names_the_place(text):
    _, said = attempt(parse, text, "here")
    assert said is None or (said.startswith("here") and "\n" not in said)


def test_a_name_a_file_and_a_line_mean_the_same_recipe(tmp_path):
    for name, path in shipped().items():
        recipe = load(name)
        copy = tmp_path / f"{name}.yaml"
        copy.write_text(path.read_text())
        assert load(str(path)) == load(str(copy)) == load(recipe.as_json()) == recipe
        assert len({one.digest() for one in (recipe, load(str(copy)), load(recipe.as_json()))}) == 1
        assert recipe.name == name


def test_a_recipe_is_read_from_its_smallest_form():
    assert load("{}") == DEFAULTS
    assert load("{student: {qubits: 6}, deadline_seconds: 30}").student.qubits == 6
    assert load("{optimiser: {rhobeg: 1e-3}}").optimiser.rhobeg == 0.001
    assert load("{student: {scale: 3}}").digest() == load("{student: {scale: 3.0}}").digest()


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_says_what_it_is_and_how_to_run_it(name):
    said = about(shipped()[name])
    assert all(said), said
    qflock, verb, named = said.run.split()[:3]
    assert (qflock, named) == ("qflock", name)
    assert verb in ("run", "sweep", "ablate")
    assert (verb == "sweep") == bool(sweep_of(name))
    assert all(load(name, changes) for changes in grid(sweep_of(name)))
    text = shipped()[name].read_text()
    assert said.takes in text
    assert said.reproduces in text
    assert text.startswith(f"# {said.summary}")


def test_extends_changes_values_section_by_section(tmp_path):
    (tmp_path / "base.yaml").write_text("extends: smoke\nrounds: 7\nstudent: {qubits: 5}\n")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nstudent: {reps: 2}\n")
    smoke, top = load("smoke"), load(str(tmp_path / "top.yaml"))
    student = replace(smoke.student, qubits=5, reps=2)
    assert top == replace(smoke, name="top", rounds=7, student=student)


def test_extends_that_goes_in_a_circle_is_drawn(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(RecipeError, match=r"^a.yaml: extends goes in a circle: a.yaml → b.yaml → a.yaml$"):
        load(str(tmp_path / "a.yaml"))


def test_overrides_come_last_and_in_order():
    recipe = load("smoke", ["rounds=9", "student.reps=1", "rounds=8", "data={rows: 50}"])
    smoke = load("smoke")
    assert recipe == replace(smoke, rounds=8, student=replace(smoke.student, reps=1), data=replace(smoke.data, rows=50))
    assert load("smoke", ["rounds=9", "rounds=8", "rounds=9"]).rounds == 9
    config = {"recipe": "smoke", "rounds": 4, "override": "student.reps=2 'name=two-words'"}
    assert from_run_config(config) == replace(smoke, rounds=4, name="two-words", student=replace(smoke.student, reps=2))


@pytest.mark.parametrize(
    "overrides",
    [
        ("aggregate.by=krum", "clients=5"),
        ("min_reports=6", "clients=8"),
        ("data.corpus=text", "data.path=rows.csv"),
        ("student.kind=noop", "student.twin=false"),
    ],
)
def test_overrides_that_belong_together_come_in_any_order(overrides):
    assert load("smoke", overrides) == load("smoke", reversed(overrides))


def test_of_several_overrides_the_one_that_is_wrong_is_named():
    with pytest.raises(RecipeError, match=r"^--set rounds=0: rounds is 0"):
        load("smoke", ["student.reps=2", "rounds=0", "clients=4"])
    with pytest.raises(RecipeError, match=r"^--set aggregate.by=krum: aggregate.by is krum; .*2 of 2 clients enter"):
        load("smoke", ["student.reps=2", "aggregate.by=krum"])


@pytest.mark.parametrize("low", [0, 2.5])
@pytest.mark.parametrize("above", [True, False])
def test_limits_say_what_they_allow(low, above):
    limits = Between(low, 10, above=above)
    assert (low in limits) is not above
    assert 10 in limits
    assert 10.1 not in limits
    assert str(limits) == (f"above {low:g} and at most 10" if above else f"from {low:g} to 10")


SHIPPED = ", ".join(shipped())
WRONG = {  # file's text, words after the file, the line
    "unknown key": ("rouns: 3", [], "r.yaml: rouns is not a key. Did you mean rounds?"),
    "key of a section": (
        "student: {circut: vqc, qbits: 4}",
        [],
        "r.yaml: student.circut is not a key. "
        "Keys here: kind, readout, qubits, feature_map, scale, angles, reps, entanglement, twin, size, generator",
    ),
    "key without its section": ("maxiter: 5", [], "r.yaml: maxiter is not a key. Did you mean optimiser.maxiter?"),
    "unknown section": ("studnt: {qubits: 4}", [], "r.yaml: studnt is not a key. Did you mean student?"),
    "misspelt in a section": (
        "student: {qbits: 4}",
        [],
        "r.yaml: student.qbits is not a key. Did you mean student.qubits?",
    ),
    "wrong type": ("rounds: five", [], 'r.yaml: rounds is "five"; it must be a whole number from 1 to 10000'),
    "a fraction": ("rounds: 2.5", [], "r.yaml: rounds is 2.5; it must be a whole number from 1 to 10000"),
    "a claim for a number": ("rounds: yes", [], "r.yaml: rounds is true; it must be a whole number from 1 to 10000"),
    "text for a claim": ("student: {twin: 1}", [], "r.yaml: student.twin is 1; it must be true or false"),
    "out of range": ("clients: 0", [], "r.yaml: clients is 0; it must be a whole number from 1 to 1000"),
    "not above": (
        "select: {percent: 0}",
        [],
        "r.yaml: select.percent is 0.0; it must be a number above 0 and at most 100",
    ),
    "not a number": (
        "deadline_seconds: .nan",
        [],
        "r.yaml: deadline_seconds is nan; it must be a number above 0 or null",
    ),
    "wrong choice": (
        "data: {partition: iiid}",
        [],
        'r.yaml: data.partition is "iiid"; it must be iid, domain, shards or dirichlet',
    ),
    "a section that is a value": ("student: vqc", [], 'r.yaml: student is "vqc"; it must be a group of keys'),
    "a section that is empty": ("student:", [], "r.yaml: student is null; it must be a group of keys"),
    "a value that is a list": (
        "seed: [1, 2]",
        [],
        "r.yaml: seed is [1, 2]; it must be a whole number from 0 to 2.14748e+09",
    ),
    "a key that is a number": ("rounds: 3\n5: x", [], "r.yaml line 1: not valid YAML: the key 5 is not text"),
    "bad YAML": (
        "rounds: 3\ndata: {rows: 5\nseed: 1",
        [],
        "r.yaml line 3: not valid YAML: expected ',' or '}', but got ':'",
    ),
    "a tab": (
        "data:\n\trows: 5",
        [],
        "r.yaml line 2: not valid YAML: found character '\\t' that cannot start any token",
    ),
    "a key twice": ("rounds: 3\nrounds: 4", [], "r.yaml line 1: not valid YAML: the key rounds stands twice"),
    "two documents": ("rounds: 3\n---\nrounds: 4", [], "r.yaml line 2: not valid YAML: but found another document"),
    "an empty file": ("", [], "r.yaml: holds null; it must be lines of key: value"),
    "a list": ("- rounds: 3", [], 'r.yaml: holds [{"rounds": 3}]; it must be lines of key: value'),
    "extends nothing": (
        "extends: smok",
        [],
        "r.yaml: extends smok: no such file, and no shipped recipe of that name. "
        f"Did you mean smoke? Shipped: {SHIPPED}",
    ),
    "extends a number": ("extends: 3", [], "r.yaml: extends is 3; it must be a recipe's name or path"),
    "set without =": (
        "{}",
        ["--set", "rounds"],
        "--set rounds: write it as key=value, for example --set student.reps=2",
    ),
    "set to what cannot be": (
        "{}",
        ["--set", "rounds=many"],
        '--set rounds=many: rounds is "many"; it must be a whole number from 1 to 10000',
    ),
    "set what is not": (
        "{}",
        ["--set", "student.qbit=3"],
        "--set student.qbit=3: student.qbit is not a key. Did you mean student.qubits?",
    ),
    "set a section": ("{}", ["--set", "student=3"], "--set student=3: student is 3; it must be a group of keys"),
    "set to bad YAML": (
        "{}",
        ["--set", "data={"],
        "--set data={ line 1: not valid YAML: expected the node content, but found '<stream end>'",
    ),
    "corpus without path": (
        "data: {corpus: text}",
        [],
        "r.yaml: data.path is empty; corpus text needs a file, a folder or hf:owner/name",
    ),
    "path without its corpus": (
        "data: {path: /rows.csv}",
        [],
        'r.yaml: data.path is "/rows.csv"; only corpus text reads a path, synthetic has its own rows',
    ),
    "noop with a twin": (
        "student: {kind: noop}",
        [],
        "r.yaml: student.twin is true; a noop student learns nothing, so it has no twin: set student.twin to false",
    ),
    "adam out of shots": (
        "{executor: shots, optimiser: {kind: adam}}",
        [],
        "r.yaml: optimiser.kind is adam; its gradients are exact and executor shots has none: "
        "use shift, spsa or cobyla",
    ),
    "a key of another optimiser": (
        "optimiser: {kind: adam, rhobeg: 0.5}",
        [],
        "r.yaml: optimiser.rhobeg is 0.5; adam does not read rhobeg: leave it out",
    ),
    "a learning rate for cobyla": (
        "optimiser: {learning_rate: 0.5}",
        [],
        "r.yaml: optimiser.learning_rate is 0.5; cobyla does not read learning_rate: leave it out",
    ),
    "a layered student read by parity": (
        "student: {kind: layered}\noptimiser: {kind: minibatch}",
        [],
        "r.yaml: student.readout is parity; a layered student is read by ⟨Z⟩: use dense or softmax",
    ),
    "a layered student of another ring": (
        "student: {kind: layered, readout: dense}\noptimiser: {kind: minibatch}",
        [],
        "r.yaml: student.entanglement is reverse_linear; a layered student has a ring or a chain of CNOT: "
        "use circular or linear",
    ),
    "a layered student with a feature map": (
        "student: {kind: layered, feature_map: zz}",
        [],
        'r.yaml: student.feature_map is "zz"; a layered student has no feature_map: leave it out',
    ),
    "dense layers around a vqc": (
        "student: {readout: dense}",
        [],
        "r.yaml: student.readout is dense; a vqc has no dense layers: use parity or softmax",
    ),
    "a vqc of too many qubits": ("student: {qubits: 13}", [], "r.yaml: student.qubits is 13; a vqc has at most 12"),
    "angles of a vqc": (
        "student: {angles: tanh}",
        [],
        'r.yaml: student.angles is "tanh"; a vqc has no angles: leave it out',
    ),
    "mini-batches on shots": (
        "executor: shots\nstudent: {kind: layered, readout: dense, entanglement: linear}\noptimiser: {kind: minibatch}",
        [],
        "r.yaml: optimiser.kind is minibatch; its gradients are exact and executor shots has none: leave executor out",
    ),
    "public rows that nobody learns from": (
        "data: {public_rows: 5}",
        [],
        "r.yaml: data.public_rows is 5; only soft labels teach such rows: give distil a weight or shannon, "
        "set aggregate.by to feddf, or leave it out",
    ),
    "an ensemble without public rows": (
        "aggregate: {by: feddf}",
        [],
        "r.yaml: aggregate.by is feddf; the server distils the clients' layered students on public texts: "
        "set data.public_rows, and student.kind to layered",
    ),
    "public rows of the same corpus": (
        "data: {public: synthetic, public_rows: 5}",
        [],
        "r.yaml: data.public is synthetic; it must be another corpus than synthetic, not text, and public_rows say "
        "how many of its rows",
    ),
    "nothing to learn from": (
        "distil: {labels: 0}",
        [],
        "r.yaml: distil.labels, weight and shannon are 0; a fit needs labels or a teacher to learn from",
    ),
    "epochs for cobyla": (
        "optimiser: {epochs: 2}",
        [],
        "r.yaml: optimiser.epochs is 2; cobyla does not read epochs: leave it out",
    ),
    "mini-batches of a vqc": (
        "optimiser: {kind: minibatch}",
        [],
        "r.yaml: optimiser.kind is minibatch; a vqc student is trained on all its rows at once: "
        "use cobyla, spsa, adam or shift",
    ),
    "a qcnn with reps": (
        "student: {kind: qcnn, reps: 2}",
        [],
        "r.yaml: student.reps is 2; a qcnn has no reps: leave it out",
    ),
    "a noop on an executor": (
        "{executor: shots, student: {kind: noop, twin: false}}",
        [],
        'r.yaml: executor is "shots"; a noop student runs no circuits: leave it out',
    ),
    "scored by nothing else": (
        "scored_by: executor",
        [],
        "r.yaml: scored_by is executor, which is exact already: leave it out",
    ),
    "a weight for divergences beside another rule": (
        "aggregate: {by: median, tau: 2}",
        [],
        "r.yaml: aggregate.tau is 2.0; median does not read tau: leave it out",
    ),
    "a circle beside another rule": (
        "aggregate: {by: krum, mean: circular}\nclients: 5",
        [],
        'r.yaml: aggregate.mean is "circular"; krum does not read mean: leave it out',
    ),
    "angles of a noop": (
        "extends: noop\naggregate: {mean: circular}",
        [],
        "r.yaml: aggregate.mean is circular; a noop student has no angles: leave it out",
    ),
    "a noop that is taught": (
        "extends: noop\ndistil: {weight: 1}",
        [],
        "r.yaml: distil has a weight or a proximal; a noop student learns nothing: leave them out",
    ),
    "candidates of another rule": (
        "select: {by: uniform, candidates: 60}",
        [],
        "r.yaml: select.candidates is 60.0; uniform does not read candidates: leave it out",
    ),
    "fewer candidates than are kept": (
        "select: {by: power-of-choice, percent: 30, candidates: 20}",
        [],
        "r.yaml: select.candidates is 20; it must be at least percent, which is 30",
    ),
    "a rule that is misspelt": (
        "select: {by: power_of_choice}",
        [],
        'r.yaml: select.by is "power_of_choice"; it must be everyone, uniform, alignment or power-of-choice',
    ),
    "rounds of a teacher that stays at home": (
        "teacher: {rounds: 2}",
        [],
        "r.yaml: teacher.rounds is 2; a teacher that is not federated is tuned once and has no rounds: leave it out",
    ),
    "more rounds of tuning than rounds": (
        "teacher: {federate: average, rounds: 4}\nrounds: 3",
        [],
        "r.yaml: teacher.rounds is 4; it must be at most rounds, which is 3",
    ),
    "a rank that nothing is cut to": (
        "teacher: {federate: average, merged_rank: 8}",
        [],
        "r.yaml: teacher.merged_rank is 8; federate average does not read merged_rank: leave it out",
    ),
    "no labels at all": (
        "data: {labelled: 0}",
        [],
        "r.yaml: data.labelled is 0.0; it must be a number above 0 and at most 1",
    ),
    "a negative pull": ("distil: {proximal: -1}", [], "r.yaml: distil.proximal is -1.0; it must be a number 0 or more"),
    "no temperature": (
        "distil: {temperature: 0}",
        [],
        "r.yaml: distil.temperature is 0.0; it must be a number above 0",
    ),
    "a negative delta": (
        "stop: {delta: -0.1}",
        [],
        "r.yaml: stop.delta is -0.1; it must be a number 0 or more or null",
    ),
    "a budget below one gradient": (
        "optimiser: {kind: shift, maxiter: 33}",
        [],
        "optimiser.maxiter is 33; one step of shift on the student of 16 parameters takes 34 evaluations: "
        "use at least as many, or another optimiser",
    ),
    "an executor that is none": (
        "executor: nosy",
        [],
        'r.yaml: executor is "nosy"; it must be exact, shots, aer, noisy:<fake device>, depolarizing:<probability>, '
        "ibm:<backend or least-busy> or ibm-local:<fake device>. Did you mean noisy:<fake device>?",
    ),
    "an executor without its device": (
        "executor: noisy",
        [],
        'r.yaml: executor is "noisy"; write it as noisy:<fake device>',
    ),
    "an executor with a word too many": ("executor: aer:gpu", [], 'r.yaml: executor is "aer:gpu"; write it as aer'),
    "no shots": ("shots: 0", [], "r.yaml: shots is 0; it must be a whole number from 1 to 1e+07"),
    "a fake device that is none": (
        "executor: noisy:brisbna",
        [],
        "executor: brisbna is no fake device. Did you mean brisbane or berlin or paris?",
    ),
    "a probability that is none": (
        "executor: depolarizing:1.5",
        [],
        'r.yaml: executor is "depolarizing:1.5"; the probability of depolarizing is a number from 0 to 1',
    ),
    "mitigation of nothing": (
        "mitigate: true",
        [],
        "r.yaml: mitigate is true; executor exact makes no read-out errors: set mitigate to false",
    ),
    "more reports than clients": (
        "min_reports: 6",
        [],
        "r.yaml: min_reports is 6; it must be at most clients, which is 5",
    ),
    "fewer clients than reports": (
        "min_reports: 4",
        ["--clients", "3"],
        "--set clients=3: min_reports is 4; it must be at most clients, which is 3",
    ),
    "more liars than krum can bear": (
        "aggregate: {by: krum, liars: 2}",
        [],
        "r.yaml: aggregate.by is krum; with liars 2 and kept 1 it needs 7 updates, and 5 of 5 clients enter the "
        "average: use more clients or lower these two",
    ),
    "krum that keeps more than it compares": (
        "aggregate: {by: krum, kept: 3}",
        [],
        "r.yaml: aggregate.by is krum; with liars 1 and kept 3 it needs 6 updates, and 5 of 5 clients enter the "
        "average: use more clients or lower these two",
    ),
    "too few selected for krum": (
        "aggregate: {by: krum}\nselect: {by: uniform, percent: 60}",
        [],
        "r.yaml: aggregate.by is krum; with liars 1 and kept 1 it needs 5 updates, and 3 of 5 clients enter the "
        "average: use more clients or lower these two",
    ),
    "more than half trimmed at an end": (
        "aggregate: {by: trimmed, share: 0.6}",
        [],
        "r.yaml: aggregate.share is 0.6; it must be a number from 0 to 0.5",
    ),
    "a date": ("name: 2024-13-45", [], "r.yaml: not valid YAML: month must be in 1..12"),
}


@pytest.fixture
def refused(monkeypatch, capsys):
    """What the command says to words it cannot use: its one line. Its signal handler is put back."""
    before = signal.getsignal(signal.SIGTERM)

    def said(*words):
        from server.cli import main

        monkeypatch.setattr(sys, "argv", ["qflock", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").rstrip("\n")

    yield said
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("text", "words", "line"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_with_the_place_and_the_remedy(text, words, line, refused, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    assert refused("plan", str(tmp_path / "r.yaml"), *words) == line


def test_a_recipe_that_is_not_there_is_one_line(refused, tmp_path):
    nothing = "no such file, and no shipped recipe of that name."
    assert refused("plan", "smoek") == f"smoek: {nothing} Did you mean smoke? Shipped: {SHIPPED}"
    assert refused("plan", "x/y.yaml") == f"x/y.yaml: {nothing} Shipped: {SHIPPED}"
    assert refused("plan", str(tmp_path)) == f"{tmp_path}: {nothing} Shipped: {SHIPPED}"
    assert refused("plan", "{rouns: 3}") == "recipe: rouns is not a key. Did you mean rounds?"
    (tmp_path / "r.yaml").write_bytes(b"name: \xff\xfe")
    assert "r.yaml: cannot be read as UTF-8 text" in refused("plan", str(tmp_path / "r.yaml"))


@pytest.mark.parametrize("name", ["~nobody-of-this-name/r.yaml", "r" * 5000])
def test_a_path_that_no_system_takes_is_one_line_too(name, refused):
    assert refused("plan", name).startswith(f"{name}: ")


def test_a_folder_that_is_no_run_and_a_run_that_is_complete_cannot_be_resumed(refused, tmp_path):
    assert refused("resume", str(tmp_path)) == f"{tmp_path} is not a run folder: it has no recipe.yaml"
    (tmp_path / "recipe.yaml").write_text("rounds: 3\n")
    (tmp_path / "rounds.jsonl").write_text(json.dumps({"schema": 1, "kind": "end", "state": "completed"}) + "\n")
    again = f"qflock run {tmp_path / 'recipe.yaml'}"
    assert refused("resume", str(tmp_path)) == f"{tmp_path} is complete; run its recipe again with: {again}"


def test_the_installed_command_says_it_on_stderr_and_exits_with_2(tmp_path):
    command = [Path(sys.executable).with_name("qflock"), "plan", "smoke", "--set", "rounds=0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    line = "error: --set rounds=0: rounds is 0; it must be a whole number from 1 to 10000\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_a_models_relative_path_is_relative_to_its_recipe_and_a_hub_id_stays(tmp_path):
    text = "teacher: {kind: lora, model: ./llm}\nfeatures: {encoder: hidden, model: owner/name}\n"
    (tmp_path / "r.yaml").write_text(text)
    recipe = load(str(tmp_path / "r.yaml"))
    assert recipe.teacher.model == str(tmp_path / "llm")
    assert recipe.features.model == "owner/name"


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ("q_proj", 'teacher.targets is "q_proj"; it must be a list of text'),
        ("[1]", "teacher.targets is [1]; it must be a list of text"),
        ("[]", "teacher.targets is []; it must name each module once, and at least one"),
        ("[a, a]", 'teacher.targets is ["a", "a"]; it must name each module once, and at least one'),
    ],
)
def test_a_list_holds_what_its_key_says(targets, reason):
    with pytest.raises(RecipeError) as raised:
        load("smoke", [f"teacher.targets={targets}"])
    assert str(raised.value) == f"--set teacher.targets={targets}: {reason}"


def test_a_recipes_own_sweep_is_combined_as_the_command_line_would_and_is_nothing_to_a_run(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "extends: smoke\nsweep: {clients: [2, 3], regulate: [{law: none}, {law: dynamic}]}\n"
    )
    own = str(tmp_path / "own.yaml")
    assert replace(load(own), name="smoke") == load("smoke")
    combinations = grid(sweep_of(own))
    laws = [(one.clients, one.regulate.law) for one in (load(own, changes) for changes in combinations)]
    assert laws == [(2, "none"), (2, "dynamic"), (3, "none"), (3, "dynamic")]
    assert sweep_of("smoke") == sweep_of(load("smoke").as_json()) == []


@pytest.mark.parametrize("said", ["[1]", "3", "{clients: 5}", "{clients: []}"])
def test_a_sweep_that_holds_no_lists_is_refused(said, tmp_path):
    (tmp_path / "own.yaml").write_text(f"extends: smoke\nsweep: {said}\n")
    with pytest.raises(RecipeError, match=r"^own.yaml: sweep is .*; it must hold lists of values"):
        sweep_of(str(tmp_path / "own.yaml"))


def test_a_default_that_changes_is_noticed_since_a_digest_does_not_hold_it():
    known = json.loads((Path(__file__).parent / "golden" / "defaults.json").read_text(encoding="utf-8"))
    now = json.loads(DEFAULTS.as_json())
    assert now == known, "a new key: add it to golden/defaults.json; another default: run the studies anew"


def test_a_key_that_is_added_with_a_default_names_no_run_anew(monkeypatch):
    before, whole = load("smoke").digest(), schema.asdict
    monkeypatch.setattr(schema, "asdict", lambda one: whole(one) | {"new": 3, "group": {"of": 1}})
    assert load("smoke").digest() == before


@pytest.mark.parametrize("kind", ["vqc", "qcnn", "reupload", "layered", "noop"])
def test_a_recipe_written_when_the_generator_had_no_activation_is_the_same_recipe(kind):
    """Runs wrote every section down, also those that their student does not read."""
    others = {"layered": {"readout": "dense", "entanglement": "circular"}, "noop": {"twin": False}}
    student = {"kind": kind, **others.get(kind, {})}
    search = {"optimiser": {"kind": "minibatch"}} if kind == "layered" else {}
    old = load(json.dumps({**search, "student": student | {"generator": {"activation": "none"}}}))
    assert old == load(json.dumps({**search, "student": student}))
    written = yaml.safe_load(as_yaml(old))
    assert "generator" not in written["student"]
    assert load(json.dumps(written)) == old
