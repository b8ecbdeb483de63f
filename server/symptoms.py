"""What a run's numbers show that makes its accuracy worth less, told in a sentence; None where they do not.

A threshold that is ours says why it stands where it does. Losses in nats.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, hypot, isfinite
from statistics import fmean, pstdev

from recipes.schema import EXACT_GRADIENT, OptimiserConfig
from server.record import STUDENT, TWIN, Record, finite, mean, number

Found = str | None
CHANCE = 3.0  # standard deviations
NEAR = OptimiserConfig().rhobeg  # COBYLA's first step; who has not come as far has hardly been trained


def unfinished(record: Record) -> Found:
    """No end, or a bad one."""
    if not record.end:
        return f"The ledger ends after {len(record.rounds)} rounds, without a last word."
    return None if record.end.get("state") == "completed" else f"The run failed: {record.end.get('reason')}."


def untwinned(record: Record) -> Found:
    """A quantum row alone proves nothing of its quantum part; what has none needs no control."""
    student = record.recipe.student if record.recipe else None
    if student and (student.kind == "noop" or (student.kind == "generator" and student.generator.by != "circuit")):
        return None
    alone = STUDENT in record.arms and TWIN not in record.arms
    return "The student has no classical twin beside it." if alone else None


def failed(record: Record) -> Found:
    """Clients that were left out of something."""
    missed = [(client, why) for line in record.ledger for client, why in line.get("failed", {}).items()]
    if not missed:
        return None
    clients = sorted({int(client) for client, _ in missed})
    return f"{len(missed)} visits of clients {', '.join(map(str, clients))} gave nothing, the last: {missed[-1][1]}."


def capped(record: Record) -> Found:
    """A quarter of the budgets after round 1 at the cap: then the cap decides, not the loss ratio."""
    r = record.recipe
    if r is None or r.regulate.law == "none":
        return None
    cap = max(r.regulate.cap, r.optimiser.maxiter)
    later = [said for round_, _, said in record.visits(STUDENT) if round_ > 1]
    held = sum(number(said, "requested") > number(said, "maxiter") or number(said, "maxiter") >= cap for said in later)
    return (
        f"maxiter stood at its cap of {cap} in {held} of {len(later)} client-rounds."
        if 4 * held >= len(later) > 0
        else None
    )


def starved(record: Record) -> Found:
    """COBYLA needs n + 1 evaluations for its first simplex and one to move."""
    if record.recipe is None or record.recipe.optimiser.kind != "cobyla":
        return None
    for arm in record.arms:
        sizes = [int(part["parameters"]) for _, part in record.trained(arm) if "parameters" in part]
        budgets = finite(number(said, "maxiter") for _, _, said in record.visits(arm))
        least = min(budgets, default=float("nan"))
        if sizes and least < sizes[0] + 2:
            return f"A budget of {least:.0f} evaluations is below n + 2 = {sizes[0] + 2} for the {arm}."
    return None


def brief(record: Record) -> Found:
    """Adam moves a number by hardly more than its rate a step."""
    r = record.recipe
    if r is None or r.optimiser.kind != "minibatch" or not record.end:
        return None
    steps: dict[int, float] = defaultdict(float)
    moved: dict[int, float] = defaultdict(float)
    for round_, client, said in record.visits(STUDENT):
        passes, rows = number(said, "evaluations") / EXACT_GRADIENT, number(said, "examples")
        if isfinite(passes * rows):
            steps[client] += passes * ceil(rows / r.optimiser.batch)
            moved[client] += passes * ceil(rows / r.optimiser.batch) * r.optimiser.at(round_).learning_rate
    furthest = max(moved.values(), default=0.0)
    few = 0 < furthest < NEAR
    return (
        f"No client took more than {max(steps.values()):.0f} steps, in which Adam moves a number by hardly more than "
        f"{furthest:.2g}."
        if few
        else None
    )


def cancelling(record: Record) -> Found:
    """Below 0.05, what n updates of |u| average to is hardly longer than |u|/√n: a random walk.

    Updates come to that in a run that has converged, too. So they must have agreed before, by 0.1 more, and the
    server's loss must be within 1% of where it began, or above it.
    """
    agreed = cosines(record)
    losses = finite(number(part, "reference_loss") for _, part in record.trained(STUDENT))
    if not agreed or not losses:
        return None
    (first, end), (before, after) = ((fmean(first_third(of)), fmean(last_third(of))) for of in (agreed, losses))
    lost = end < 0.05 and first - end > 0.1 and after > 0.99 * before
    return (
        f"The mean cosine between admitted updates fell from {first:.2f} to {end:.2f}, the server's loss went from "
        f"{before:.3f} to {after:.3f}: they cancel."
        if lost
        else None
    )


def alike(record: Record) -> Found:
    """Above 0.98 (11° apart), the admitted clients say the same thing."""
    end = last_third(cosines(record))
    high = end and fmean(end) > 0.98
    return (
        f"The mean cosine between admitted updates is {fmean(end):.2f} at the end: all say the same." if high else None
    )


def behind(record: Record) -> Found:
    """QFed's sign of a barren plateau: less than 70% of the best classical row."""
    scored = {name: number(arm, "accuracy") for name, arm in record.score.get("arms", {}).items()}
    scored |= {name: number(record.score, name) for name in ("head", "logistic")}
    if STUDENT not in scored:  # no test yet: the last round, on the server's rows
        ends = {arm: parts[-1][1] for arm in record.arms if (parts := record.trained(arm))}
        scored = {arm: number(part, "reference_accuracy") for arm, part in ends.items()}
    classical = {name: value for name, value in scored.items() if name != STUDENT and isfinite(value)}
    if STUDENT not in scored or not classical:
        return None
    best, own = max(classical, key=lambda name: classical[name]), scored[STUDENT]
    low = own < 0.7 * classical[best]
    return f"The student is right in {own:.1%}, the {best} in {classical[best]:.1%}." if low else None


def diverging(record: Record) -> Found:
    """The clients' losses end twice as far apart as they began, and by more than the noise of a small client."""
    rounds = [
        finite(number(said, "student_loss") for said in part["clients"].values()) for _, part in record.trained(STUDENT)
    ]
    spreads = [pstdev(losses) for losses in rounds if len(losses) > 1]
    if len(spreads) < 4:
        return None
    first, last = fmean(first_third(spreads)), fmean(last_third(spreads))
    apart = last > 2 * first and last > 0.05
    return f"The clients' losses spread from {first:.3f} to {last:.3f} nats." if apart else None


def numberless(record: Record) -> Found:
    """The ledger has null where a loss was infinite or NaN."""
    visits = [(client, said) for arm in record.arms for _, client, said in record.visits(arm)]
    lost = [client for client, said in visits if said.get("student_loss", 0) is None]
    parts = [part for arm in record.arms for _, part in record.trained(arm)]
    found = [f"{len(lost)} losses of clients {', '.join(map(str, sorted(set(lost))))}"] if lost else []
    if averaged := sum(part.get("reference_loss", 0) is None for part in parts):
        found.append(f"{averaged} of the server's losses")
    return f"{' and '.join(found).capitalize()} were no number." if found else None


def oscillating(record: Record) -> Found:
    """Two in three steps turn back, each by more than 5% of the mean loss."""
    losses = finite(number(part, "reference_loss") for _, part in record.trained(STUDENT))
    if len(losses) < 6:
        return None
    steps = [b - a for a, b in pairwise(losses)]
    least = 0.05 * fmean(losses)
    turns = sum(a * b < 0 and min(abs(a), abs(b)) > least for a, b in pairwise(steps))
    often = 3 * turns >= 2 * (len(steps) - 1)
    return f"The server's loss turned back in {turns} of {len(steps) - 1} rounds." if often else None


def apart(record: Record) -> Found:
    """The average is worse on the server's rows than the clients are on theirs, by half and by 0.1 nats."""
    if not (trained := record.trained(STUDENT)) or not trained[-1][1]["clients"]:
        return None
    last = trained[-1][1]
    local, ours = mean(last["clients"].values(), "student_loss"), number(last, "reference_loss")
    large = ours > 1.5 * local and ours - local > 0.1
    return f"The average loses {ours:.3f} nats, the clients before it {local:.3f} on their own rows." if large else None


def noisy(record: Record) -> Found:
    """Loss that noise costs, beyond what shots explain: three standard deviations of the loss with shots alone.

    Every client says its loss on the executor, and mean and deviation of that with as many shots of the exact circuit.
    """
    clients = [c for c in record.score.get("clients", {}).values() if STUDENT in (c.get("shot_loss") or {})]
    rows = sum(client.get("examples", 0) for client in clients)
    if record.recipe is None or not rows:
        return None
    weights = [client.get("examples", 0) / rows for client in clients]

    def each(key: str) -> list[float]:
        values = [number(client.get(key, {}), STUDENT) for client in clients]
        return [weight * value for weight, value in zip(weights, values, strict=True)]

    costs = sum(each("loss")) - sum(each("shot_loss"))
    chance = CHANCE * hypot(*each("shot_spread"))
    if not costs > chance:  # NaN is no sign
        return None
    return f"Noise costs {costs:.3f} nats beyond {record.recipe.shots} shots, of which {chance:.3f} may be chance."


def scarce(record: Record) -> Found:
    """A client of 30 rows is one row in every 3 percentage points; 100 test rows leave ±10 points to chance."""
    least = min(
        (int(said["examples"]) for arm in record.arms for _, _, said in record.visits(arm) if "examples" in said),
        default=None,
    )
    tested = sum(int(client.get("examples", 0)) for client in record.score.get("clients", {}).values())
    found = [f"a client trains on {least} rows"] if least is not None and least < 30 else []
    found += [f"all clients test on {tested} rows together"] if 0 < tested < 100 else []
    return f"{' and '.join(found).capitalize()}." if found else None


def cosines(record: Record) -> list[float]:
    return finite(number(part, "cosine") for _, part in record.trained(STUDENT))


def first_third(values: Sequence[float]) -> Sequence[float]:
    return values[: max(1, len(values) // 3)]


def last_third(values: Sequence[float]) -> Sequence[float]:
    return values[-max(1, len(values) // 3) :] if values else []
