"""The federation's rounds against scripted and real clients: who replies when changes nothing, who fails is named."""

import copy
import json
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict

from recipes.load import load
from server import checkpoint, prepare
from server.ledger import Ledger, lines, untimed
from server.roster import NOBODY, Roster
from strategies import compose
from strategies.aggregation import AGGREGATORS
from strategies.compose import Federated
from strategies.exchange import NO_REPLY, deadline, hear, one_line, visit
from strategies.failure import RunFailedError
from strategies.messages import Answer, Assignment, Refusal, Report, Score, Tuned
from strategies.selection import SELECTORS
from strategies.state import ArmState, State
from strategies.wire import assign, assigned, parcel, reply

DIED = "<class 'ray.exceptions.ActorDiedError'>:<'The actor died unexpectedly.'>"  # as Flower words it

NAN = float("nan")
SMALL = ("features.buckets=64", "data.rows=40", "optimiser.maxiter=18", "regulate.cap=25")


def recipe_of(*overrides):
    return load("noop", ["clients=4", "rounds=3", *overrides])


class ScriptedClients:
    """Clients that move every array towards their own target; `script` maps (client, round) to what they do instead.

    A script is a function of the honest reply and the message: a reply, an Error, or None for silence.
    """

    def __init__(self, script=None):
        self.script = script or {}
        self.heard = []  # (client, round, arms, memory_round)

    def __call__(self, client, message):
        asked = assigned(message)
        self.heard.append((client, asked.round, tuple(sorted(asked.arms)), asked.memory_round))
        said = self.honest(client, asked)
        act = self.script.get((client, asked.round if asked.kind == "train" else asked.kind))
        if act:
            said = act(said, message)
        return reply(said, message, asked.recipe_digest) if isinstance(said, Answer | list | Score | Refusal) else said

    def honest(self, client, asked):
        if asked.kind == "prepare":
            return Answer(client=client, examples=10, arrays={}, seconds=0.01)
        if asked.kind == "score":
            scores = dict.fromkeys(asked.arms, client / 10)
            return Score(
                client=client,
                examples=10 + client,
                accuracy=scores,
                loss=scores,
                confusion={arm: [[10 + client, 0], [0, 0]] for arm in asked.arms},
                majority=0.5,
                logistic=0.6,
                head=0.6,
                shots=0,
                seconds=0.01,
            )
        return [self.report(client, arm, arrays) for arm, arrays in asked.arms.items()]

    def report(self, client, arm, arrays):
        moved = {name: (array + (client + 1 - array) / 3).astype(array.dtype) for name, array in arrays.items()}
        loss = float(abs(arrays["theta"] - client).mean())
        facts = {
            "student_loss": loss,
            "student_accuracy": 0.5,
            "teacher_loss": 0.4,
            "teacher_accuracy": 0.9,
            "teacher_f1": 0.9,
        }
        facts |= {"maxiter": 10, "evaluations": 9, "shots": 0, "seconds": 0.01}
        return Report(client=client, arm=arm, arrays=moved, examples=10 + 7 * client, **facts)


CORPUS = {"source": "here", "rows": 60, "digest": "abc"}
MOST = 10_000  # bytes of a message


def fresh(arms=("student", "twin")):
    return State(arms={name: ArmState(arrays={"theta": np.zeros(3, np.float32)}) for name in arms})


def reference(arm, arrays):
    return float((arrays["theta"] ** 2).mean()) + 1.0, 0.5


class FixedRoster:
    """Nobody leaves, nobody joins."""

    most_bytes = MOST

    def __init__(self, nodes, clients):
        self.nodes, self.clients = nodes, clients

    def rejoin(self, lost):
        pass


class Rounds:
    """One federation over a FakeGrid, with what it wrote."""

    def __init__(self, grid_of, recipe, clients, state=None, shuffle=0, save=None, fuse=None):
        self.lines, self.saved, self.clients = [], [], clients
        self.state = state or fresh()
        self.grid = grid_of(clients, recipe.clients, shuffle)
        nodes = {client: node for node, client in self.grid.clients.items()}
        self.federated = Federated(
            recipe,
            run="run",
            roster=FixedRoster(dict(sorted(nodes.items())), self.grid.clients),
            state=self.state,
            reference=reference,
            record=self.lines.append,
            save=save or (lambda state: self.saved.append(copy.deepcopy(state))),
            fuse=fuse,
        )

    def start(self):
        self.result = self.federated.start(self.grid)
        return self

    @property
    def rounds(self):
        return [line for line in self.lines if line["kind"] == "round"]

    def thetas(self):
        return {name: arm.arrays["theta"].tobytes() for name, arm in self.state.arms.items()}


@pytest.fixture
def go(grid_of):
    def start(recipe=None, script=None, **keys):
        return Rounds(grid_of, recipe or recipe_of(), ScriptedClients(script), **keys).start()

    return start


@pytest.mark.parametrize("rule", SELECTORS)
@pytest.mark.parametrize("rules", ["invite", "admit"])
def test_the_order_of_arrival_changes_neither_the_ledger_nor_a_bit(rule, rules, go):
    recipe = recipe_of(f"select.by={rule}", f"select.rules={rules}", "clients=6")
    runs = [go(recipe, shuffle=shuffle) for shuffle in range(6)]
    assert len({json.dumps([untimed(line) for line in run.lines]) for run in runs}) == 1
    assert len({tuple(run.thetas().items()) for run in runs}) == 1
    assert [line["kind"] for line in runs[0].lines] == ["round"] * 3 + ["score"]


def in_sequence(name, number, mean, updates):
    """A fusion, as feddf's, in which every update counts by its place."""
    return {"theta": sum((update["theta"] / 2**place for place, update in enumerate(updates)), mean["theta"])}


LAYERED = "student={kind: layered, readout: dense, entanglement: circular}"
FUSED = {"feddf": [LAYERED, "optimiser.kind=minibatch", "data.public_rows=10"]}  # what these rules ask of a recipe


@pytest.mark.parametrize("by", AGGREGATORS)
def test_whatever_aggregates_the_order_of_arrival_is_nothing(by, go):
    recipe = recipe_of("clients=6", f"aggregate.by={by}", *FUSED.get(by, []))
    fuse = in_sequence if by in FUSED else None
    runs = [go(recipe, shuffle=shuffle, fuse=fuse) for shuffle in range(3)]
    assert len({json.dumps([untimed(line) for line in run.lines]) for run in runs}) == 1
    assert len({tuple(run.thetas().items()) for run in runs}) == 1


def test_a_round_is_the_weighted_mean_of_what_was_reported(go):
    run = go(recipe_of("rounds=1"))
    sent = [(client + 1) / 3 for client in range(4)]
    mean = np.average(np.array(sent, np.float32), weights=[10, 17, 24, 31])
    np.testing.assert_allclose(run.state.arms["student"].arrays["theta"], mean, rtol=1e-6)
    arm = run.rounds[0]["arms"]["student"]
    assert arm["reference_loss"] == reference("student", run.state.arms["student"].arrays)[0]
    assert arm["admitted"] == arm["invited"] == [0, 1, 2, 3]
    assert run.rounds[0]["bytes_down"] == run.rounds[0]["bytes_up"] == 4 * 2 * 3 * 4  # clients × arms × floats
    assert arm["clients"][2] == {
        "examples": 24,
        "student_loss": 2.0,
        "student_accuracy": 0.5,
        "teacher_loss": 0.4,
        "teacher_accuracy": 0.9,
        "teacher_f1": 0.9,
        "teacher_precision": None,
        "teacher_recall": None,
        "maxiter": 10,
        "evaluations": 9,
        "shots": 0,
        "requested": 0,
        "rho": 0.0,
        "divergence": 0.0,
        "terms": {},
        "note": "",
    }


def test_scores_are_pooled_over_the_clients_rows(go):
    score = go().lines[-1]
    assert score["arms"]["student"]["accuracy"] == pytest.approx(
        np.average([0.0, 0.1, 0.2, 0.3], weights=[10, 11, 12, 13])
    )
    assert score["majority"] == pytest.approx(0.5)
    assert sorted(score["clients"]) == [0, 1, 2, 3]


def told(said, message):
    return Refusal(client=1, reason="no rows today")


def with_first(**changes):
    """The honest reports with the first of them changed."""
    return lambda said, message: [replace(said[0], **changes), *said[1:]]


def theta(*values):
    return {"theta": np.array(values, np.float32)}


def raises(said, message):
    return Error(2, "<class 'ValueError'>:<'client boom'>")


FAILURES = {
    "refuses": (told, "no rows today"),
    "raises": (raises, "ValueError: client boom"),
    "is unreachable": (lambda *_: Error(5, ""), "Flower error 5"),
    "stays silent": (lambda *_: None, "no reply within 0 s"),
    "sends NaN": (with_first(arrays=theta(0, NAN, NAN)), "student: theta holds 2 values that are not finite"),
    "sends a wrong shape": (with_first(arrays=theta(0, 1)), "student: theta is float32[2]; expected float32[3]"),
    "sends another type": (
        with_first(arrays={"theta": np.zeros(3)}),
        "student: theta is float64[3]; expected float32[3]",
    ),
    "sends no arrays": (with_first(arrays={}), "student: sent no arrays; expected theta"),
    "has a loss that is none": (with_first(student_loss=NAN), "student: student_loss is nan"),
    "trained on nothing": (with_first(examples=0), "student: trained on 0 rows"),
    "claims another id": (with_first(client=3), "says it is client 3"),
    "reports an arm nobody knows": (
        with_first(arm="other"),
        "reports on other, which it was not asked to train; sent no report on student",
    ),
    "answers another question": (
        lambda *_: Answer(client=1, examples=1, arrays={}, seconds=0.0),
        "sent answer, not reports",
    ),
    "breaks both arms": (
        lambda said, _: [replace(report, examples=0) for report in said],
        "student: trained on 0 rows; twin: trained on 0 rows",
    ),
    "leaves an arm out": (lambda said, _: said[1:], "sent no report on student"),
}


@pytest.mark.parametrize(("act", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_client_that_fails_is_a_named_line_and_the_round_goes_on_with_the_others(act, reason, go):
    run = go(recipe_of("deadline_seconds=0.2"), {(1, 2): act})
    assert [line["failed"] for line in run.rounds] == [{}, {1: reason}, {}]
    assert sorted(run.rounds[1]["arms"]["student"]["clients"]) == [0, 2, 3]
    assert sorted(run.rounds[2]["arms"]["student"]["clients"]) == [0, 1, 2, 3]


def test_a_report_that_comes_twice_counts_once_and_is_named(go):
    run = go(script={(1, 2): lambda said, _: [*said, said[0]]})
    assert run.rounds[1]["failed"] == {1: "reports on student twice"}
    assert run.thetas() == go().thetas()


def test_a_client_that_failed_starts_from_the_round_before(go):
    run = go(script={(1, 2): told})
    assert [memory for client, *_, memory in run.clients.heard if client == 1] == [0, 1, 1, 3]


def test_what_one_arm_spoils_does_not_touch_the_other(go):
    spoilt = go(script={(1, 2): with_first(examples=0)})
    sound = go()
    assert sorted(spoilt.rounds[1]["arms"]["twin"]["clients"]) == [0, 1, 2, 3]
    assert spoilt.thetas()["twin"] == sound.thetas()["twin"]
    assert spoilt.thetas()["student"] != sound.thetas()["student"]


@pytest.mark.parametrize("pushed", [[], [None]])
def test_a_node_that_has_left_is_named_too(pushed, grid_of):
    """Flower's grids give no id for a message to a node that is no longer registered."""
    run = Rounds(grid_of, recipe_of("rounds=1", "deadline_seconds=0.2"), ScriptedClients())
    push, gone = run.grid.push_messages, run.federated.roster.nodes[1]
    run.grid.push_messages = lambda messages: (
        pushed if [m.metadata.dst_node_id for m in messages] == [gone] else push(messages)
    )
    run.start()
    assert list(run.rounds[0]["failed"]) == [1]
    assert sorted(run.rounds[0]["arms"]["student"]["clients"]) == [0, 2, 3]


def test_too_few_reports_end_the_run_with_every_reason_in_one_line(grid_of):
    script = {(0, 2): told, (1, 2): raises, (3, 2): with_first(student_loss=NAN)}
    run = Rounds(grid_of, recipe_of(), ScriptedClients(script))
    with pytest.raises(RunFailedError) as failed:
        run.start()
    assert str(failed.value) == (
        "round 2: 1 usable reports on student, min_reports is 2; client 0: no rows today; "
        "client 1: ValueError: client boom; client 3: student: student_loss is nan"
    )
    assert [line["round"] for line in run.lines] == [1, 2]
    assert run.lines[-1]["arms"] == {}
    assert sorted(run.lines[-1]["failed"]) == [0, 1, 3]
    assert [state.round for state in run.saved] == [1]


def test_min_reports_is_what_a_round_needs(go):
    script = {(0, 2): told, (1, 2): told}
    assert go(recipe_of("min_reports=2"), script).state.round == 3
    with pytest.raises(RunFailedError, match="2 usable reports on student, min_reports is 3"):
        go(recipe_of("min_reports=3"), script)


def test_too_few_for_the_aggregator_end_the_run_too(grid_of):
    recipe = recipe_of("clients=5", "aggregate.by=krum")
    run = Rounds(grid_of, recipe, ScriptedClients({(1, 2): told}))
    with pytest.raises(RunFailedError) as failed:
        run.start()
    assert str(failed.value) == (
        "round 2: 4 usable reports on student, 4 may enter the average, and krum needs 5; client 1: no rows today"
    )
    assert [(line["round"], line["failed"]) for line in run.lines] == [(1, {}), (2, {1: "no rows today"})]


def test_too_few_admitted_for_the_aggregator_end_the_run_too(grid_of):
    recipe = recipe_of("clients=10", "aggregate.by=krum", "select.by=uniform", "select.percent=50")
    run = Rounds(grid_of, recipe, ScriptedClients({(client, 1): told for client in (1, 2)}))
    with pytest.raises(RunFailedError, match="8 usable reports on student, 4 may enter the average, and krum needs 5"):
        run.start()


def test_a_dead_actor_ends_the_run_at_once(grid_of):
    died = "<class 'ray.exceptions.ActorDiedError'>:<'The actor died unexpectedly.'>"
    run = Rounds(grid_of, recipe_of(), ScriptedClients({(1, 2): lambda *_: Error(0, died)}))
    with pytest.raises(RunFailedError, match=r"^a simulation process died \(killed, or out of memory\)"):
        run.start()
    assert [line["round"] for line in run.rounds] == [1]


def test_a_client_that_cannot_score_is_named_and_the_others_are_pooled(go):
    score = go(script={(0, "score"): raises}).lines[-1]
    assert score["failed"] == {0: "ValueError: client boom"}
    assert score["arms"]["twin"]["accuracy"] == pytest.approx(np.average([0.1, 0.2, 0.3], weights=[11, 12, 13]))


@pytest.mark.parametrize(
    "act",
    [
        lambda said, _: replace(said, accuracy={}, loss={}),
        lambda said, _: replace(said, client=2),
        lambda said, _: replace(said, examples=0),
        lambda said, _: replace(said, loss={"student": NAN, "twin": 1.0}),
    ],
    ids=["no arms", "another id", "no rows", "not a number"],
)
def test_a_score_that_cannot_be_used_is_named(act, go):
    assert list(go(script={(0, "score"): act}).lines[-1]["failed"]) == [0]


def test_nobody_who_can_score_is_a_failed_run(grid_of):
    run = Rounds(grid_of, recipe_of(), ScriptedClients({(client, "score"): raises for client in range(4)}))
    with pytest.raises(RunFailedError, match=r"^no client could score the final arrays: client 0: ValueError: client"):
        run.start()
    assert run.lines[-1]["kind"] == "score"


def test_invite_asks_fewer_and_admit_averages_fewer(go):
    select = ("select.by=uniform", "select.percent=50")
    invited = go(recipe_of(*select, "select.rules=invite"))
    admitted = go(recipe_of(*select, "select.rules=admit"))
    first, *later = (line["arms"]["student"] for line in invited.rounds)
    assert first["invited"] == [0, 1, 2, 3]  # nobody's loss is known yet
    for arm in later:
        assert len(arm["invited"]) == 2
        assert arm["admitted"] == arm["invited"] == sorted(arm["clients"])
    for arm in (line["arms"]["student"] for line in admitted.rounds):
        assert arm["invited"] == sorted(arm["clients"]) == [0, 1, 2, 3]
        assert len(arm["admitted"]) == 2
    asked = [(client, number) for client, number, *_ in invited.clients.heard]
    assert len(asked) == 4 + 2 + 2 + 4  # the last four score


def test_only_what_is_admitted_enters_the_mean(go):
    run = go(recipe_of("rounds=1", "select.by=alignment", "select.percent=25"))
    (chosen,) = run.rounds[0]["arms"]["student"]["admitted"]
    np.testing.assert_allclose(run.state.arms["student"].arrays["theta"], (chosen + 1) / 3, rtol=1e-6)


def test_a_run_that_has_converged_stops_and_is_scored(go):
    run = go(recipe_of("rounds=50", "stop.epsilon=0.01", "stop.patience=2"))
    last = run.rounds[-1]
    assert 3 < last["round"] < 50
    losses = [line["arms"]["student"]["reference_loss"] for line in run.rounds]
    changes = [abs(now - before) / before for before, now in pairwise(losses)]
    assert max(changes[-2:]) < 0.01 <= max(changes[-3:-1])
    assert [line["arms"]["student"]["converged"] for line in run.rounds] == [False] * (len(losses) - 1) + [True]
    assert run.lines[-1]["kind"] == "score"


def test_an_arm_that_has_converged_is_no_longer_sent_and_keeps_its_arrays(go):
    state = fresh()
    state.arms["twin"].converged = True
    run = go(state=state)
    assert [list(line["arms"]) for line in run.rounds] == [["student"]] * 3
    assert {arms for _, number, arms, _ in run.clients.heard if number < 3} == {("student",)}
    assert not run.state.arms["twin"].arrays["theta"].any()
    assert set(run.lines[-1]["arms"]) == {"student", "twin"}


@pytest.mark.parametrize("rule", SELECTORS)
@pytest.mark.parametrize("rules", ["invite", "admit"])
@pytest.mark.parametrize("by", ["fedavg", "fedexp"])
def test_a_run_resumed_from_its_checkpoint_is_the_run_that_was_not_interrupted(
    rule, rules, by, grid_of, tmp_path, monkeypatch
):
    monkeypatch.setattr("strategies.arm.stride", lambda *_: 1.5)
    recipe = recipe_of(f"select.by={rule}", f"select.rules={rules}", f"aggregate.by={by}", "rounds=5")
    whole = Rounds(grid_of, recipe, ScriptedClients()).start()
    interrupted = {(client, 4): lambda *_: Error(0, DIED) for client in range(4)}

    def save(state):
        checkpoint.save(tmp_path, state, recipe.digest())

    first = Rounds(grid_of, recipe, ScriptedClients(interrupted), save=save)
    with pytest.raises(RunFailedError):
        first.start()
    state = checkpoint.newest(tmp_path, recipe.digest())
    assert state.round == 3
    for arm in state.arms.values():
        assert np.array_equal(arm.start()["theta"], arm.arrays["theta"]) == (by == "fedavg")
    second = Rounds(grid_of, recipe, ScriptedClients(), state=state, shuffle=1, save=save).start()
    assert second.thetas() == whole.thetas()

    def written(found):
        return [json.dumps(untimed(line), sort_keys=True) for line in found]

    assert written(first.rounds + second.lines) == written(whole.lines)


def test_real_clients_that_are_interrupted_and_resumed_write_the_same_ledger(run_here):
    config = {"recipe": "smoke", "rounds": 4, "override": " ".join([*SMALL, "clients=3"])}
    whole = run_here("whole", config, 3)

    def dies(client, message):
        asked = assigned(message)
        return Error(0, DIED) if (client, asked.kind, asked.round) == (1, "train", 3) else None

    with pytest.raises(RunFailedError):
        run_here("broken", config, 3, act=dies)
    broken = run_here("broken", config, 3, shuffle=5)
    for kinds in (["round", "score", "end"], ["prepare"]):
        old, new = ([untimed(line) for line in lines(folder) if line["kind"] in kinds] for folder in (whole, broken))
        assert new[: len(old)] == old
    recipe = load("smoke", [*SMALL, "clients=3", "rounds=4"])
    states = [checkpoint.newest(folder, recipe.digest()) for folder in (whole, broken)]
    for name, arm in states[0].arms.items():
        assert states[1].arms[name].arrays["theta"].tobytes() == arm.arrays["theta"].tobytes()
    assert "completed" in (broken / "report.html").read_text()


def test_a_run_that_fails_says_why_in_its_last_line(run_here, tmp_path):
    config = {"recipe": "smoke", "rounds": 0, "override": " ".join(SMALL)}

    def act(client, message):
        return reply(Refusal(client=client, reason="no rows today"), message, "") if assigned(message).round else None

    with pytest.raises(RunFailedError):
        run_here("failing", config, 2, act=act)
    last = lines(tmp_path / "failing")[-1]
    assert (last["kind"], last["state"]) == ("end", "failed")
    assert last["reason"].endswith("client 0: no rows today; client 1: no rows today")


HELLO = ["clients=3", "rounds=1", "features.buckets=64", "data.rows=40"]


@pytest.fixture
def meet(grid_of, monkeypatch):
    """A roster with clients that are numbered as told, and half a second to join."""
    monkeypatch.setattr("server.roster.JOIN_SECONDS", 0.5)

    def met(recipe, answer, numbers, shuffle=0):
        written = []
        grid = grid_of(answer, len(numbers), shuffle, numbers=numbers)
        try:
            roster = Roster(grid, recipe, "run", CORPUS, MOST)
            roster.meet(written.append)
            return roster.nodes, written[0], grid
        except RunFailedError as error:
            return str(error), written[0], grid

    return met


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_every_client_is_found_whatever_its_node_is_called(order, meet):
    nodes, line, grid = meet(recipe_of(), ScriptedClients(), order)
    assert list(nodes) == [0, 1, 2, 3]
    assert all(grid.clients[node] == client for client, node in nodes.items())
    assert (line["clients"], line["failed"]) == ([0, 1, 2, 3], {})


def test_a_node_that_joins_late_is_met_too(grid_of):
    grid = grid_of(ScriptedClients(), 4)
    late = grid.clients.popitem()
    asked = iter(range(100))
    here = grid.get_node_ids
    grid.get_node_ids = lambda: (grid.clients.update([late]) if next(asked) == 2 else None, here())[1]
    roster = Roster(grid, recipe_of(), "run", CORPUS, MOST)
    roster.meet(lambda line: None)
    assert list(roster.nodes) == [0, 1, 2, 3]
    assert len(grid.sent) == 4


def test_a_node_that_dies_while_it_is_greeted_is_met_once_it_is_back(grid_of):
    grid = Restarts(grid_of(ScriptedClients(), 4), lambda asked: True)
    roster, written = Roster(grid, recipe_of(), "run", CORPUS, MOST), []
    roster.meet(written.append)
    assert roster.nodes[1] == Restarts.AGAIN
    assert (written[0]["clients"], written[0]["failed"]) == ([0, 1, 2, 3], {})


def test_two_nodes_with_one_id_are_told_apart_by_a_reason(meet):
    nodes, line, _ = meet(recipe_of(), ScriptedClients(), (0, 1, 1, 2))
    assert list(nodes) == [0, 1, 2]
    assert line["failed"] == {3: "answers as a client that another node already is: give each its own partition-id"}


def test_a_client_that_nobody_is_does_not_stop_the_others(meet):
    nodes, line, _ = meet(recipe_of(), ScriptedClients(), (0, 2, 3))
    assert list(nodes) == [0, 2, 3]
    assert line["failed"] == {1: NOBODY}


def test_too_few_clients_end_the_run(meet):
    said, line, _ = meet(recipe_of(), ScriptedClients(), (2,))
    assert said == f"1 of 4 clients can take part; client 0: {NOBODY}"
    assert sorted(line["failed"]) == [0, 1, 3]


@pytest.fixture
def real(meet):
    """Real clients of one recipe, met by the server of another."""

    def met(server_side, client_side, n_nodes, numbers):
        from flwr.app import Context, RecordDict

        from client.app import app

        def answer(client, message):
            node = {"partition-id": client, "num-partitions": n_nodes}
            config = {"recipe": client_side.as_json(), "rounds": 0, "override": ""}
            return app(message, Context(1, message.metadata.dst_node_id, node, RecordDict(), config))

        return meet(server_side, answer, numbers)

    return met


def test_a_federation_of_another_size_is_refused_with_both_remedies(real):
    recipe = load("smoke", HELLO)
    said, line, _ = real(recipe, recipe, 2, (0, 1))
    assert said == (
        "0 of 3 clients can take part; client 0: RecipeError: the federation has 2 clients "
        "and the recipe smoke says clients: 3. "
        "Simulate that many (flwr run . --federation-config 'num-supernodes=3'), "
        "or change the recipe (--run-config 'override=\"clients=2\"')"
    )
    assert sorted(line["failed"]) == [0, 1, 2]


def test_another_recipe_on_the_node_is_refused(real):
    ours, theirs = load("smoke", HELLO), load("smoke", [*HELLO, "seed=1"])
    said, *_ = real(ours, theirs, 3, (0, 1, 2))
    assert said == (
        f"0 of 3 clients can take part; client 0: RecipeError: the server runs recipe {ours.digest()}, this node reads "
        f"{theirs.digest()} (smoke): give both the same app and recipe file"
    )


def test_a_node_without_an_id_is_told_how_to_get_one(real):
    recipe = load("smoke", HELLO)
    said, *_ = real(recipe, recipe, 3, (-1, -1, -1))
    assert "this node's partition-id is -1; start it with --node-config 'partition-id=K num-partitions=3'" in said


class Counting:
    """A stage that counts rows: everyone answers with its share, the sum is agreed on, twice."""

    name, exchanges, size = "counting", 2, 1

    def initial(self, seed):
        return {"sum": np.zeros(2)}

    def merge(self, arrays, answers, examples):
        return {"sum": arrays["sum"] + sum(answer["part"] * n for answer, n in zip(answers, examples, strict=True))}


class Known:
    """A roster that was met before; nobody leaves."""

    most_bytes = MOST

    def __init__(self, grid):
        self.clients = dict(grid.clients)
        self.nodes = {client: node for node, client in sorted(grid.clients.items(), key=lambda item: item[1])}

    def rejoin(self, lost):
        pass


@pytest.fixture
def agree(grid_of):
    """prepare.agree on one Counting stage; every client answers with its id."""

    def agreed(script=None, shuffle=0):
        recipe = recipe_of("deadline_seconds=0.2")

        def answer(client, message):
            said = Answer(client=client, examples=2, arrays={"part": np.full(2, float(client))}, seconds=0.01)
            if script and client in script:
                said = script[client](said)
            return reply(said, message, recipe.digest()) if isinstance(said, Answer | Refusal) else said

        grid = grid_of(answer, 4, shuffle)
        written = []
        try:
            return prepare.agree(grid, recipe, "run", Known(grid), [Counting()], written.append), written, grid
        except RunFailedError as error:
            return str(error), written, grid

    return agreed


@pytest.mark.parametrize("shuffle", range(4))
def test_a_stage_is_agreed_on_in_as_many_exchanges_as_it_asks_for(shuffle, agree):
    shared, written, grid = agree(shuffle=shuffle)
    np.testing.assert_array_equal(shared["counting/sum"], [24.0, 24.0])  # 2 exchanges × 2 rows × (0 + 1 + 2 + 3)
    assert [(line["exchange"], line["clients"], line["failed"]) for line in written] == [
        (1, [0, 1, 2, 3], {}),
        (2, [0, 1, 2, 3], {}),
    ]
    assert [line["bytes_down"] for line in written] == [line["bytes_up"] for line in written] == [64, 64]
    assert [assigned(message).shared["counting/sum"][0] for message in grid.sent[::4]] == [0.0, 12.0]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda said: Refusal(client=2, reason="no rows today"), "no rows today"),
        (lambda said: Error(2, "<class 'ValueError'>:<'boom'>"), "ValueError: boom"),
        (lambda said: None, "no reply within 0 s"),
        (lambda said: replace(said, arrays={"part": np.full(2, NAN)}), "part holds 2 values that are not finite"),
        (lambda said: replace(said, arrays={"part": np.zeros(3)}), "part is float64[3]; expected float64[2]"),
        (lambda said: replace(said, arrays={}), "sent no arrays; expected part"),
        (lambda said: replace(said, client=0), "says it is client 0"),
    ],
    ids=["refuses", "raises", "silent", "NaN", "wrong shape", "no arrays", "another id"],
)
def test_a_client_without_a_usable_answer_is_named_and_left_out(act, reason, agree):
    shared, written, _ = agree({2: act})
    assert [line["failed"] for line in written] == [{2: reason}] * 2
    np.testing.assert_array_equal(shared["counting/sum"], [16.0, 16.0])


def test_too_few_answers_to_a_stage_end_the_run(agree):
    said, written, _ = agree(dict.fromkeys(range(3), lambda said: Refusal(client=0, reason="no rows")))
    assert said == (
        "counting: 1 usable answers, min_reports is 2; client 0: no rows; client 1: no rows; client 2: no rows"
    )
    assert written[-1]["clients"] == [3]


def test_a_deadline_is_the_recipes_or_ten_times_the_slowest_and_at_least_a_minute():
    assert deadline(7.0, 1000.0) == 7.0
    assert deadline(None, 0.0) == 3600.0
    assert deadline(None, 0.5) == 60.0
    assert deadline(None, 20.0) == 200.0
    assert [deadline(None, slowest, unlike=True) for slowest in (0.5, 400.0)] == [3600.0, 4000.0]
    assert deadline(7.0, 0.5, unlike=True) == 7.0


def with_adapter(said, message):
    return [*said, Tuned(client=said[0].client, arrays={"weight": np.ones(2, np.float32)}, examples=10)]


@pytest.mark.parametrize(
    ("overrides", "script", "patience"),
    [
        ([], {(1, 1): raises}, [3600, 3600, 60, 60, 60]),  # client 1 tunes in round 2
        (["teacher.federate=average"], {}, [3600, 3600, 60, 60, 60]),  # round 2 asks the average
        (["teacher.federate=average", "teacher.rounds=2"], {}, [3600, 3600, 3600, 60, 60]),
        (["teacher.kind=none"], {(1, 1): raises}, [3600, 60, 60, 60, 60]),
        (["teacher.federate=average", "deadline_seconds=7"], {}, [7] * 5),
    ],
)
def test_a_quick_round_does_not_hurry_one_in_which_teachers_may_be_tuned(overrides, script, patience, go, monkeypatch):
    """Round 1 takes no time, as one whose tunings were kept."""
    waited = []
    monkeypatch.setattr(compose, "visit", lambda *given: (waited.append(given[-1]), visit(*given))[1])
    recipe = recipe_of("rounds=4", *overrides)
    tuned = range(1, recipe.teacher.rounds + 1 if recipe.teacher.federate != "none" else 1)
    go(recipe, {(client, number): with_adapter for client in range(4) for number in tuned} | script)
    assert waited == patience


def test_replies_stand_in_the_order_of_the_messages_with_the_silent_in_their_place(grid_of):
    grid = grid_of(ScriptedClients({(2, 1): lambda *_: None}), 4, shuffle=3)
    facts = {"kind": "train", "run": "r", "recipe_digest": "d", "most_bytes": MOST}
    hello = Assignment(**facts, round=1, arms={"student": theta(0, 0, 0)})
    packed = parcel({}, hello.arms)
    replies = visit(grid, [assign(hello, node, packed) for node in grid.clients], 0.1)
    assert [reply_.metadata.src_node_id for reply_ in replies] == list(grid.clients)
    assert replies[2].error.code == NO_REPLY
    assert [hear(reply_, "d", MOST)[0].client for reply_ in replies if not reply_.has_error()] == [0, 1, 3]


@pytest.mark.parametrize(
    ("a_look", "looks"), [(0.0001, (200, 400)), (0.02, (90, 105)), (0.05, (40, 45)), (1.0, (9, 10))]
)
def test_a_visit_looks_less_often_where_a_look_takes_long(a_look, looks, monkeypatch):
    now, asked = [0.0], []

    def look(waiting):
        asked.append(now[0])
        now[0] += a_look
        return []

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr("strategies.exchange.time", clock)
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
    grid = SimpleNamespace(push_messages=lambda messages: ["one"], pull_messages=look)
    (reply,) = visit(grid, [message], 10.0)
    assert reply.error.code == NO_REPLY
    assert looks[0] <= len(asked) <= looks[1]
    assert asked[-1] >= 10 > asked[-2]  # the last look comes after the deadline


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("<class 'ValueError'>:<'what'>", "ValueError: what"),
        ("<class 'data.corpus.DataError'>:<'3 rows; it's > 2'>", "DataError: 3 rows; it's > 2"),
        ("Traceback (most recent call last):\n  File ...\nKeyError: 'theta'\n\n", "KeyError: 'theta'"),
        ("already one line", "already one line"),
        ("  \n ", ""),
    ],
)
def test_a_failure_of_flower_reads_like_a_refusal(reason, line):
    assert one_line(reason) == line


def test_a_ledger_of_a_federation_can_be_read_back(go, tmp_path):
    ledger, run = Ledger(tmp_path), go(script={(1, 2): told})
    for line in run.lines:
        ledger.append(line)
    assert lines(tmp_path)[1]["failed"] == {"1": "no rows today"}
    assert [line["kind"] for line in lines(tmp_path)] == ["round"] * 3 + ["score"]


class Restarts:
    """A grid whose client 1 dies once, in a visit, and comes back, as a killed SuperNode does.

    It comes back on another node, or with `keeps` on its own after it was missed for a while: its key is its own.
    """

    AGAIN = 10**6

    def __init__(self, grid, dies_in, keeps=False):
        self.grid, self.dies_in, self.clients = grid, dies_in, grid.clients  # dies_in(assignment) says in which visit
        self.keeps, self.away, self.looks = keeps, None, 0

    def get_node_ids(self):
        self.looks -= 1
        if self.away and self.looks < 0:
            self.clients[self.away], self.away = 1, None
        return self.grid.get_node_ids()

    def push_messages(self, messages):
        for message in messages:
            asked = assigned(message)
            node = message.metadata.dst_node_id
            if self.clients.get(node) == 1 and self.dies_in(asked):
                self.dies_in = lambda asked: False
                del self.clients[node]
                if self.keeps:
                    self.away, self.looks = node, 1
                else:
                    self.clients[self.AGAIN] = 1
                return []
        return self.grid.push_messages(messages)

    def pull_messages(self, ids):
        return self.grid.pull_messages(ids)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("on_loss", ["repeat", "continue"])
def test_a_client_whose_node_dies_is_asked_again_or_left_out_of_the_round(on_loss, keeps, grid_of):
    recipe = recipe_of("rounds=3", f"on_loss={on_loss}")
    calm, shaken = (
        federation_on(
            grid_of(ScriptedClients(), 4),
            recipe,
            lambda asked, dies=dies: asked.kind == "train" and asked.round == dies,
            keeps,
        )
        for dies in (None, 2)
    )
    failures = [line["failed"] for line in shaken if line["kind"] == "round"]
    if on_loss == "repeat":
        assert [untimed(line) for line in shaken] == [untimed(line) for line in calm]
    else:
        assert failures == [{}, {1: "its node has left the federation"}, {}]
        assert sorted(shaken[-2]["arms"]["student"]["clients"]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("on_loss", "total", "present"), [("repeat", 24.0, [0, 1, 2, 3]), ("continue", 22.0, [0, 2, 3])]
)
def test_a_client_whose_node_dies_in_a_stage_is_asked_again_or_left_out_of_the_exchange(
    on_loss, total, present, grid_of
):
    def answer(client, message):
        said = Answer(client=client, examples=2, arrays={"part": np.full(2, float(client))}, seconds=0.01)
        return reply(said, message, assigned(message).recipe_digest)

    recipe, written = recipe_of("deadline_seconds=0.2", f"on_loss={on_loss}"), []
    grid = Restarts(grid_of(answer, 4), lambda asked: bool(asked.stage))
    roster = Roster(grid, recipe, "run", CORPUS, MOST)
    roster.meet(lambda line: None)
    shared = prepare.agree(grid, recipe, "run", roster, [Counting()], written.append)
    assert [line["clients"] for line in written] == [present, [0, 1, 2, 3]]
    np.testing.assert_array_equal(shared["counting/sum"], [total, total])


def federation_on(grid, recipe, dies_in, keeps):
    """The lines that a federation writes with a real roster over a grid that may lose a node."""
    lines, grid = [], Restarts(grid, dies_in, keeps)
    roster = Roster(grid, recipe, "run", CORPUS, MOST)
    roster.meet(lambda line: None)
    federated = Federated(
        recipe,
        run="run",
        roster=roster,
        state=fresh(),
        reference=reference,
        record=lines.append,
        save=lambda state: None,
    )
    federated.start(grid)
    return lines
