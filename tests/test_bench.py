"""The benchmarks measure what they say: the peers' protocol, the memory sampler, the clock, and whole results files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench import engine, federation, teacher
from bench.memory import Peak
from bench.peer import PEERS, Peer, PeerError, interpreter, ours

FAKE = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["work"] == "die":
        sys.exit("no licence for this work")
    if asked["work"] == "hang":
        import time; time.sleep(60)
    if asked["work"] == "babble":
        print("hello", flush=True); continue
    if asked["work"] == "refuse":
        print(json.dumps({"error": "ValueError: no such work"}), flush=True); continue
    said = {"seconds": [0.25] * asked["repeats"], "peak_mb": 12.5, "version": "1.0", "check": asked["args"]["numbers"]}
    print(json.dumps(said), flush=True)
"""


@pytest.fixture
def fake(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    with Peer("fake", [sys.executable, "-u", str(script)], reply_seconds=2) as peer:
        yield peer


def shown(table) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_a_peer_answers_request_after_request(fake):
    for numbers in ([1.0], [2.0, 3.0]):
        answer = fake.ask("anything", {"numbers": numbers}, repeats=3)
        assert answer.seconds == [0.25] * 3
        assert answer.check == numbers
        assert (answer.peak_mb, answer.version) == (12.5, "1.0")


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ("refuse", "fake: ValueError: no such work"),
        ("die", "fake ended with code 1: no licence for this work"),
        ("babble", "fake said 'hello"),
        ("hang", "fake gave no answer in 2 s"),
    ],
)
def test_a_peer_that_cannot_answer_says_why(fake, work, reason):
    with pytest.raises(PeerError, match=reason):
        fake.ask(work, {})


def test_a_served_peer_times_repeats_survives_a_failure_and_keeps_prints_out_of_the_protocol(tmp_path):
    script = tmp_path / "served.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PEERS)!r})\n"
        "import time\nfrom serving import serve\n"
        "def nap(seconds):\n"
        "    runs = []\n"
        "    return lambda: (print('noise'), time.sleep(seconds), runs.append(0), [len(runs)])[-1]\n"
        "serve({'nap': nap}, '2.0')\n"
    )
    with Peer("served", [sys.executable, "-u", str(script)]) as peer:
        with pytest.raises(PeerError, match="KeyError: 'sleep'"):
            peer.ask("sleep", {})
        answer = peer.ask("nap", {"seconds": 0.02}, warmup=2, repeats=3)
    assert answer.check == [5.0]
    assert len(answer.seconds) == 3
    assert all(0.02 <= seconds < 1 for seconds in answer.seconds)
    assert 1 < answer.peak_mb < 1000


def test_an_environment_that_cannot_be_made_names_the_peer_and_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    made = []

    def run(command, **kwargs):
        made.append(command)
        failed = "pip" in command
        return subprocess.CompletedProcess(command, int(failed), "", "noise\nERROR: No matching distribution\n")

    monkeypatch.setattr("bench.peer.subprocess.run", run)
    wanted = tmp_path / "wanted.txt"
    wanted.write_text("nothing-of-the-kind\n")
    for _ in range(2):  # an environment that failed is tried again
        with pytest.raises(
            PeerError, match=r"environment of other cannot be made: No matching distribution\. It needs"
        ):
            interpreter("other", wanted)
    assert len(made) == 4


def test_every_peer_has_requirements_and_a_script():
    names = {path.stem for path in PEERS.glob("*.txt")}
    assert names
    assert names | {"serving", "ours"} == {path.stem for path in PEERS.glob("*.py")}


def test_our_side_of_the_engine_benchmark_fits_within_its_evaluations():
    with ours() as us:
        answer = us.ask("vqc_fit", engine.arguments("ry"), warmup=0)
    assert len(answer.check) == engine.EVALUATIONS
    assert min(answer.check) < answer.check[0]


def test_a_round_lasts_from_one_aggregation_to_the_next_and_the_first_is_left_out():
    measured = federation.of_rounds([100.0, 100.1, 100.3, 100.4])
    assert measured == {"round_ms": 100.0, "rounds_ms": [100.0, 200.0, 100.0]}


def test_peak_memory_sees_a_child_and_that_it_grew():
    code = "import time; held = bytearray(80_000_000); time.sleep(1)"
    with Peak(os.getpid(), 0.02) as alone:
        pass
    with Peak(os.getpid(), 0.02) as peak:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 80 < peak.family_mb - alone.family_mb < 200
    assert peak.simulation_mb == 0
    assert peak.kind in ("pss", "rss")


def fake_run(round_ms, family_mb):
    def run(recipe):
        time_ms = round_ms * recipe.clients
        sizes = {"family_mb": family_mb + recipe.clients, "simulation_mb": 100.0}
        return {"round_ms": time_ms, "rounds_ms": [time_ms], "load": 0.5, "memory_kind": "pss", **sizes}

    return run


@pytest.fixture
def results(monkeypatch):
    monkeypatch.setattr(federation, "SIDES", {"bare": fake_run(20.0, 900.0), "ours": fake_run(27.0, 950.0)})
    return json.loads(json.dumps(federation.measure((5, 20), (10, 20), 2, lambda text: None)))


def test_federation_results_are_complete_and_carry_no_path(results):
    assert {
        "schema",
        "commit",
        "command",
        "date",
        "machine",
        "python",
        "packages",
        "rounds",
        "repeats",
    } < results.keys()
    assert {"cpu", "cores", "platform", "load"} == results["machine"].keys()
    assert [(c["size"], c["clients"]) for c in results["cells"]] == [(10, 5), (10, 20), (20, 5), (20, 20)]
    digests = {c["recipe_digest"] for c in results["cells"]}
    assert len(digests) == 4
    assert all(len(c["runs"][side]) == 2 for c in results["cells"] for side in ("bare", "ours"))
    assert str(Path(__file__).parents[1]) not in json.dumps(results)


def test_a_cell_meets_its_limit_by_the_factor_or_by_the_slack(results):
    few, many = results["cells"][:2]
    assert (few["bare_ms"], few["ours_ms"], few["limit_ms"], few["met"]) == (100, 135, 150, True)  # 50 ms of slack
    assert (many["bare_ms"], many["ours_ms"], many["limit_ms"], many["met"]) == (400, 540, 520, False)  # 1.3 times
    assert results["memory"] == {
        **{"size": 10, "clients": [5, 20], "bare_rise_mb": 15, "ours_rise_mb": 15, "limit_mb": 100.0, "met": True}
    }


def test_the_federation_table_and_verdict_come_from_the_results_alone(results):
    text = shown(federation.table(results))
    assert "135" in text
    assert "1.35" in text
    assert "NO" in text
    assert "2 of 4 cells" in federation.verdict(results)


def test_the_engine_table_comes_from_the_results_alone():
    class Fake:
        def __init__(self, name, seconds):
            self.name, self.seconds = name, seconds

        def ask(self, work, args, *, warmup):
            from bench.peer import Answer

            return Answer([self.seconds], 100.0, "3.1", [0.7, 0.6])

    results = json.loads(json.dumps(engine.measure(Fake("qflock", 0.002), Fake("other", 0.5), 3)))
    assert [(c["feature_map"], c["ratio"], c["agree"]) for c in results["cells"]] == [
        ("ry", 250, True),
        ("zz", 250, True),
    ]
    text = shown(engine.table(results))
    assert "250×" in text
    assert "other 3.1" in text


def test_the_teacher_table_and_verdict_come_from_the_results_alone(monkeypatch):
    ours = {"filling_seconds": 2.0, "seconds": 1.0, "accuracy": 0.80, "loss": 0.5, "peak_mb": 1600.0}
    said = {"ours": ours, "trainer": {"seconds": 8.0, "accuracy": 0.81, "loss": 0.4, "peak_mb": 2000.0}}
    monkeypatch.setattr(teacher, "alone", lambda side, train, validation, seed: {"tokens": 1000, **said[side]})
    results = json.loads(json.dumps(teacher.measure(10, 20, 3)))
    assert [(one["found"], one["met"]) for one in results["asked"]] == [(8.0, True), (1.0, True), (1600.0, False)]
    text = shown(teacher.table(results))
    assert all(number in text for number in ("125", "500", "1,000", "4.0×", "8.0×", "80.0%", "81.0%"))
    assert "under 1500 MB: 1600, NOT met" in teacher.note(results)


@pytest.mark.slow
def test_the_quick_federation_benchmark_runs_and_writes_its_results(tmp_path):
    file = tmp_path / "federation.json"
    command = [sys.executable, "-m", "bench.federation", "--quick", "--results", str(file)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(file.read_text())
    (cell,) = results["cells"]
    assert (cell["clients"], cell["size"], len(cell["runs"]["ours"][0]["rounds_ms"])) == (5, 1500, 20)
    assert cell["ours_family_mb"] > cell["ours_simulation_mb"] > 0
    assert results["command"].startswith("python -m bench.federation --quick")
