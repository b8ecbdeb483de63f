"""One Flower strategy, composed of a selector, an aggregator and a stop rule.

Round t, for every arm: invite clients, collect their reports, average provisionally, measure the reference loss, admit,
average what was admitted, stop? Reports are sorted by client id before any float is added: Ray delivers them in any
order, and equal seeds must write equal ledgers.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from recipes.schema import Recipe
from strategies import collect
from strategies.adapters import federate
from strategies.arm import close, invite
from strategies.exchange import Roster, deadline, hear, lost, repeated, visit
from strategies.failure import RunFailedError
from strategies.messages import Arrays, Assignment, Halt, Reply, Report
from strategies.scored import scored
from strategies.state import State
from strategies.wire import assign, count_bytes, parcel, without_arrays

QUEUED_SECONDS = 11 * 3600.0  # of a visit whose jobs queue for a QPU: less than Flower keeps a message
DRAWS = 5  # keeps these draws apart from those of other files with the same seed
TIMES = ("seconds", "tuning_seconds", "tokens_per_second")  # of a report: no two runs have the same
Record = dict[str, Any]  # one line of the ledger
Reference = Callable[
    [str, Arrays], tuple[float, float]
]  # (arm, arrays) → loss in nats and accuracy on the server's rows


class Federated(Strategy):
    """The federation's rounds over a `State`, which `save` receives after each of them."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        run: str,
        roster: Roster,
        state: State,
        reference: Reference,
        record: Callable[[Record], None],
        save: Callable[[State], None],
        periods: dict[str, Arrays] | None = None,
        fuse: Callable[[str, int, Arrays, Sequence[Arrays]], Arrays] | None = None,
    ) -> None:
        self.recipe, self.run, self.roster, self.state = recipe, run, roster, state
        self.reference, self.record, self.save = reference, record, save
        self.periods = periods or {}  # arm → of its angles, when they are averaged on the circle
        self.fuse = fuse  # (arm, round, average, what was averaged) → the next global arrays
        self.invited: dict[str, list[int]] = {}
        self.bytes_down = 0

    def summary(self) -> None:
        """Nothing: `qflock plan` tells what a recipe composes, and the ledger what it did."""

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int = 0,
        timeout: float = 0.0,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """The rounds that the state has not seen yet, then the clients' test rows.

        Arrays, rounds and deadlines come from the state and the recipe; Flower's arguments for them stay unused.
        """
        result = Result()
        none = ArrayRecord(), ConfigRecord()
        for number in range(self.state.round + 1, self.recipe.rounds + 1):
            if not self.state.training():
                break
            messages = list(self.configure_train(number, *none, grid))
            began = time.monotonic()
            replies = self.complete(grid, messages, unlike=self.asks_teachers())
            _, metrics = self.aggregate_train(number, replies, began)
            result.evaluate_metrics_serverapp[number] = metrics
        began = time.monotonic()
        replies = self.complete(grid, list(self.configure_evaluate(self.state.round, *none, grid)))
        result.evaluate_metrics_clientapp[self.state.round] = self.aggregate_evaluate(self.state.round, replies, began)
        result.arrays = parcel({}, {name: arm.arrays for name, arm in self.state.arms.items()})
        return result

    def complete(self, grid: Grid, messages: Sequence[Message], *, unlike: bool = False) -> list[Message]:
        """A visit, as the server saw it: its time counts with the wait for a free process, unless a client was lost."""
        began = time.monotonic()
        replies = visit(grid, messages, self.seconds(unlike))
        if not any(lost(reply) for reply in replies):
            self.state.slowest_seconds = max(self.state.slowest_seconds, time.monotonic() - began)
        return (
            repeated(grid, self.roster, messages, replies, self.seconds(unlike))
            if self.recipe.on_loss == "repeat"
            else replies
        )

    def seconds(self, unlike: bool) -> float:
        """How long a visit may take."""
        configured = self.recipe.deadline_seconds or (QUEUED_SECONDS if self.recipe.paid() else None)
        return deadline(configured, self.state.slowest_seconds, unlike=unlike)

    def asks_teachers(self) -> bool:
        """Whether an invited client may tune a teacher in the coming round, or ask a new one about all its rows."""
        invited = {client for clients in self.invited.values() for client in clients}
        return self.recipe.teacher.kind != "none" and any(map(self.lacks_teacher, invited))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message a client that any arm invites; it carries the assignments of all arms that do."""
        self.roster.rejoin(set())
        self.invited = {
            name: invite(self.recipe.select, self.state.arms[name], list(self.roster.nodes), self.key(server_round))
            for name in self.state.training()
        }
        wanted = sorted({client for clients in self.invited.values() for client in clients})
        arms = {client: tuple(name for name in self.invited if client in self.invited[name]) for client in wanted}
        return self.assignments("train", server_round, arms)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message], began: float | None = None
    ) -> tuple[ArrayRecord | None, MetricRecord]:
        """A round's reports become the next global arrays, a line of the ledger and a checkpoint."""
        said = self.said(replies)
        usable, failed = collect.reports(
            said, self.invited, {name: arm.arrays for name, arm in self.state.arms.items()}
        )
        received = [report for _, reply in said if isinstance(reply, list) for report in reply]
        teacher = self.recipe.teacher
        asked, any_rank = teacher.tunes(server_round), teacher.federate == "exact"
        tuned, unfit = collect.adapters(said, self.state.teacher, asked=asked, any_rank=any_rank)
        for client, reason in unfit.items():
            failed[client] = "; ".join(filter(None, (failed.get(client), reason)))
        heard = time.monotonic()
        line: Record = {"kind": "round", "round": server_round, "arms": {}, "failed": failed}
        line |= {"bytes_down": self.bytes_down, "bytes_up": sum(count_bytes(report.arrays) for report in received)}
        for name, reports in usable.items():
            if lacking := self.too_few(name, len(reports)):
                self.record(line)
                reasons = "".join(f"; client {client}: {reason}" for client, reason in failed.items())
                usable_reports = f"{len(reports)} usable reports on {name}"
                raise RunFailedError(f"round {server_round}: {usable_reports}, {lacking}{reasons}")
        for name, reports in usable.items():
            arm, measure = self.state.arms[name], partial(self.reference, name)
            fuse = partial(self.fuse, name, server_round) if self.fuse else None
            closed = close(self.recipe, arm, reports, measure, self.key(server_round), self.periods.get(name), fuse)
            clients = {report.client: without(without_arrays(report), "client", "arm", *TIMES) for report in reports}
            line["arms"][name] = {"invited": self.invited[name], **closed, "clients": clients}
            self.state.visited |= {report.client: server_round for report in reports}
        if tuned:
            self.state.teacher, self.state.teacher_round = federate(teacher, tuned), server_round
            line["teacher"] = {"clients": {one.client: {"examples": one.examples} for one in tuned}}
        self.state.round = server_round
        now = time.monotonic()
        line["seconds"] = {
            "at": time.time(),
            "round": now - (began or heard),
            "server": now - heard,
            "clients": {client: spent(reply) for client, reply in said},
            "tuning": tuning(usable),
        }
        self.record(line)  # first: a resumed run drops the lines that its checkpoint has not seen
        self.save(self.state)
        losses = {
            f"{name}/{key}": line["arms"][name][key]
            for name in usable
            for key in ("reference_loss", "reference_accuracy")
        }
        return None, MetricRecord(losses)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Every client scores the final arrays of every arm."""
        arms = tuple(self.state.arms)
        return self.assignments("score", server_round, dict.fromkeys(list(self.roster.nodes), arms))

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message], began: float | None = None
    ) -> MetricRecord:
        """Accuracy over all clients' test rows, arm beside arm, in one line of the ledger."""
        scores, failed = collect.scores(self.said(replies), self.state.arms)
        line: Record = {"kind": "score", "round": server_round, "failed": failed, "bytes_down": self.bytes_down}
        line |= scored(scores, tuple(self.state.arms))
        line["seconds"] = {
            "round": time.monotonic() - began if began else 0.0,
            "clients": {score.client: score.seconds for score in scores},
        }
        self.record(line)
        if not scores:
            reasons = "; ".join(f"client {client}: {reason}" for client, reason in sorted(failed.items()))
            raise RunFailedError(f"no client could score the final arrays: {reasons}")
        return MetricRecord({f"{name}/accuracy": score["accuracy"] for name, score in line["arms"].items()})

    def assignments(self, kind: Any, number: int, arms: dict[int, tuple[str, ...]]) -> list[Message]:
        """A message a client, in the order of ids; equal contents are packed once."""
        state = self.state
        wanted = {client: (names, kind == "train" and self.lacks_teacher(client)) for client, names in arms.items()}
        sent = {name: arm.start() if kind == "train" else arm.arrays for name, arm in state.arms.items()}
        parcels = {
            (names, new): parcel(state.shared, {name: sent[name] for name in names}, state.teacher if new else {})
            for names, new in set(wanted.values())
        }
        self.bytes_down = sum(count_bytes(parcels[one]) for one in wanted.values())
        messages = []
        for client, contents in wanted.items():
            assignment = Assignment(
                kind=kind,
                run=self.run,
                recipe_digest=self.recipe.digest(),
                most_bytes=self.roster.most_bytes,
                round=number,
                memory_round=state.visited.get(client, 0),
                teacher_round=state.teacher_round,
            )
            messages.append(assign(assignment, self.roster.nodes[client], parcels[contents]))
        return messages

    def lacks_teacher(self, client: int) -> bool:
        """Whether the next round takes the global adapter to a client: it tunes it, or has not learned from it yet."""
        state = self.state
        return self.recipe.teacher.tunes(state.round + 1) or state.visited.get(client, 0) <= state.teacher_round

    def said(self, replies: Iterable[Message]) -> list[tuple[int, Reply]]:
        """Who was asked, and what came back; on paid hardware, a client that has to stop stops the run."""
        terms = self.recipe.digest(), self.roster.most_bytes
        said = [(self.roster.clients[reply.metadata.src_node_id], hear(reply, *terms)) for reply in replies]
        halted = [
            f"client {client}: {reply.reason}"
            for client, reply in sorted(said, key=lambda pair: pair[0])
            if isinstance(reply, Halt)
        ]
        if halted and self.recipe.paid():
            raise RunFailedError("; ".join(halted))
        return said

    def too_few(self, name: str, usable: int) -> str | None:
        """Why a round with so many reports on an arm cannot be closed, or None."""
        select, aggregate = self.recipe.select, self.recipe.aggregate
        if usable < min(self.recipe.min_reports, len(self.invited[name])):
            return f"min_reports is {self.recipe.min_reports}"
        entering = usable if select.rules == "invite" else select.takes(usable)
        if entering < aggregate.fewest():
            return f"{entering} may enter the average, and {aggregate.by} needs {aggregate.fewest()}"
        return None

    def key(self, number: int) -> tuple[int, ...]:
        """Seeds the draws of a round: the same for all arms, and whether or not the run was resumed in between."""
        return (self.recipe.seed, DRAWS, number)


def spent(reply: Reply) -> float:
    """The seconds of a client's visit, as it measured them."""
    return sum((one.seconds for one in reply if isinstance(one, Report)), 0.0) if isinstance(reply, list) else 0.0


def tuning(usable: dict[str, list[Report]]) -> dict[int, dict[str, float]]:
    """The clients that tuned a teacher in this round: for how long, and how many tokens a second they read."""
    return {
        one.client: {"seconds": one.tuning_seconds, "tokens_per_second": one.tokens_per_second}
        for reports in usable.values()
        for one in reports
        if one.tuning_seconds
    }


def without(facts: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in keys}
