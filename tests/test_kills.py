"""The benchmark of deaths: which moments it draws, what it keeps, what its table says."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import kills
from bench.kills import CASES, Calm, begun, kept, same_arrays, table
from server.tables import markdown

GAPS = st.lists(st.floats(0.001, 100), min_size=3, max_size=12)


@given(gaps=GAPS, shares=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)))
def test_a_moment_lies_between_two_lines_and_later_shares_are_later_moments(gaps, shares):
    calm = Calm(Path(), list(np.cumsum(gaps)))
    for share in shares:
        seen, seconds = calm.moment(share)
        assert 1 <= seen <= len(gaps) - 2  # before the scores, which are the last line but one
        assert 0 <= seconds <= gaps[seen] * (1 + 1e-9)
    first, second = (calm.moment(share) for share in sorted(shares))
    assert first <= second


def test_every_tenth_of_a_run_has_its_kill_and_no_two_cases_the_same():
    calm = Calm(Path(), [0.0, 8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 49.0])
    at = [[calm.at[seen - 1] + seconds for seen, seconds in kills.moments(name, 10, calm)] for name in CASES]
    for times in at:
        assert [int(time / 4.8) for time in times] == list(range(10))
        assert all(earlier < later for earlier, later in pairwise(times))
    assert len({tuple(times) for times in at}) == len(CASES)


def test_results_of_this_commit_are_gone_on_with_and_what_failed_is_tried_again(tmp_path, monkeypatch):
    path, kill = tmp_path / "kills.json", {"case": "SuperLink", "number": 0, "of": 10, "passed": True}
    results = begun(path)
    assert results["kills"] == []
    results["kills"] += [kill | {"number": 1, "passed": False, "reason": "there was nothing to kill"}, kill]
    kept(results, path)
    assert begun(path)["kills"] == [kill]
    path.write_text(json.dumps(results | {"commit": "another"}))
    assert begun(path)["kills"] == []


def test_arrays_are_the_same_only_to_the_bit():
    one = {"student": {"theta": np.array([0.1, 0.0], np.float32)}}
    assert same_arrays(one, {"student": {"theta": one["student"]["theta"].copy()}})
    for other in (np.array([0.1, -0.0], np.float32), np.array([0.1, 0.0]), np.array([[0.1, 0.0]], np.float32)):
        assert not same_arrays(one, {"student": {"theta": other}})
    assert not same_arrays(one, {"twin": one["student"]})


@pytest.mark.parametrize("passed", [True, False])
def test_the_table_counts_what_is_as_it_must_be(passed, tmp_path):
    results = begun(tmp_path / "none.json")
    for number, good in enumerate((True, passed)):
        facts = {"case": "SuperNode, repeat", "number": number, "of": 2, "passed": good}
        results["kills"].append(facts | ({"resumed": True} if good else {"reason": "there was nothing to kill"}))
    row = markdown(table(results)).splitlines()[-1]
    assert row == f"| SuperNode | repeat | equal to the bit | 2 | {1 + passed} | {1 + passed} |"
