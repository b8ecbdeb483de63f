"""One arm's part of a round: who is invited, whose update is admitted, and what the new average is worth."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from recipes.schema import Recipe, SelectConfig
from strategies.aggregation import aggregate
from strategies.messages import Arrays, Report
from strategies.moves import beyond, cosine, stride
from strategies.selection import Key, Losses, select
from strategies.state import ArmState
from strategies.stop import converged

Fuse = Callable[[Arrays, Sequence[Arrays]], Arrays]  # the average, what was averaged → the next global arrays
Measure = Callable[[Arrays], tuple[float, float]]  # arrays → loss in nats and accuracy, on the server's held-out rows


def invite(config: SelectConfig, arm: ArmState, clients: Sequence[int], key: Key) -> list[int]:
    """Who trains next: everyone, unless the rule invites; a client whose loss nobody knows yet is always invited."""
    known = {client: loss for client, loss in arm.client_losses.items() if client in clients}
    if config.rules != "invite" or not known:
        return sorted(clients)
    chosen = select(config, known, reference(config, known, arm.reference_losses[-1]), (*key, 0))
    return sorted({*chosen, *(set(clients) - known.keys())})


def close(
    recipe: Recipe,
    arm: ArmState,
    reports: Sequence[Report],
    measure: Measure,
    key: Key,
    periods: Arrays | None = None,
    fuse: Fuse | None = None,
) -> dict[str, Any]:
    """Average provisionally, measure, admit, average what was admitted, stop? The arm's part of the ledger line.

    The provisional average is the recipe's aggregate too: alignment compares with its loss, and a plain mean that liars
    have moved would choose the liars.
    """

    def combined(entering: Sequence[Report]) -> Arrays:
        mean = aggregate(recipe.aggregate, start, entering, periods)
        return fuse(mean, [report.arrays for report in entering]) if fuse else mean

    config, start, reports = recipe.select, arm.start(), sorted(reports, key=lambda report: report.client)
    losses = {report.client: report.student_loss for report in reports}
    admitted = sorted(losses)
    arrays = combined(reports)
    loss, accuracy = measure(arrays)
    if config.rules == "admit":
        admitted = select(config, losses, reference(config, losses, loss), (*key, 1))
    entered = [report for report in reports if report.client in admitted]
    if len(entered) < len(reports):
        arrays = combined(entered)
        loss, accuracy = measure(arrays)
    updates = [report.arrays for report in entered]
    step = 1.0
    if recipe.aggregate.by == "fedexp":
        step = stride(start, arrays, updates, [report.examples for report in entered])
        arm.ahead = beyond(start, arrays, step)
    arm.arrays = arrays
    arm.client_losses |= losses
    arm.reference_losses.append(loss)
    arm.gaps.append(gap(reports))
    arm.converged = converged(recipe.stop, arm.reference_losses, arm.gaps)
    return {
        "parameters": sum(array.size for array in arrays.values()),
        "admitted": admitted,
        "reference_loss": loss,
        "reference_accuracy": accuracy,
        "gap": arm.gaps[-1],
        "cosine": cosine(start, updates),
        "step": step,
        "behind": sum(report.rho > 1 for report in reports),
        "converged": arm.converged,
    }


def gap(reports: Sequence[Report]) -> float | None:
    """Σ n_i·(L_student,i − L_teacher,i) / Σ n_i over the clients that have teachers, nats: how far students are behind.

    None where no client has one.
    """
    apart = [(one.examples, one.student_loss - one.teacher_loss) for one in reports if one.teacher_loss is not None]
    return sum(n * behind for n, behind in apart) / sum(n for n, _ in apart) if apart else None


def reference(config: SelectConfig, losses: Losses, measured: float) -> float:
    """What alignment compares a client's loss with: the server's held-out loss, or the mean of the clients' own."""
    return fmean(losses.values()) if config.reference == "clients" else measured
