"""Federations that use their teachers: what travels, who learns from whom, and what every rule changes."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Error
from numpy.testing import assert_allclose, assert_array_equal

from client import round as visits
from client.lessons import attend
from client.participant import participant
from data.corpus import DataError
from recipes.load import load
from recipes.schema import TeacherConfig
from recipes.section import InputError
from server import checkpoint
from server.folder import as_yaml
from server.ledger import lines, untimed
from server.live import row_cells
from server.outcome import outcome, refuse_untaught
from server.plan import federating, growing
from server.summary import learned, regulated
from strategies.adapters import RULES
from strategies.failure import RunFailedError
from strategies.wire import assigned, count_bytes
from teacher.size import adapted, most_ranks
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
        (folder / "recipe.yaml").write_text(as_yaml(load("smoke", override)))
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
    priced = (
        f"adapters of {ADAPTER:,} a client in round 1, at most {ADAPTER:,} back and from round 2 on, {3 * ADAPTER:,} "
    )
    assert federating(recipe, 2) == f"{priced}in all"
    state = checkpoint.newest(folder, recipe.digest())
    mean = averaged(recipe, [tuned(who) for who in clients])
    for name, array in mean.items():
        assert_allclose(state.teacher[name], array, atol=1e-6)
    teacher = TinyTeacher(2)
    teacher.load_adapter(state.teacher)
    for who in clients:
        rows = who.share.validation
        wanted = held_out(teacher.soft_labels(rows.texts, 1.0), rows.labels)
        for line in (second, third):
            said = line["arms"]["student"]["clients"][str(who.number)]
            names = ("loss", "accuracy", "f1", "precision", "recall")
            assert tuple(said[f"teacher_{name}"] for name in names) == wanted
        own = first["arms"]["student"]["clients"][str(who.number)]
        assert own["teacher_loss"] != wanted[0]


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
    assert regulated(rounds(folder), "adaptive") == said
    assert regulated(rounds(folder), "none") == f"ρ > 1 in {seen['behind']} of 6 client-rounds; no law acts on it"


def test_a_regulation_that_never_fires_is_called_inert():
    clients = {"0": {"rho": 0.0, "requested": 9, "maxiter": 9}, "1": {"rho": 0.7, "requested": 9, "maxiter": 9}}
    line = {"arms": {"student": {"clients": clients}}}
    assert regulated([line], "adaptive") == "regulation inert: ρ > 1 in none of 1 client-rounds after the first"
    assert regulated([line], "none") == "ρ > 1 in 0 of 1 client-rounds; no law acts on it"
    assert regulated([], "none") == ""


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


def test_a_client_that_cannot_tune_its_teacher_says_why_and_learns_from_the_others(go, monkeypatch):
    overrides = ("teacher.federate=average", "rounds=2", "distil.weight=1", "data.labelled=0.5")
    recipe, tune = load("smoke", [*SMALL, *overrides]), TinyTeacher.tune

    def fails(self, texts, *rows):
        if texts == participant(recipe.as_json(), 1).share.train.texts:
            raise InputError("one class only")
        return tune(self, texts, *rows)

    monkeypatch.setattr(TinyTeacher, "tune", fails)
    _, folder = go("run", *overrides)
    first, second = rounds(folder)
    assert (first["failed"], second["failed"]) == ({"1": "sent 0 adapters, not 1"}, {})
    without, beside = (first["arms"]["student"]["clients"][client] for client in "12")
    assert without["note"] == "no teacher of its own: one class only"
    assert [without[f"teacher_{name}"] for name in ("loss", "accuracy", "f1")] == [None] * 3
    assert (without["divergence"], without["terms"]) == (0.0, {})
    others = [first["arms"]["student"]["clients"][client] for client in "02"]
    assert first["arms"]["student"]["gap"] == pytest.approx(
        np.average([c["student_loss"] - c["teacher_loss"] for c in others], weights=[c["examples"] for c in others])
    )
    assert (without["examples"], beside["examples"]) == (18, 36)  # hidden labels without a teacher are no use
    later = second["arms"]["student"]["clients"]["1"]  # the global teacher is there, and nobody has to tune
    assert (later["note"], later["examples"]) == ("", 36)
    assert later["teacher_loss"] > 0


def test_a_federation_without_any_teacher_is_the_plain_one_and_says_so(go, monkeypatch):
    def fails(*_):
        raise DataError("no space left on device")

    plain = go("plain", "teacher.kind=none", "regulate.law=none")
    monkeypatch.setattr(TinyTeacher, "tune", fails)
    asks = ("regulate.law=adaptive", "aggregate.tau=3", "distil.weight=1", "stop.delta=9", "stop.patience=1")
    failed = go("failed", *asks)
    assert thetas(*failed) == thetas(*plain)
    assert [line["arms"]["student"]["gap"] for line in rounds(failed[1])] == [None] * 3
    clients = [client for line in rounds(failed[1]) for client in line["arms"]["student"]["clients"].values()]
    assert {(c["rho"], c["teacher_loss"], c["divergence"]) for c in clients} == {(0.0, None, 0.0)}
    said = [str(line) for line in learned(rounds(failed[1]), failed[0])]
    assert said[0] == "3 of 3 clients have no teacher: no teacher of its own: no space left on device"
    assert learned(rounds(plain[1]), plain[0]) == []
    refuse_untaught(outcome(plain[1]))
    with pytest.raises(InputError) as refused:
        refuse_untaught(outcome(failed[1]))
    assert str(refused.value) == (
        f"{failed[1]}: no client had a teacher (no teacher of its own: no space left on device); mend that, delete the "
        "folder and run it again"
    )


def test_a_client_without_a_teacher_is_left_out_of_what_is_said_of_teachers(go, monkeypatch):
    tune, unlucky = TinyTeacher.tune, []

    def fails(self, texts, *rows):
        unlucky.append(texts)
        if texts == unlucky[0]:
            raise InputError("one class only")
        return tune(self, texts, *rows)

    monkeypatch.setattr(TinyTeacher, "tune", fails)
    recipe, folder = go("run", "regulate.law=none")
    last = rounds(folder)[-1]["arms"]["student"]["clients"].values()
    known = [client["teacher_loss"] for client in last if client["teacher_loss"] is not None]
    lack, teachers, regulation = (str(line) for line in learned(rounds(folder), recipe))
    assert lack == "1 of 3 clients have no teacher: no teacher of its own: one class only"
    assert teachers.startswith(f"teachers: held out {np.mean(known):.3f} nats")
    assert "mean of 2 clients" in teachers
    assert regulation.endswith(" of 4 client-rounds; no law acts on it")
    refuse_untaught(outcome(folder))
    assert row_cells(rounds(folder)[-1], recipe, rounds(folder))[0][5] == f"{np.mean(known):.3f}"


@pytest.mark.parametrize(
    ("rule", "merged_rank", "ranks"),
    [("exact", 0, [4, 12, 20, 20]), ("exact", 6, [4, 6, 6, 6]), ("average", 0, [4] * 4)],
)
def test_the_ranks_of_averaged_products_add_up_until_a_module_has_no_more(rule, merged_rank, ranks, monkeypatch):
    monkeypatch.setattr("server.plan.most_ranks", lambda config: 20)
    config = TeacherConfig(kind="lora", rank=4, federate=rule, rounds=3, merged_rank=merged_rank)
    assert growing(config, 3) == ranks


def test_no_product_has_more_ranks_than_the_smaller_side_of_the_widest_module(tiny_llm):
    config = TeacherConfig(kind="lora", model=str(tiny_llm()), targets=("q_proj", "v_proj"))
    shapes = [module.weight.shape for module in adapted(config)]
    assert most_ranks(config) == max(min(shape) for shape in shapes) > 1
