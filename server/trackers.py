"""Trackers that people already use, fed with the ledger's lines: TensorBoard's event files, MLflow's local store.

The ledger stays the truth. A tracker begins with the lines that are kept, so that a run that goes on has no point
twice, and the recipe.yaml of a run may name it for the first time before `qflock resume`. One that fails, at its start
or later, is left behind with a warning; it does not cost the run.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from recipes.schema import Recipe
from recipes.section import InputError
from server.folder import run_name
from server.ledger import Line
from server.record import mean, number, total

log = logging.getLogger(f"flwr.{__name__}")

FOLDER, STORE = "tensorboard", "mlflow.db"  # in a run's folder; beside it, one for all runs
LARGEST_BATCH = 100  # parameters that MLflow takes at once
Point = tuple[int, float, dict[str, float]]  # round, seconds since 1970, name → value


class Tracker(Protocol):
    """Where the numbers of one run go."""

    def add(self, point: Point) -> None:
        """Take the numbers of a round."""

    def end(self, state: str) -> None:
        """Take the news that no more come."""


class TensorBoard:
    """Event files in RUN/tensorboard: `tensorboard --logdir runs`."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        self.event, self.summary = Event, Summary
        home = folder / FOLDER
        home.mkdir(exist_ok=True)
        name = f".{time.time_ns()}"  # another in the same second is another file
        self.file = EventsWriter(str(home / "events"), name)  # writes at once; one with a thread hides its errors
        restart = SessionLog(status=SessionLog.SessionStatus.Value("START"))
        self.file.write_event(Event(wall_time=time.time(), step=0, session_log=restart))  # readers forget older files

    def add(self, point: Point) -> None:
        step, at, values = point
        said = self.summary(value=[self.summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self.file.write_event(self.event(wall_time=at, step=step, summary=said))
        self.file.flush()

    def end(self, state: str) -> None:
        self.file.close()


class MLflow:
    """A run of the experiment that is called as the recipe, in RUNS/mlflow.db."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self.metric = Metric
        path = folder.parent / STORE
        with FileLock(path.with_suffix(".lock")):  # runs of a sweep would all make the tables
            self.client = MlflowClient(tracking_uri=f"sqlite:///{path}")
            known = self.client.get_experiment_by_name(recipe.name)
            home = known.experiment_id if known else self.client.create_experiment(recipe.name)
        name = run_name(folder)
        quote = '"' if "'" in name else "'"  # its filters know no escape
        for old in self.client.search_runs([home], f"tags.mlflow.runName = {quote}{name}{quote}"):
            self.client.delete_run(old.info.run_id)
        self.run = self.client.create_run(home, run_name=name, tags={"digest": recipe.digest()}).info.run_id
        said = [Param(key, str(value)) for key, value in flat(asdict(recipe))]
        for first in range(0, len(said), LARGEST_BATCH):
            self.client.log_batch(self.run, params=said[first : first + LARGEST_BATCH])

    def add(self, point: Point) -> None:
        step, at, values = point
        self.client.log_batch(
            self.run, [self.metric(name, value, int(1000 * at), step) for name, value in values.items()]
        )

    def end(self, state: str) -> None:
        self.client.set_terminated(self.run, "FINISHED" if state == "completed" else "FAILED")


TRACKERS: dict[str, tuple[str, Callable[[Recipe, Path], Tracker]]] = {  # → package that it takes, and itself
    "tensorboard": ("tensorboardX", TensorBoard),
    "mlflow": ("mlflow", MLflow),
}


def check(recipe: Recipe) -> None:
    """Refuse a tracker whose package is not here."""
    for name in recipe.trackers:
        if find_spec(TRACKERS[name][0]) is None:
            raise InputError(f"trackers has {name}, whose package is not here: pip install 'qflock[{name}]'")


class Follower:
    """Takes the ledger's lines for one tracker, until it fails."""

    def __init__(self, name: str, recipe: Recipe, folder: Path) -> None:
        self.name, self.at = name, time.time()
        self.tracker: Tracker | None = None
        with self.left_behind():
            self.tracker = TRACKERS[name][1](recipe, folder)

    def __call__(self, line: Line) -> None:
        if self.tracker is None:
            return
        self.at = line.get("seconds", {}).get("at", self.at)
        with self.left_behind():
            if values := points(line):
                self.tracker.add((line.get("round", 0), self.at, values))
            if line["kind"] == "end":
                self.tracker.end(line["state"])

    @contextmanager
    def left_behind(self) -> Iterator[None]:
        """Whatever a tracker raises ends the tracker."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it raises what its own libraries raise
            reason = " ".join(str(error).split()) or type(error).__name__
            log.warning("%s gets no more of this run: %s", self.name, reason)
            self.tracker = None


def followers(recipe: Recipe, folder: Path, written: list[Line]) -> list[Callable[[Line], None]]:
    """One for each tracker of a recipe, which has taken what is written already."""
    check(recipe)
    made = [Follower(name, recipe, folder) for name in recipe.trackers]
    for follower in made:
        for line in written:
            follower(line)
    return list(made)


def points(line: Line) -> dict[str, float]:
    """The numbers of a round, or of the test rows; what a line has no number for is left out."""
    said: dict[str, float] = {}
    for arm, part in line.get("arms", {}).items():
        if line["kind"] == "score":
            found = {f"test_{key}": number(part, key) for key in ("accuracy", "loss")}
        else:
            clients = list(part["clients"].values())
            found = {key: number(part, key) for key in ("reference_loss", "reference_accuracy", "cosine")}
            found |= {f"mean_{key}": mean(clients, key) for key in ("student_loss", "teacher_loss", "maxiter")}
            found |= {key: total(clients, key) for key in ("evaluations", "shots")}
            found["admitted"] = float(len(part.get("admitted", [])))
        said |= {f"{arm}/{key}": value for key, value in found.items()}
    if line["kind"] == "round":
        said |= {key: number(line, key) for key in ("bytes_up", "bytes_down")}
        said["seconds"] = number(line.get("seconds", {}), "round")
    return {key: value for key, value in said.items() if value == value}


def flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """A recipe's keys with dots."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
