"""An LLM teacher in a federation: tuned in round 1, not loaded again, and done without where it cannot be tuned."""

import json
import re
from math import log

import numpy as np
import pytest

from recipes.load import load
from recipes.section import InputError
from server.ablation import arms
from server.ledger import lines, untimed
from server.ready import ready
from server.summary import teachers
from teacher import lora
from teacher.protocol import TeacherError


@pytest.fixture
def config(tiny_llm, tmp_path, monkeypatch):
    """A run config: two clients with LLM teachers on small shares."""
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    words = {"kind": "lora", "model": str(tiny_llm()), "layers": 2, "epochs": 1, "max_tokens": 16, "dtype": "float32"}
    recipe = {"name": "llm", "clients": 2, "rounds": 2, "teacher": words, "optimiser": {"maxiter": 18}}
    features = {"encoder": "hidden", "model": words["model"], "layer": 2, "steps": 1}
    recipe |= {"data": {"rows": 40, "reference_rows": 20}, "features": features}
    return {"recipe": json.dumps(recipe), "rounds": 0, "override": ""}


@pytest.fixture
def loads(monkeypatch):
    asked, real = [], lora.base
    monkeypatch.setattr(lora, "base", lambda *what: (asked.append(what), real(*what))[1])
    return asked


def test_clients_in_new_processes_load_the_llm_in_round_1_only_and_an_ablation_never_again(run_here, config, loads):
    from client.participant import participant

    counts = []

    def in_a_new_process(client, message):
        participant.cache_clear()
        counts.append(len(loads))

    first = [untimed(line) for line in lines(run_here("one", config, 2, act=in_a_new_process))]
    tuned = next(place for place, count in enumerate(counts) if count)
    assert counts[tuned + 1 :] == [len(loads)] * (len(counts) - tuned - 1)
    loads.clear()
    again = [untimed(line) for line in lines(run_here("two", config, 2, shuffle=3))]
    assert not loads  # kept tunings
    assert again == first


def test_tuning_is_timed_apart_and_takes_no_time_once_it_was_kept(run_here, config):
    first, again = run_here("one", config, 2), run_here("two", config, 2)
    tunings = [line["seconds"]["tuning"] for line in lines(first) if line["kind"] == "round"]
    assert [sorted(tuning) for tuning in tunings] == [["0", "1"], []]
    assert all(time["seconds"] > 0 and time["tokens_per_second"] > 0 for time in tunings[0].values())
    last = [line for line in lines(first) if line["kind"] == "round"][-1]["arms"]["student"]["clients"].values()
    loss, f1 = (np.mean([said[f"teacher_{name}"] for said in last]) for name in ("loss", "f1"))
    told = [teachers([line for line in lines(run) if line["kind"] == "round"]) for run in (first, again)]
    assert all(f"held out {loss:.3f} nats, accuracy " in said and f"F1 {f1:.3f}, mean of 2" in said for said in told)
    assert re.search(r"mean of 2 clients · 2 tunings in [0-9.]+ s together, [0-9,]+ tokens/s$", told[0])
    assert told[1].endswith("mean of 2 clients · none had to be tuned")


def test_the_arms_of_an_ablation_share_the_teachers_that_the_first_of_them_tuned(run_here, config, loads, monkeypatch):
    learnt, real = [], lora.LoraTeacher.learn
    monkeypatch.setattr(
        lora.LoraTeacher, "learn", lambda self, *rows: (learnt.append(self.client), real(self, *rows))[1]
    )
    parts = ["regulate.law=adaptive", "select.by=alignment", "distil.weight=0.5", "aggregate.tau=1"]
    asked = {}
    for name, changes in arms(config["recipe"], parts).items():
        loads.clear()
        run_here(name, config | {"recipe": load(config["recipe"], changes).as_json()}, 2)
        asked[name] = len(loads)
    assert sorted(learnt) == [0, 1]
    assert {name for name, times in asked.items() if times} == {"plain", "distillation only"}  # new rows to answer


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("teacher.targets=[query]", "teacher.targets has query; the modules in a layer of .* are q_proj, k_proj"),
        ("teacher.max_tokens=512", "teacher.max_tokens is 512; .* takes 64 tokens at most"),
        ("features.layer=9", "features.layer is 9; .* has 4 layers"),
    ],
)
def test_what_the_llm_cannot_do_is_refused_before_a_run(config, override, reason):
    with pytest.raises(InputError, match=reason):
        ready(load(config["recipe"], [override]), fetch=False)


def test_a_client_that_cannot_tune_its_teacher_says_so_and_the_federation_goes_on(run_here, config, monkeypatch):
    real = lora.LoraTeacher.tune

    def tune(self, *given):
        if self.client == 1:
            raise TeacherError("all 24 training rows are of class 1, so there is nothing to learn")
        return real(self, *given)

    monkeypatch.setattr(lora.LoraTeacher, "tune", tune)
    ledger = lines(run_here("one", config, 2))
    rounds = [line for line in ledger if line["kind"] == "round"]
    reports = [line["arms"]["student"]["clients"] for line in rounds]
    reason = "no teacher of its own: all 24 training rows are of class 1, so there is nothing to learn"
    assert [report["1"]["note"] for report in reports] == [reason] * 2
    assert [report["1"]["teacher_loss"] for report in reports] == [log(2)] * 2
    assert reports[0]["0"]["note"] == ""
    assert ledger[-1]["state"] == "completed"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("data.partition=shards data.shards=1", "all 24 training rows are of class [01], so there is nothing to learn"),
        ("data.labelled=0.1", "3 training rows are too few to tune a teacher; it needs 4"),
    ],
)
def test_clients_whose_rows_teach_no_llm_say_so_and_their_students_learn(overrides, reason, run_here, config, loads):
    ledger = lines(run_here("one", config | {"override": overrides}, 2))
    reports = [line["arms"]["student"]["clients"] for line in ledger if line["kind"] == "round"]
    assert [sorted(report) for report in reports] == [["0", "1"]] * 2
    for report in reports:
        for said in report.values():
            assert re.fullmatch(f"no teacher of its own: {reason}", said["note"])
    assert not loads
    assert ledger[-1]["state"] == "completed"
