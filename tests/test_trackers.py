"""TensorBoard and MLflow are told what the ledger says, each number once, and cost a run nothing when they fail."""

import json
import logging
import math
from dataclasses import replace

import pytest
from flwr.app import Error

from recipes.load import load
from recipes.section import InputError, RecipeError
from server import trackers
from server.folder import new_folder
from server.ledger import Ledger, lines, untimed
from server.plan import priced
from server.ready import ready
from server.resume import unfinished
from server.trackers import FOLDER, STORE, TRACKERS, Follower, followers, points
from strategies.wire import assigned

SHORT = "rounds=3 clients=2 data.rows=20"
BOTH = "trackers=[tensorboard,mlflow]"
needed = pytest.mark.trackers  # their packages


class FakeTracker:
    """Remembers; fails at the round that `breaks` names."""

    made: list["FakeTracker"] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, recipe, folder, breaks=0):
        self.points, self.state, self.breaks = [], "", breaks
        self.made.append(self)

    def add(self, point):
        if point[0] == self.breaks:
            raise OSError("disk full")
        self.points.append(point)

    def end(self, state):
        self.state = state


@pytest.fixture
def fake(monkeypatch):
    """`fake(breaks)`: both trackers are fakes."""

    def put(breaks=0):
        for name in TRACKERS:
            monkeypatch.setitem(TRACKERS, name, ("json", lambda recipe, folder: FakeTracker(recipe, folder, breaks)))
        monkeypatch.setattr(FakeTracker, "made", [])
        return FakeTracker.made

    return put


def without(monkeypatch, name):
    monkeypatch.setitem(TRACKERS, name, ("no_such_package", TRACKERS[name][1]))


def dying_in_round(number):
    """All clients are lost from a round on, as when a run is killed there."""

    def act(client, message):
        asked = assigned(message)
        return Error(0, "killed") if asked.kind == "train" and asked.round >= number else None

    return act


def of_rounds(folder):
    """(round, tag, value) of what a ledger has to tell."""
    return sorted((line.get("round", 0), key, value) for line in lines(folder) for key, value in points(line).items())


def test_trackers_are_off_by_default_and_leave_a_recipe_its_digest_and_its_equals():
    off, on = load("smoke"), load("smoke", [BOTH])
    assert off.trackers == ()
    assert on.trackers == ("tensorboard", "mlflow")
    assert on.digest() == off.digest()
    assert {on, off} == {off}
    assert json.loads(on.as_json())["trackers"] == ["tensorboard", "mlflow"]


def test_a_tracker_that_is_not_known_is_refused():
    with pytest.raises(RecipeError, match=r"trackers is \[.wandb.\]; it must be a list of tensorboard or mlflow"):
        load("smoke", ["trackers=[wandb]"])


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_without_its_package_is_one_line_before_anything_starts(name, monkeypatch, tmp_path):
    without(monkeypatch, name)
    recipe = load("noop", [f"trackers=[{name}]"])
    for refusing in (priced, lambda recipe: ready(recipe, fetch=False), lambda recipe: followers(recipe, tmp_path, [])):
        with pytest.raises(InputError, match=rf"^trackers has {name}, .* not here: pip install 'qflock\[{name}\]'$"):
            refusing(recipe)


def test_every_line_is_told_once_it_is_written_and_a_run_that_goes_on_tells_what_is_kept(fake, tmp_path):
    made, ledger = fake(), Ledger(tmp_path)
    recipe = load("smoke", ["trackers=[tensorboard]"])
    ledger.followers = followers(recipe, tmp_path, [])
    for number in (1, 2, 3):
        ledger.append({"kind": "round", "round": number, "arms": {}, "bytes_up": number, "seconds": {"at": 5.0}})
    ledger.append({"kind": "end", "state": "failed", "seconds": {}})
    assert [point[0] for point in made[0].points] == [1, 2, 3]
    assert made[0].points[0][1:] == (5.0, {"bytes_up": 1.0})
    assert made[0].state == "failed"
    ledger.rewind(2)
    ledger.followers = followers(recipe, tmp_path, lines(tmp_path))
    ledger.append({"kind": "round", "round": 3, "arms": {}, "bytes_up": 30, "seconds": {}})
    assert [point[2]["bytes_up"] for point in made[1].points] == [1, 2, 30]


def test_a_tracker_that_fails_is_left_behind_with_a_warning_and_the_ledger_goes_on(fake, tmp_path, caplog):
    made, ledger = fake(breaks=2), Ledger(tmp_path)
    ledger.followers = followers(load("smoke", ["trackers=[mlflow]"]), tmp_path, [])
    with caplog.at_level(logging.WARNING, trackers.log.name):
        for number in (1, 2, 3):
            ledger.append({"kind": "round", "round": number, "arms": {}, "bytes_up": 1})
    assert caplog.messages == ["mlflow gets no more of this run: disk full"]
    assert len(made[0].points) == 1
    assert len(lines(tmp_path)) == 3


@pytest.mark.parametrize("error", [RuntimeError("(sqlite3.DatabaseError)\nno database"), FileExistsError("is a file")])
def test_whatever_a_tracker_raises_at_its_start_or_later_leaves_it_behind_once(
    error, fake, tmp_path, caplog, monkeypatch
):
    made, ledger = fake(), Ledger(tmp_path)

    def broken(*told):
        raise error

    monkeypatch.setitem(TRACKERS, "mlflow", ("json", broken))
    monkeypatch.setattr(FakeTracker, "end", broken)
    with caplog.at_level(logging.WARNING, trackers.log.name):
        ledger.followers = followers(load("smoke", [BOTH]), tmp_path, [])
        ledger.append({"kind": "round", "round": 1, "arms": {}, "bytes_up": 1})
        for _ in range(2):
            ledger.append({"kind": "end", "state": "completed"})
    said = " ".join(str(error).split())
    assert caplog.messages == [f"{name} gets no more of this run: {said}" for name in ("mlflow", "tensorboard")]
    assert (len(made), len(made[0].points), len(lines(tmp_path))) == (1, 1, 3)


def test_a_number_that_is_not_there_is_no_point():
    client = {"student_loss": 0.5, "evaluations": 3, "shots": 0, "maxiter": None}
    part = {"reference_loss": math.nan, "reference_accuracy": 0.5, "clients": {"0": client}, "admitted": [0]}
    said = points({"kind": "round", "round": 1, "arms": {"student": part}, "bytes_up": 7})
    assert said == {
        "student/reference_accuracy": 0.5,
        "student/mean_student_loss": 0.5,
        "student/evaluations": 3,
        "student/shots": 0,
        "student/admitted": 1,
        "bytes_up": 7,
    }


def test_a_run_may_take_a_tracker_when_it_goes_on(tmp_path):
    folder = new_folder(load("smoke"), tmp_path)
    file = folder / "recipe.yaml"
    file.write_text(file.read_text().replace("trackers: []", "trackers: [tensorboard]"))
    assert unfinished(folder).trackers == ("tensorboard",)


def resumed(run_here, override):
    """A run that died in round 2 and went on, and its ledger."""
    config = {"recipe": "noop", "override": f"{SHORT} {override}"}
    with pytest.raises(Exception, match="0 usable reports"):
        run_here("run", config, 2, act=dying_in_round(2))
    return run_here("run", config, 2)


def test_a_run_that_dies_and_goes_on_tells_its_ledger_once_and_no_bit_of_it_changes(fake, run_here):
    made = fake()
    folder = resumed(run_here, BOTH)
    assert len(made) == 4
    for one in made[2:]:
        assert one.state == "completed"
        told = sorted((step, key, value) for step, _, said in one.points for key, value in said.items())
        assert told == of_rounds(folder)
    assert {"student/test_accuracy", "student/reference_loss", "bytes_up"} <= {key for _, key, _ in told}
    plain = run_here("plain", {"recipe": "noop", "override": SHORT}, 2)
    first, second = ([untimed(line) for line in lines(one) if line["kind"] != "prepare"] for one in (folder, plain))
    assert first == second


@needed
def test_tensorboard_reads_back_every_number_once(run_here):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = resumed(run_here, "trackers=[tensorboard]")
    read = EventAccumulator(str(folder / FOLDER)).Reload()
    found = sorted((one.step, tag, one.value) for tag in read.Tags()["scalars"] for one in read.Scalars(tag))
    expected = of_rounds(folder)
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected], rel=1e-6)
    at = {one.step: one.wall_time for one in read.Scalars("student/reference_loss")}
    assert at == {line["round"]: line["seconds"]["at"] for line in lines(folder) if line["kind"] == "round"}


@needed
def test_a_tensorboard_that_watches_while_a_run_goes_on_shows_no_round_twice(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = load("smoke", ["trackers=[tensorboard]"])
    line = {"kind": "round", "arms": {}, "bytes_up": 1}
    watching = EventAccumulator(str(tmp_path / FOLDER))
    for rounds in ((1, 2, 3), (1, 2)):
        follow = Follower("tensorboard", recipe, tmp_path)
        for number in rounds:
            follow(line | {"round": number})
        watching.Reload()
    assert [one.step for one in watching.Scalars("bytes_up")] == [1, 2]


@needed
def test_mlflow_reads_back_every_number_once_and_the_recipe(run_here, tmp_path):
    folder = resumed(run_here, "trackers=[mlflow]")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / STORE}")
    home = client.get_experiment_by_name("noop").experiment_id
    (run,) = client.search_runs([home])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.tags["digest"] == load("noop", SHORT.split()).digest()
    assert run.data.params["data.rows"] == "20"
    found = [
        (one.step, key, one.value)
        for key in run.data.metrics
        for one in client.get_metric_history(run.info.run_id, key)
    ]
    assert sorted(found) == of_rounds(folder)


@needed
def test_mlflow_keeps_the_runs_of_one_recipe_side_by_side(tmp_path):
    from mlflow.tracking import MlflowClient

    recipe = load("smoke", ["trackers=[mlflow]"])
    for seed in (0, 1):
        follow = Follower("mlflow", replace(recipe, seed=seed), new_folder(recipe, tmp_path, f"seed-{seed}"))
        follow({"kind": "end", "state": "failed" if seed else "completed"})
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / STORE}")
    runs = client.search_runs([client.get_experiment_by_name("smoke").experiment_id])
    assert {run.data.params["seed"]: run.info.status for run in runs} == {"0": "FINISHED", "1": "FAILED"}


@needed
def test_mlflow_replaces_a_run_whose_name_has_a_quote(tmp_path, caplog):
    from mlflow.tracking import MlflowClient

    recipe = load("smoke", ["trackers=[mlflow]"])
    folder = new_folder(recipe, tmp_path, "it's")
    for _ in range(2):
        Follower("mlflow", recipe, folder)({"kind": "end", "state": "completed"})
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / STORE}")
    (run,) = client.search_runs([client.get_experiment_by_name("smoke").experiment_id])
    assert (run.info.run_name, run.info.status) == ("it's", "FINISHED")
    assert not [one for one in caplog.messages if "gets no more" in one]


@needed
@pytest.mark.parametrize(("name", "file"), [("mlflow", STORE), ("tensorboard", f"run/{FOLDER}")])
def test_a_store_that_is_damaged_is_a_warning(name, file, tmp_path, caplog):
    recipe = load("smoke", [f"trackers=[{name}]"])
    folder = new_folder(recipe, tmp_path, "run")
    (tmp_path / file).write_bytes(b"not a database " * 100)
    with caplog.at_level(logging.WARNING, trackers.log.name):
        assert Follower(name, recipe, folder).tracker is None
    assert sum(one.startswith(f"{name} gets no more of this run: ") for one in caplog.messages) == 1
