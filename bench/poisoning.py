"""What clients that lie do to accuracy, by aggregator: `python -m bench.poisoning`.

Federations of `smoke` run in this process: the clients' own rounds and the server's own aggregation, without Flower
between them. Features are agreed on honestly. Accuracy is that of the final arrays on the test rows of the honest
clients; "no liar" is the same federation with everyone honest, scored on those same rows.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bench.liars import LIES, NOISE_STD, SIGN_TIMES
from bench.machine import facts, wide_console
from client.participant import Participant
from client.round import prepare, train
from data.stages import arrays_of, named
from quantum.threads import limit_threads
from recipes.load import load as load_recipe
from recipes.schema import Recipe
from strategies.arm import close
from strategies.messages import Arrays, Assignment, Report
from strategies.state import ArmState

RESULTS = Path(__file__).parent / "results" / "poisoning.json"
CROWDS = ((5, 1), (10, 2))  # clients, of whom so many lie: the last ones
SEEDS = 5
WORK = ("rounds=5", "optimiser.maxiter=25", "regulate.law=none")
HONEST = "no liar"
DRAWS = 10_000  # of the bootstrap

Results = dict[str, Any]
Accuracy = dict[str, float]  # arm → share of right answers


def main() -> None:
    """Measure, print the tables, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.poisoning", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--seeds", type=int, default=SEEDS)
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    console = wide_console()
    with tempfile.TemporaryDirectory(prefix="qflock-bench-") as memory:
        os.environ["QFLOCK_MEMORY"] = memory
        results = measure(CROWDS, said.seeds, WORK, console.print)
    said.results.parent.mkdir(parents=True, exist_ok=True)
    said.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for arm in results["arms"]:
        console.print(table(results, arm))


def measure(
    crowds: Sequence[tuple[int, int]], seeds: int, work: Sequence[str], say: Callable[[str], None] = print
) -> Results:
    """Every crowd, aggregator and lie, with every seed."""
    head = {"schema": 1, **facts(("numpy", "scipy", "scikit-learn", "qiskit"))}
    cells: list[dict[str, Any]] = []
    for clients, liars in crowds:
        found: dict[tuple[str, str], list[Accuracy]] = {}
        for seed in range(seeds):
            for place, accuracy in federations(clients, liars, seed, work).items():
                found.setdefault(place, []).append(accuracy)
            say(f"{liars} of {clients}  seed {seed}")
        for (rule, lie), runs in found.items():
            recipe = recipe_of(clients, 0, (*work, *rules(clients, liars)[rule]))
            facts_of = {"clients": clients, "liars": liars, "rule": rule, "lie": lie, "recipe_digest": recipe.digest()}
            cells.append({**facts_of, "arms": compared(runs, found[rule, HONEST])})
    strengths = {"sign_times": SIGN_TIMES, "noise_std": NOISE_STD}
    head |= {"recipe": "smoke", "work": list(work), "seeds": list(range(seeds)), **strengths}
    return {**head, "arms": list(cells[0]["arms"]), "cells": cells}


def rules(clients: int, liars: int) -> dict[str, tuple[str, ...]]:
    """Aggregators by their names in the table; `trimmed` and `krum` are told how many may lie."""
    krum = ("aggregate.by=krum", f"aggregate.liars={liars}")
    return {
        "fedavg": (),
        "clipped": ("aggregate.by=clipped",),
        "median": ("aggregate.by=median",),
        "trimmed": ("aggregate.by=trimmed", f"aggregate.share={liars / clients}"),
        "krum": krum,
        "multi-krum": (*krum, f"aggregate.kept={clients - liars - 2}"),
    }


def recipe_of(clients: int, seed: int, overrides: Sequence[str]) -> Recipe:
    """`smoke` with so many clients."""
    return load_recipe("smoke", [f"clients={clients}", f"seed={seed}", *overrides])


def federations(n: int, liars: int, seed: int, work: Sequence[str]) -> dict[tuple[str, str], Accuracy]:
    """(aggregator, lie) → accuracy of one seed's federation; all start from the same rows, features and arrays."""
    base = recipe_of(n, seed, work)
    limit_threads(base.threads)
    clients = [Participant(base, number) for number in range(n)]
    shared = agreed(base, clients)
    found = {}
    for (rule, changes), lie in product(rules(n, liars).items(), (HONEST, *LIES)):
        recipe = recipe_of(n, seed, (*work, *changes))
        lying = range(n - liars, n) if lie != HONEST else range(0)
        arms = federation(recipe, clients, shared, lie, lying, f"{n}-{seed}-{rule}-{lie}")
        found[rule, lie] = scored(arms, clients[: n - liars], shared)
    return found


def agreed(recipe: Recipe, clients: Sequence[Participant]) -> Arrays:
    """The feature stages, as server.prepare agrees on them."""
    shared: Arrays = {}
    for stage in clients[0].stages:
        shared |= named(stage, stage.initial(recipe.seed))
        for _ in range(stage.exchanges):
            asked = Assignment(
                kind="prepare", run="", recipe_digest=recipe.digest(), stage=stage.name, shared=dict(shared)
            )
            said = [prepare(who, asked) for who in clients]
            arrays, examples = [answer.arrays for answer in said], [answer.examples for answer in said]
            shared |= named(stage, stage.merge(arrays_of(stage, shared), arrays, examples))
    return shared


def federation(
    recipe: Recipe, clients: Sequence[Participant], shared: Arrays, lie: str, lying: Sequence[int], run: str
) -> dict[str, Arrays]:
    """All rounds; the final arrays of every arm."""
    arms = {name: ArmState(arrays=arm.initial(recipe.seed)) for name, arm in clients[0].arms.items()}
    for number in range(1, recipe.rounds + 1):
        assignment = Assignment(
            kind="train",
            run=run,
            recipe_digest=recipe.digest(),
            round=number,
            memory_round=number - 1,
            shared=shared,
            arms={name: arm.start() for name, arm in arms.items()},
        )
        sent = [(LIES[lie] if who.number in lying else train)(who, assignment) for who in clients]
        for name, arm in arms.items():
            reports = [
                report for reports in sent for report in reports if isinstance(report, Report) and report.arm == name
            ]
            close(recipe, arm, reports, unmeasured, (recipe.seed, number))
    return {name: arm.arrays for name, arm in arms.items()}


def unmeasured(arrays: Arrays) -> tuple[float, float]:
    """No reference loss: everyone is admitted and nothing stops early, so nobody reads it."""
    return 0.0, 0.0


def scored(arms: dict[str, Arrays], honest: Sequence[Participant], shared: Arrays) -> Accuracy:
    """Right answers on all test rows of the honest clients, arm by arm."""
    right = dict.fromkeys(arms, 0)
    for who in honest:
        x = who.features(who.share.test, shared)
        for name, arrays in arms.items():
            right[name] += int((who.arms[name].predict(arrays, x).argmax(1) == who.share.test.labels).sum())
    rows = sum(len(who.share.test) for who in honest)
    return {name: count / rows for name, count in right.items()}


def compared(runs: Sequence[Accuracy], honest: Sequence[Accuracy]) -> dict[str, Any]:
    """By arm: the seeds' accuracies, and what the lie changed against the same seed without it."""
    arms = {}
    for name in runs[0]:
        values, without = ([run[name] for run in side] for side in (runs, honest))
        change = [value - other for value, other in zip(values, without, strict=True)]
        arms[name] = {"runs": values, "accuracy": interval(values), "change": interval(change)}
    return arms


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean, and the 95% percentile-bootstrap interval of it (Efron 1979) over the seeds."""
    drawn = np.random.default_rng(0).choice(np.array(values), (DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def table(results: Results, arm: str) -> Table:
    """One row a crowd and aggregator, one column a lie."""
    machine, lies = results["machine"], (HONEST, *LIES)
    title = f"{arm}: accuracy in %, mean of {len(results['seeds'])} seeds [95% bootstrap interval]"
    where = f"{results['commit']} · {machine['cpu']} · {machine['cores']} cores"
    drawn = Table(title=title, caption=where, title_justify="left", caption_justify="left")
    for name in ("liars", "aggregate"):
        drawn.add_column(name, no_wrap=True)
    for lie in lies:
        drawn.add_column(lie, justify="right", no_wrap=True)
    cells = {(c["clients"], c["liars"], c["rule"], c["lie"]): c["arms"][arm]["accuracy"] for c in results["cells"]}
    for n, liars, rule in dict.fromkeys(place[:3] for place in cells):
        said = [percent(cells[n, liars, rule, lie]) for lie in lies]
        drawn.add_row(f"{liars} of {n}", rule, *said, end_section=rule == "multi-krum")
    return drawn


def percent(found: dict[str, float]) -> str:
    """81.2 [79.0, 83.1]; the bracket is escaped, since rich would read it as a style."""
    return f"{100 * found['mean']:.1f} \\[{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


if __name__ == "__main__":
    main()
