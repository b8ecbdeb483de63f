"""The benchmarks measure what they say: the peers' protocol, the memory sampler, the clock, and whole results files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench import containers, engine, executors, federation, noisy, processes, report, teacher
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
    assert names | {"serving", "ours", "gates"} == {path.stem for path in PEERS.glob("*.py")}


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
    deeper = ours | {"seconds": 2.0, "accuracy": 0.78, "peak_mb": 1400.0}
    said = {
        "default": ours,
        "deeper": deeper,
        "trainer": {"seconds": 8.0, "accuracy": 0.81, "loss": 0.4, "peak_mb": 2000.0},
    }
    monkeypatch.setattr(teacher, "alone", lambda side, train, validation, seed: {"tokens": 1000, **said[side]})
    *_, last = teacher.measure(10, 20, 3)
    results = json.loads(json.dumps(last))
    found = [(one["found"], one["met"]) for one in results["asked"]]
    assert found == [(8.0, True), (1.0, True), (1600, False), (4.0, False), (3.0, False), (1400, True)]
    text = shown(teacher.table(results))
    assert all(number in text for number in ("125", "500", "1,000", "4.0×", "8.0×", "80.0%", "81.0%"))
    default, deeper = teacher.note(results).splitlines()
    assert "top 8 layers" in default
    assert "under 1500 MB: 1600, NOT met" in default
    assert "top 12 layers" in deeper
    assert "at least 5 times the tokens: 4, NOT met; at most 2 points behind: 3, NOT met" in deeper


def test_a_noisy_batch_has_the_same_law_on_both_sides(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    for name, value in {"DEVICE": "manila", "ROWS": 3, "SHOTS": 500}.items():
        monkeypatch.setattr(noisy, name, value)
    results = json.loads(json.dumps(noisy.measure(1)))
    assert [(c["feature_map"], c["agree"]) for c in results["cells"]] == [("ry", True), ("zz", True)]
    results["cells"][0]["agree"] = False
    assert "NO" in shown(noisy.table(results))
    evenly = np.full((3, 16), 1 / 16)
    assert noisy.agree(evenly, evenly, 500)
    assert not noisy.agree(evenly, np.eye(16)[:3], 500)


def test_one_trained_vqc_is_scored_by_changing_the_executor_alone(monkeypatch):
    for name, value in {"TRAIN": 60, "TEST": 30, "EVALUATIONS": 30, "TURNS": 1}.items():
        monkeypatch.setattr(executors, name, value)
    monkeypatch.setattr(executors, "RUNS", (("exact", False), ("shots", False)))
    results = json.loads(json.dumps(executors.measure()))
    exact, drawn = results["rows"]
    assert (exact["apart"], exact["executor"], drawn["executor"]) == (0, "exact", "shots")
    assert 0 < drawn["apart"] < 0.03  # ½ / √1024 = 0.016 at most
    assert abs(drawn["nats"] - exact["nats"]) < 0.05
    assert exact["accuracy"] >= 0.6  # of rows it was not trained on
    assert "60 rows, scored on 30 others" in shown(executors.table(results))


def test_the_modes_take_turns_and_only_processes_have_a_limit():
    order = []

    def run(recipe, mode):
        order.append((recipe.name, mode))
        seconds = float(len(order)) if recipe.name == "smoke" else 0.5
        times = dict.fromkeys(("first_s", "round_s", "total_s"), seconds)
        return {**times, "memory_mb": 900.0, "load": 0.5 * len(order)}

    results = json.loads(json.dumps(processes.measure(4, 3, run, lambda text: None)))
    forth = [("noop", "sim"), ("noop", "processes"), ("smoke", "sim"), ("smoke", "processes")]
    back = [("noop", "processes"), ("noop", "sim"), ("smoke", "processes"), ("smoke", "sim")]
    assert order == [*forth, *back, *forth]
    cells = {(c["recipe"], c["on"]): c for c in results["cells"]}
    assert cells["smoke", "processes"]["round_s"] == 7.0  # the median of runs 4, 7 and 12
    assert [(c.get("limit_s"), c.get("met")) for c in cells.values()] == [
        (None, None),
        (6, True),
        (None, None),
        (10, True),
    ]
    assert len({c["recipe_digest"] for c in cells.values()}) == 2
    text = shown(processes.table(results))
    assert "7.00" in text
    assert "2.0–6.0" in text  # the loads of the runs of one cell
    assert "MISSED" not in text
    assert all(cell["recipe_digest"] in processes.note(results) for cell in cells.values())
    slow = cells["smoke", "processes"] | {"met": False}
    assert "10 MISSED" in shown(processes.table(results | {"cells": [slow]}))


def test_containers_stand_beside_processes_and_what_misses_its_limit_says_so():
    order = []

    def run(recipe, mode):
        order.append((recipe.student.size, mode))
        times = {"first_s": 30.0, "round_s": 2.4 if mode == "compose" else 2.0, "total_s": 50.0}
        return {**times, "load": 1.0}

    results = json.loads(json.dumps(containers.measure(4, 2, run, lambda text: None)))
    ours, theirs = "compose", "processes --secure"
    assert [mode for _, mode in order] == 2 * [theirs, ours, ours, theirs]
    assert [size * 4 for size, _ in order[4:]] == 4 * [50 * 2**20]
    assert "MISSED" not in shown(containers.table(results))
    slow = [cell | {"round_s": 2.7 if cell["what"] == "noop" else 20.5, "first_s": 61.0} for cell in results["cells"]]
    slow = [new if new["on"] == ours else old for new, old in zip(slow, results["cells"], strict=True)]
    text = shown(containers.table(results | {"cells": slow}))
    assert [one in text for one in ("61.0 MISSED", "2.70 MISSED", "20.50 MISSED")] == [True] * 3
    assert text.count("MISSED") == 3
    assert "within 1.3 times" in containers.note(results)


@pytest.mark.processes
def test_the_processes_benchmark_runs_and_writes_its_results(tmp_path):
    file = tmp_path / "processes.json"
    command = [sys.executable, "-m", "bench.processes", "--rounds", "2", "--repeats", "1", "--results", str(file)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(file.read_text())
    for cell in results["cells"]:
        (run,) = cell["runs"]
        assert 0 < run["round_s"] < run["first_s"] < run["total_s"]
        assert run["memory_mb"] > 100


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


def test_the_committed_report_of_a_large_run_keeps_to_its_seconds_and_megabytes():
    results = json.loads(report.RESULTS.read_text())
    rows = {row["what"]: row for row in results["rows"]}
    assert results["shape"] == "70 rounds, 60 clients"
    assert (rows["report"]["cpu"] < 5, rows["report"]["bytes"] < 3e6) == (True, True)
    assert rows["compare 25 runs"]["cpu"] < 10
    assert [row["limit"] for row in rows.values()] == [5, None, 10]


@pytest.mark.parametrize(
    ("change", "met"), [({}, "yes"), ({"cpu": 5.0}, "no"), ({"bytes": 3_000_000}, "no"), ({"wall": 60.0}, "yes")]
)
def test_a_report_is_within_its_limits_of_seconds_and_of_megabytes(change, met):
    row = {"what": "report", "wall": 1.0, "cpu": 1.0, "limit": 5.0, "bytes": 412_830, "load": 1.0}
    (found,) = report.table({"shape": "", "rows": [row | change]}).columns[4].cells
    assert found == met
