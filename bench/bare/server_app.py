"""Flower's own FedAvg, unchanged but for a clock that is read once a round."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class Timed(FedAvg):
    """Reads the clock where our strategy reads its own: as soon as a round is aggregated."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0)
        self.ends: list[float] = []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """FedAvg, then the time."""
        aggregated = super().aggregate_train(server_round, replies)
        self.ends.append(time.time())
        return aggregated


@app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds; the clock readings are written once, after the last."""
    config = context.run_config
    numbers = np.random.default_rng(0).standard_normal(int(config["size"]), dtype=np.float32)
    strategy = Timed()
    strategy.start(grid, ArrayRecord({"theta": Array(numbers)}), num_rounds=int(config["rounds"]))
    times = Path(str(config["times"]))
    temporary = times.with_suffix(".writing")
    temporary.write_text(json.dumps(strategy.ends), encoding="utf-8")
    temporary.replace(times)
