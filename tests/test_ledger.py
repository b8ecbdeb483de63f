"""The ledger: whole lines, no NaN, and a rewind that leaves what its checkpoint has seen."""

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from server.ledger import SCHEMA, Ledger, finite, lines, untimed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.integers() | st.text(), part, max_size=3),
    max_leaves=8,
)
KINDS = ["prepare", "prepare", "round", "round", "round", "score", "end"]


def write(folder, *kinds):
    """A ledger of these kinds of line; rounds are numbered."""
    ledger, number = Ledger(folder), 0
    for kind in kinds:
        number += kind == "round"
        ledger.append({"kind": kind} | ({"round": number} if kind in ("round", "score") else {}))
    return ledger


def kinds(folder):
    return [line["kind"] for line in lines(folder)]


@settings(max_examples=50)
@given(written=st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=4))
def test_what_is_appended_is_read_back_as_strict_json(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder)
    for line in written:
        ledger.append(line)
    expected = [json.loads(json.dumps({"schema": SCHEMA} | finite(line))) for line in written]
    assert lines(folder) == expected
    text = ledger.path.read_text() if written else ""
    assert "NaN" not in [token.strip('",') for token in text.split()]
    assert text.count("\n") == len(written)


def test_a_number_that_is_not_finite_becomes_null_wherever_it_stands(tmp_path):
    line = {"a": math.nan, "b": [1.0, math.inf, {"c": (-math.inf, 2)}], 3: "kept"}
    Ledger(tmp_path).append(line)
    assert lines(tmp_path) == [{"schema": SCHEMA, "a": None, "b": [1.0, None, {"c": [None, 2]}], "3": "kept"}]


def test_a_line_that_is_still_being_written_is_not_there_yet(tmp_path):
    assert lines(tmp_path) == []
    ledger = write(tmp_path, "prepare", "round")
    with ledger.path.open("a") as file:
        file.write('{"schema": 1, "kind": "rou')
    assert kinds(tmp_path) == ["prepare", "round"]


def test_a_rewind_drops_what_the_checkpoint_has_not_seen_and_a_torn_line(tmp_path):
    ledger = write(tmp_path, *KINDS)
    with ledger.path.open("a") as file:
        file.write('{"kind": "rou')
    ledger.rewind(2)
    assert [(line["kind"], line.get("round")) for line in lines(tmp_path)] == [
        ("prepare", None),
        ("prepare", None),
        ("round", 1),
        ("round", 2),
    ]
    ledger.append({"kind": "round", "round": 3})
    assert lines(tmp_path)[-1] == {"schema": SCHEMA, "kind": "round", "round": 3}
    assert len(ledger.path.read_text().splitlines()) == 5


def test_a_rewind_to_the_end_drops_the_score_and_the_end_and_is_the_same_twice(tmp_path):
    ledger = write(tmp_path, *KINDS)
    ledger.rewind(3)
    once = ledger.path.read_bytes()
    ledger.rewind(3)
    assert ledger.path.read_bytes() == once
    assert kinds(tmp_path) == ["prepare", "prepare", "round", "round", "round"]


def test_a_rewind_keeps_every_bit_of_what_it_keeps(tmp_path):
    ledger = Ledger(tmp_path)
    line = {"kind": "round", "round": 1, "loss": 0.1 + 0.2, "text": "é→\u2028", "seconds": {"at": 1e9 / 3}}
    ledger.append(line)
    before = lines(tmp_path)
    ledger.rewind(1)
    assert lines(tmp_path) == before == [{"schema": SCHEMA, **line}]


def test_a_ledger_that_is_not_there_is_rewound_to_nothing(tmp_path):
    Ledger(tmp_path).rewind(0)
    assert lines(tmp_path) == []


def test_only_seconds_are_times():
    line = {"kind": "round", "round": 1, "seconds": {"at": 1.0}, "bytes_up": 3}
    assert untimed(line) == {"kind": "round", "round": 1, "bytes_up": 3}
