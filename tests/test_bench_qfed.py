"""The benchmarks of QFed: equal work on every side, tables that hide nothing, variances that are variances."""

import json

import numpy as np
import pytest
from rich.console import Console

from bench import plateau, qfed
from bench.gradients import arguments
from bench.peer import Answer, PeerError, ours
from quantum.generator import Generator
from recipes.schema import GeneratorConfig


def shown(table):
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_both_our_engines_report_the_same_loss_of_the_same_steps():
    arrays = Generator(GeneratorConfig(), 6690).initial(0)
    args = {name: array.tolist() for name, array in arrays.items()} | {"batch": 4, "batches": 2}
    with ours() as us:
        told = [{"kernel": kernel, "by": "circuit", "activation": "none"} for kernel in ("compiled", "torch")]
        first, second = (us.ask("qfed", args | one, warmup=0) for one in told)
    assert first.check == pytest.approx(second.check, rel=1e-4)
    assert first.check[0] > 1


class Fake:
    """A side that takes its time and says its loss."""

    def __init__(self, seconds, loss):
        self.seconds, self.loss = seconds, loss

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, work, args, **_):
        slower = 1 if args.get("by") == "full" else 2
        return Answer([self.seconds * slower], peak_mb=1.0, version="1", check=[self.loss])


@pytest.mark.parametrize("missing", [False, True])
def test_the_table_shows_ratios_and_who_disagrees_or_is_missing(monkeypatch, missing):
    def peer(name):
        if missing:
            raise PeerError("torch-quantum cannot be made: no index")
        return Fake(0.4, 9.9)

    monkeypatch.setattr(qfed, "Peer", Fake)
    monkeypatch.setattr(qfed, "ours", lambda: Fake(0.01, 2.0))
    monkeypatch.setattr(qfed, "peer", peer)
    results = {"commit": "abc", "machine": {"cpu": "CPU"}, "turns": 2, **qfed.steps(2)}
    results = json.loads(json.dumps(results | {"simulation": {"clients": 60, "gb": 3.1, "kind": "pss"}}))
    text, note = shown(qfed.table(results)), qfed.note(results)
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert "2.00" in rows["generated, compiled"]
    assert "60 clients took 3.1 GB" in note
    if missing:
        assert "TorchQuantum" not in rows
        assert "no index" in note
    else:
        assert "NO" in rows["TorchQuantum"]
        assert "40.00" in rows["TorchQuantum"]
        assert "40 times" in note


def test_the_variance_is_over_draws_of_the_angles_that_matter():
    draws = np.random.default_rng(0).normal(0, [0.0, 1.0, 2.0], (4000, 3))
    assert plateau.variance(list(draws)) == pytest.approx(2.5, rel=0.1)


def test_a_probability_has_a_plateau_and_its_numbers_stand_in_the_table():
    few, many = (plateau.variances(qubits, 4, np.pi, 6) for qubits in (3, 7))
    assert few["probability"] > 10 * many["probability"]
    assert few["weights"] < 30 * many["weights"]
    rows = [{"qubits": q, "blocks": 4, "spread": np.pi, **found} for q, found in ((3, few), (7, many))]
    text = shown(plateau.table({"commit": "abc", "draws": 6, "rows": rows}))
    assert f"{few['probability']:.0e} · {few['weights']:.0e}" in text
    assert "±3.1, 4" in text


def test_the_circuit_alone_is_the_ring_of_the_generator():
    assert len(arguments("ring", 13, 16, 1)["theta"]) == 1248
