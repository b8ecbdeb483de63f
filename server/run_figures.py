"""The figures of one run: every panel that a record has the numbers for."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from server.drawing import Drawing
from server.figures import COLOURS, GROUPS, Curve, confusion, curves, grid, heat, shares
from server.record import STUDENT, Record, finite, number


def of_run(record: Record) -> Iterator[Drawing]:
    """Every panel that a record has the numbers for, in the order in which one asks."""
    rounds = [line["round"] for line in record.rounds]
    clients = record.clients
    if rounds and record.arms:
        yield from by_round(record)
        for key in ("maxiter", "evaluations"):
            values = np.full((len(clients), len(rounds)), np.nan)
            for round_, client, said in record.visits(STUDENT):
                values[clients.index(client), rounds.index(round_)] = number(said, key)
            if np.isfinite(values).any():
                least, most = np.nanmin(values), np.nanmax(values)
                says = f"{key} of the student by client and round, from {least:.0f} to {most:.0f}"
                yield heat(key, f"student: {key} by client and round", says, values, clients, rounds)
        for arm in record.arms:
            states = admitted(record, arm)
            entered, missed = (int((states == state).sum()) for state in (2, 3))
            says = f"{arm}: {entered} of {states.size} client-rounds admitted, {missed} failed"
            yield grid(f"admitted-{arm}", f"{arm}: who was admitted", says, states, clients, rounds)
    holds = record.holds
    for part, what in (("classes", "class"), ("domains", "domain")):
        counts = {client: held[part] for client, held in holds.items() if held.get(part)}
        if counts:
            kinds = {key for held in counts.values() for key in held}
            yield shares(
                part, f"rows by {what}", f"rows of {len(counts)} clients by {what}, {len(kinds)} in all", counts
            )
    for arm, found in record.score.get("arms", {}).items():
        if matrix := found.get("confusion"):
            hits = sum(row[k] for k, row in enumerate(matrix))
            says = f"confusion matrix of the {arm}: {hits} of {sum(map(sum, matrix))} test rows on the diagonal"
            yield confusion(
                f"confusion-{arm}", f"{arm}: answers by class", says, matrix, class_names(record, len(matrix))
            )


def by_round(record: Record) -> Iterator[Drawing]:
    """Accuracy, loss, agreement and time, round by round."""
    for name, ylabel, percent in (("accuracy", "", True), ("loss", "held-out cross-entropy, nats", False)):
        drawn, said = [], []
        for arm in record.arms:
            parts = record.trained(arm)
            if not parts:
                continue
            locals_ = [
                finite(number(client, f"student_{name}") for client in part["clients"].values()) for _, part in parts
            ]
            values = [number(part, f"reference_{name}") for _, part in parts]
            low, high = ([pick(found, default=np.nan) for found in locals_] for pick in (min, max))
            drawn.append(Curve(f"{arm}, averaged", [n for n, _ in parts], values, low, high, COLOURS.get(arm, "")))
            ends = [f"{value:.3f}" if np.isfinite(value) else "no number" for value in (values[0], values[-1])]
            said.append(f"{arm} from {' to '.join(ends)}")
        if drawn:
            says = (
                f"{name} by round on the server's rows, in the band of the clients' before averaging: {'; '.join(said)}"
            )
            yield curves(
                name, f"{name} by round (band: clients, own rows)", says, drawn, ylabel=ylabel, percent=percent
            )
    agreeing = [
        Curve(arm, [n for n, _ in parts], [number(part, "cosine") for _, part in parts], colour=COLOURS.get(arm, ""))
        for arm in record.arms
        if (parts := [(n, part) for n, part in record.trained(arm) if part.get("cosine") is not None])
    ]
    if agreeing:
        says = "; ".join(f"{curve.label} from {curve.values[0]:.2f} to {curve.values[-1]:.2f}" for curve in agreeing)
        yield curves("cosine", "mean cosine between admitted updates", f"cosine by round: {says}", agreeing)
    numbers = [line["round"] for line in record.rounds]
    times = [number(line.get("seconds", {}), "round") for line in record.rounds]
    says = f"seconds by round, {np.nansum(times):.1f} in all"
    yield curves("seconds", "seconds by round", says, [Curve("", numbers, times, colour=GROUPS[2])], ylabel="s")


def admitted(record: Record, arm: str) -> NDArray[np.int64]:
    """(clients, rounds): a number of STATES."""
    clients = record.clients
    states = np.zeros((len(clients), len(record.rounds)), dtype=np.int64)
    for column, line in enumerate(record.rounds):
        part = line["arms"].get(arm, {})
        for state, asked in (
            (1, part.get("invited", part.get("clients", {}))),
            (2, part.get("admitted", [])),
            (3, line.get("failed", {})),
        ):
            for client in asked:
                states[clients.index(int(client)), column] = state
    return states


def class_names(record: Record, classes: int) -> list[str]:
    """As the clients name them, else their numbers."""
    for held in record.holds.values():
        if len(held.get("classes", {})) == classes:
            return list(held["classes"])
    return [str(k) for k in range(classes)]
