"""Federations that use their teachers: what travels, who learns from whom, and that every rule changes what it should."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Error
from numpy.testing import assert_allclose, assert_array_equal

from client import round as visits
from client.lessons import attend, path
from client.participant import participant
from recipes.load import load
from server import checkpoint
from server.ledger import lines, untimed
from server.summary import regulated
from strategies import collect
from strategies.adapters import RULES
from strategies.failure import RunFailedError
from strategies.messages import Assignment, Tuned
from strategies.wire import assigned, count_bytes
from teacher.soft_labels import held_out
from teacher.tiny import TinyTeacher

SMALL = ["features.buckets=64", "data.rows=60", "optimiser.maxiter=18", "regulate.cap=25", "clients=3"]
ADAPTER = count_bytes(TinyTeacher(2).adapter())
DIED = "<class 'ray.exceptions.ActorDiedError'>:<'The actor died unexpectedly.'>"


@pytest.fixture
def go(run_here):
    """`go(name, *overrides)`: the recipe and the folder of a whole run."""

    def start(name, *overrides, **keys):
        override = [*SMALL, *overrides]
        folder = run_here(name, {"recipe": "smoke", "rounds": 0, "override": " ".join(override)}, 3, **keys)
        return load("smoke", override), folder

    return start


def rounds(folder):
    return [line for line in lines(folder) if line["kind"] == "round"]


def thetas(recipe, folder):
    state = checkpoint.newest(folder, recipe.digest())
    return {name: arm.arrays["theta"].tobytes() for name, arm in state.arms.items()}


def tuned(who, adapter=None):
    """The oracle: a tiny teacher by hand."""
    teacher, share = TinyTeacher(who.n_classes), who.share
    if adapter:
        teacher.load_adapter(adapter)
    teacher.tune(share.train.texts, share.train.labels, share.validation.texts, share.validation.labels)
    return teacher.adapter()


def averaged(recipe, adapters):
    weights = [len(participant(recipe.as_json(), client).share.train) for client in range(3)]
    return {
        name: np.average([one[name] for one in adapters], axis=0, weights=weights).astype(np.float32)
        for name in adapters[0]
    }


@pytest.mark.parametrize("rule", RULES)
def test_the_averaged_teacher_travels_down_once_and_teaches_from_the_next_round(rule, go):
    recipe, folder = go("run", f"teacher.federate={rule}", "distil.weight=1")
    first, second, third = rounds(folder)
    clients = [participant(recipe.as_json(), client) for client in range(3)]
    assert first["teacher"]["clients"] == {str(w.number): {"examples": len(w.share.train)} for w in clients}
    assert "teacher" not in second
    assert first["bytes_up"] - second["bytes_up"] == second["bytes_down"] - third["bytes_down"] == 3 * ADAPTER
    assert first["bytes_down"] == third["bytes_down"]
    state = checkpoint.newest(folder, recipe.digest())
    mean = averaged(recipe, [tuned(who) for who in clients])
    for name, array in mean.items():
        assert_allclose(state.teacher[name], array, atol=1e-6)
    teacher = TinyTeacher(2)
    teacher.load_adapter(state.teacher)
    for who in clients:
        rows = who.share.validation
        loss, accuracy, _ = held_out(teacher.soft_labels(rows.texts, 1.0), rows.labels)
        for line in (second, third):
            said = line["arms"]["student"]["clients"][str(who.number)]
            assert (said["teacher_loss"], said["teacher_accuracy"]) == (loss, accuracy)
        own = first["arms"]["student"]["clients"][str(who.number)]
        assert own["teacher_loss"] != loss


def test_a_teacher_that_is_tuned_for_two_rounds_goes_on_from_the_average(go):
    recipe, folder = go("run", "teacher.federate=average", "teacher.rounds=2")
    clients = [participant(recipe.as_json(), client) for client in range(3)]
    mean = averaged(recipe, [tuned(who) for who in clients])
    mean = averaged(recipe, [tuned(who, mean) for who in clients])
    state = checkpoint.newest(folder, recipe.digest())
    assert (state.teacher_round, ["teacher" in line for line in rounds(folder)]) == (2, [True, True, False])
    for name, array in mean.items():
        assert_allclose(state.teacher[name], array, atol=1e-5)


def test_a_run_that_is_interrupted_and_resumed_has_the_same_teacher_and_the_same_ledger(go):
    overrides = ("teacher.federate=average", "teacher.rounds=2", "distil.weight=1", "rounds=4", "aggregate.tau=2")

    def dies(client, message):
        asked = assigned(message)
        return Error(0, DIED) if (client, asked.kind, asked.round) == (1, "train", 3) else None

    recipe, whole = go("whole", *overrides)
    with pytest.raises(RunFailedError):
        go("broken", *overrides, act=dies)
    _, broken = go("broken", *overrides, shuffle=5)
    assert [untimed(line) for line in rounds(broken)] == [untimed(line) for line in rounds(whole)]
    assert thetas(recipe, broken) == thetas(recipe, whole)
    states = [checkpoint.newest(folder, recipe.digest()) for folder in (whole, broken)]
    assert states[0].teacher_round == states[1].teacher_round == 2
    for name, array in states[0].teacher.items():
        assert states[1].teacher[name].tobytes() == array.tobytes()


CHANGES = {
    "distillation": ["distil.weight=2"],
    "its temperature": ["distil.weight=2", "distil.temperature=7"],
    "the proximal pull": ["distil.proximal=5"],
    "hidden labels": ["data.labelled=0.3"],
    "hidden labels with soft ones": ["data.labelled=0.3", "distil.weight=2"],
    "the weight of a divergence": ["aggregate.tau=5"],
    "power of choice": ["select.by=power-of-choice", "select.percent=40", "select.candidates=70"],
    "a global teacher": ["distil.weight=2", "teacher.federate=average"],
}


def test_every_rule_moves_student_and_twin_elsewhere(go):
    found = {name: thetas(*go(name.replace(" ", "-"), "rounds=2", *changes)) for name, changes in CHANGES.items()}
    found["plain"] = thetas(*go("plain", "rounds=2"))
    for arm in ("student", "twin"):
        assert len({theta[arm] for theta in found.values()}) == len(found)


def test_what_changes_nothing_by_default_changes_no_bit(go):
    plain = go("plain", "rounds=2")
    same = go("same", "rounds=2", "aggregate.tau=0", "distil.temperature=5", "data.labelled=1")
    assert thetas(*same) == thetas(*plain)
    assert [untimed(line) for line in rounds(same[1])] == [untimed(line) for line in rounds(plain[1])]


def test_angles_near_each_other_average_on_the_circle_as_on_the_line_and_the_twin_to_the_bit(go):
    one, other = (go(mean, "rounds=2", f"aggregate.mean={mean}") for mean in ("line", "circular"))
    line, circle = ({k: np.frombuffer(v, np.float32) for k, v in thetas(*run).items()} for run in (one, other))
    assert_array_equal(circle["twin"], line["twin"])
    assert_allclose(circle["student"], line["student"], atol=1e-2)


def test_a_federation_stops_once_its_students_are_within_delta_of_their_teachers(go):
    _, folder = go("run", "stop.delta=5", "stop.patience=2", "rounds=9")
    assert len(rounds(folder)) == 2
    assert lines(folder)[-1]["reason"] == "converged"
    arm = rounds(folder)[-1]["arms"]["student"]
    clients = arm["clients"].values()
    behind = np.average(
        [c["student_loss"] - c["teacher_loss"] for c in clients], weights=[c["examples"] for c in clients]
    )
    assert arm["gap"] == pytest.approx(behind)


def test_the_ledger_says_where_the_student_is_behind_and_what_was_asked_for(go):
    _, folder = go("run", "regulate.cap=19")
    first, *later = rounds(folder)
    assert first["arms"]["student"]["behind"] == 0
    assert all(client["rho"] == 0 for client in first["arms"]["student"]["clients"].values())
    before = first
    seen = {"behind": 0, "capped": 0}
    for line in later:
        arm = line["arms"]["student"]
        for number, client in arm["clients"].items():
            loss = before["arms"]["student"]["clients"][number]["student_loss"]
            assert client["rho"] == pytest.approx(loss / client["teacher_loss"])
            assert client["maxiter"] == min(client["requested"], 19)
            capped = client["requested"] > 19
            assert ("adaptive asked for" in client["note"]) == capped
            seen["capped"] += capped
        assert arm["behind"] == sum(client["rho"] > 1 for client in arm["clients"].values())
        seen["behind"] += arm["behind"]
        before = line
    held = f", the law held at its cap in {seen['capped']}" if seen["capped"] else ""
    said = f"regulation: ρ > 1 in {seen['behind']} of 6 client-rounds after the first{held}"
    assert seen["behind"] > 0
    assert regulated(rounds(folder)) == said


def test_a_regulation_that_never_fires_is_called_inert():
    clients = {"0": {"rho": 0.0, "requested": 9, "maxiter": 9}, "1": {"rho": 0.7, "requested": 9, "maxiter": 9}}
    assert regulated([{"arms": {"student": {"clients": clients}}}]) == (
        "regulation inert: ρ > 1 in none of 1 client-rounds after the first"
    )


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """`alone(*overrides)`: client 1 of a recipe, with a memory of its own."""
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))
    participant.cache_clear()
    return lambda *overrides: participant(load("smoke", [*SMALL, *overrides]).as_json(), 1)


def ask(number=1, **keys):
    return Assignment(kind="train", run="run", recipe_digest="", round=number, **keys)


def test_a_teacher_is_loaded_only_when_there_is_something_new_to_ask(alone, monkeypatch):
    who = alone("teacher.federate=average", "distil.weight=1")
    made = []
    new = who.new_teacher
    monkeypatch.setattr(who, "new_teacher", lambda: made.append(1) or new())
    own, sent, _ = attend(who, ask(1))
    assert [one.examples for one in sent] == [len(who.share.train)]
    other = {name: -array for name, array in sent[0].arrays.items()}
    attend(who, ask(2, teacher=other, teacher_round=1))
    assert len(made) == 2
    taught, sent, note = attend(who, ask(3, teacher_round=1))
    assert (len(made), sent, note) == (2, [], "")
    assert taught.loss > own.loss
    assert_allclose(taught.soft.sum(axis=1), 1)
    assert len(taught.soft) == len(who.share.train)


def test_frozen_factors_stay_at_home_and_come_back_with_the_average(alone, monkeypatch):
    """A teacher with a LoRA pair, whose A is the same wherever it is made."""

    class Pair(TinyTeacher):
        def __init__(self, n_classes):
            self.pair = {"layer/A": np.full((2, 3), 7.0, np.float32), "layer/B": np.zeros((3, 2), np.float32)}
            super().__init__(n_classes)

        def adapter(self):
            return super().adapter() | self.pair

        def load_adapter(self, adapter):
            self.pair |= {name: adapter[name] for name in self.pair if name in adapter}
            super().load_adapter({name: adapter[name] for name in ("weight", "bias")})

    made = []
    who = alone("teacher.federate=ffa", "teacher.rounds=2")
    monkeypatch.setattr(who, "new_teacher", lambda: made.append(Pair(who.n_classes)) or made[-1])
    _, (sent,), _ = attend(who, ask(1))
    assert set(sent.arrays) == {"weight", "bias", "layer/B"}
    moved = sent.arrays | {"layer/B": np.ones((3, 2), np.float32)}
    _, (again,), _ = attend(who, ask(2, teacher=moved, teacher_round=1))
    assert_array_equal(again.arrays["layer/B"], 1)
    assert_array_equal(made[-1].pair["layer/A"], 7)


def test_lost_lessons_are_noted_and_the_own_teacher_speaks_again(alone):
    who = alone("teacher.federate=average", "distil.weight=1")
    own, (sent,), _ = attend(who, ask(1))
    attend(who, ask(2, teacher={name: -array for name, array in sent.arrays.items()}, teacher_round=1))
    path(who, "run", 1).unlink()
    kept, _, note = attend(who, ask(3, teacher_round=1))
    assert note == "the teacher of round 1 was lost, its own one teaches"
    assert (kept.loss, kept.accuracy) == (own.loss, own.accuracy)


def test_hidden_labels_are_gone_from_all_that_a_client_holds(alone):
    full, tenth = alone("data.labelled=1"), alone("data.labelled=0.1", "distil.weight=1")
    rows, few, hidden = full.share.train, tenth.share.train, tenth.share.unlabelled
    assert few.texts + hidden.texts == rows.texts
    assert len(few) == int(np.ceil(0.1 * len(rows)))
    assert_array_equal(few.labels, rows.labels[: len(few)])
    assert not hidden.labels.size
    assert not len(full.share.unlabelled)
    for part in ("validation", "test"):
        assert getattr(tenth.share, part).texts == getattr(full.share, part).texts
    lessons, _, _ = attend(tenth, ask(1))
    oracle = TinyTeacher(2)
    oracle.load_adapter(tuned(tenth))
    assert_array_equal(lessons.soft, oracle.soft_labels(rows.texts, 2.0))


@pytest.mark.parametrize(("weight", "used"), [(0, 4), (1, 36)])
def test_a_report_counts_the_rows_that_the_student_was_fitted_on(weight, used, alone):
    who = alone("data.labelled=0.1", f"distil.weight={weight}")
    shared = {}
    for stage in who.stages:
        arrays = stage.initial(0)
        for _ in range(stage.exchanges):
            here = shared | {f"{stage.name}/{key}": array for key, array in arrays.items()}
            arrays = stage.merge(arrays, [who.statistics(stage.name, here)], [4])
        shared |= {f"{stage.name}/{key}": array for key, array in arrays.items()}
    arms = {name: arm.initial(0) for name, arm in who.arms.items()}
    reports = visits.train(who, ask(1, shared=shared, arms=arms))
    assert [(report.arm, report.examples) for report in reports] == [("student", used), ("twin", used)]
    assert all(report.divergence > 0 for report in reports)


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


def test_under_exact_aggregation_ranks_may_differ_but_a_pair_must_fit():
    torn = lora() | {"l/B": np.ones((5, 3), np.float32)}
    usable, failed = collect.adapters(sent(lora(2), lora(4), torn), {}, asked=True, any_rank=True)
    assert [one.client for one in usable] == [0, 1]
    assert failed == {2: "adapter: l/B is float32[5, 3]; expected float32[5, 4]"}


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


def test_a_client_without_a_usable_adapter_is_named_and_its_student_still_counts(go, monkeypatch):
    def broken(who, assignment):
        lessons, tuned_, note = attend(who, assignment)
        if who.number == 1:
            tuned_ = [replace(one, arrays=one.arrays | {"bias": np.full(2, np.inf, np.float32)}) for one in tuned_]
        return lessons, tuned_, note

    monkeypatch.setattr(visits, "attend", broken)
    _, folder = go("run", "teacher.federate=average", "rounds=1")
    (line,) = rounds(folder)
    assert line["failed"] == {"1": "adapter: bias holds 2 values that are not finite"}
    assert sorted(line["teacher"]["clients"]) == ["0", "2"]
    assert sorted(line["arms"]["student"]["clients"]) == ["0", "1", "2"]


def test_a_client_that_cannot_tune_its_teacher_says_why_and_the_others_go_on(go, monkeypatch):
    tune = TinyTeacher.tune

    def fails(self, texts, *rows):
        if texts == participant(recipe.as_json(), 1).share.train.texts:
            raise ValueError("one class only")
        return tune(self, texts, *rows)

    recipe = load("smoke", [*SMALL, "teacher.federate=average", "rounds=2"])
    monkeypatch.setattr(TinyTeacher, "tune", fails)
    _, folder = go("run", "teacher.federate=average", "rounds=2")
    first, second = rounds(folder)
    assert first["failed"] == {"1": "ValueError: one class only"}
    assert second["failed"] == {}  # the global teacher is there, and nobody has to tune
