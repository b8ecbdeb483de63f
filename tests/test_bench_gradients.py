"""The benchmark of gradients: equal work on every side, and a table that hides nothing."""

import json
import sys

import pytest
from rich.console import Console

from bench import gradients
from bench.peer import PEERS, Peer, PeerError

SMALL = {"qubits": 4, "reps": 2, "rows": 3}


@pytest.mark.parametrize("work", ["ring", "layered"])
def test_both_our_engines_do_the_peers_work_and_agree(work):
    with Peer("ours", [sys.executable, "-u", str(PEERS / "ours.py")]) as us:
        args = gradients.arguments(work, **SMALL)
        first, second = (us.ask(work, args | {"kernel": kernel}, warmup=0) for kernel in ("compiled", "torch"))
    assert first.check == pytest.approx(second.check, abs=1e-5)
    assert len(first.check) == (9 if work == "ring" else 13)


class Fake:
    def __init__(self, name, seconds, check):
        self.name, self.seconds, self.check = name, seconds, check
        self.asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, work, args, **_):
        self.asked += 1
        if self.check is None:
            raise PeerError(f"{self.name}: no such gate")
        return gradients.Answer(seconds=[self.seconds], peak_mb=100.0, version="1.0", check=self.check)


def test_the_table_shows_ratios_reasons_and_disagreement(monkeypatch):
    sides = {
        "qflock compiled": Fake("ours", 0.002, [1.0, 2.0]),
        "TensorCircuit": Fake("tc", 0.1, [1.0, 2.5]),
        "DeepQuantum": Fake("dq", 9.0, [1.0, 2.0]),
        "PennyLane": Fake("pl", 0.1, None),
    }
    monkeypatch.setattr(gradients, "SIDES", {name: (name, {}) for name in sides})
    monkeypatch.setattr(gradients, "_side", lambda side, *_: sides[side])
    row = gradients.row(next(iter(gradients.WORKS)), turns=3)
    assert (sides["TensorCircuit"].asked, sides["DeepQuantum"].asked) == (4, 1)
    head = {"commit": "abc", "machine": {"cpu": "CPU", "load": 0.5}, "turns": 3}
    results = json.loads(json.dumps({**head, "rows": [row]}))
    console = Console(width=200)
    with console.capture() as captured:
        console.print(gradients.table(results))
    text = captured.get()
    for shown in ("2.0 (1×, 100 MB)", "100.0 (50×, 100 MB) DISAGREES", "9000.0* (4500×, 100 MB)", "not run"):
        assert shown in text
    assert gradients.note(results) == "PennyLane: pl: no such gate\n* asked once"
