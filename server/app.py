"""The ServerApp: one run, from meeting the clients to the last line of the ledger; goes on where a checkpoint ends."""

import logging
import platform
import time
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from recipes.load import from_run_config
from recipes.section import InputError
from strategies.wire import check_flower

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the recipe that the run config names."""
    check_flower("this SuperLink")
    recipe = from_run_config(context.run_config)
    from quantum.threads import limit_threads

    limit_threads(recipe.threads)
    from server import checkpoint, gate, prepare
    from server.ensemble import Ensemble
    from server.folder import current_folder, run_name
    from server.ledger import Ledger, lines
    from server.reference import Reference
    from server.resume import unfinished
    from server.roster import Roster
    from server.trackers import followers
    from strategies.compose import Federated
    from strategies.state import ArmState, State

    asked = str(context.run_config.get("run", ""))
    folder = current_folder(recipe, asked)
    if asked and (held := unfinished(folder).digest()) != recipe.digest():
        raise InputError(f"{folder} is a run of recipe {held}, not of {recipe.digest()}: go on with its own recipe")
    ledger, run, began = Ledger(folder), run_name(folder), time.monotonic()
    log.info("run folder %s on %s", folder, platform.node())
    try:
        reference = Reference(recipe)
        state = checkpoint.newest(folder, recipe.digest())
        ledger.rewind(state.round if state else 0)
        ledger.followers = followers(recipe, folder, lines(folder))
        most_bytes = gate.most_bytes(recipe, reference)
        gate.close(most_bytes)
        roster = Roster(grid, recipe, run, reference.corpus, most_bytes)
        roster.meet(ledger.append)
        if state is None:
            shared = prepare.agree(grid, recipe, run, roster, reference.stages, ledger.append)
            arms = {name: ArmState(arrays=arm.initial(recipe.seed)) for name, arm in reference.arms.items()}
            state = State(shared=shared, arms=arms)
        reference.encode(state.shared)
        federated = Federated(
            recipe,
            run=run,
            roster=roster,
            state=state,
            reference=reference,
            record=ledger.append,
            save=lambda state: checkpoint.save(folder, state, recipe.digest()),
            periods=reference.periods() if recipe.aggregate.mean == "circular" else {},
            fuse=Ensemble(recipe, reference) if recipe.aggregate.by == "feddf" else None,
        )
        federated.start(grid)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        ledger.append(
            {"kind": "end", "state": "failed", "reason": reason, "seconds": {"run": time.monotonic() - began}}
        )
        raise
    stopped = "converged" if not state.training() else "rounds"
    end = {"kind": "end", "state": "completed", "reason": stopped, "seconds": {"run": time.monotonic() - began}}
    try:
        draw(folder, end)  # first, because whoever follows the ledger takes its last line for the end
    finally:
        ledger.append(end)


def draw(folder: Path, end: dict[str, Any]) -> None:
    """The report; a disk that cannot take it does not cost the run."""
    from server.report import report

    try:
        log.info("wrote %s", report(folder, end))
    except (OSError, InputError) as error:
        log.warning("no report: %s", error)
