"""What is said arrives as it was said: every array to the bit, every number, on both ways; what is unsound does not."""

import json
from dataclasses import fields

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message
from flwr.common.serde import message_from_proto, message_to_proto
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from strategies.messages import Answer, Assignment, Halt, Refusal, Report, Score, Tuned
from strategies.wire import assign, assigned, count_bytes, pack, parcel, replied, reply

NAMES = st.lists(st.text("abcXYZ0_", min_size=1, max_size=3), min_size=1, max_size=2).map("/".join)
ARMS = st.sampled_from(["student", "twin", "third"])
DTYPES = st.sampled_from(["float32", "float64", "int64", "int32", "uint8", "bool"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=3)))
MOST = 10_000
NAMED = st.dictionaries(NAMES, ARRAYS, max_size=2)
FLOATS = st.floats(allow_nan=False)
COUNTS = st.integers(0, 10**12)
MATRICES = st.lists(st.lists(COUNTS, max_size=2), max_size=2)
COUNTED = st.dictionaries(NAMES, COUNTS, max_size=2)
SOUND = {bool: st.booleans(), str: st.text(), int: COUNTS, float: FLOATS, float | None: FLOATS | st.none()}


def said(what, known=None):
    """A message of plain values, whatever they are."""
    by_arm = st.dictionaries(ARMS, FLOATS)
    losses = dict.fromkeys(("loss", "exact_loss", "shot_loss", "shot_spread"), by_arm)
    values = {"arrays": NAMED, "accuracy": by_arm, **losses, "terms": by_arm}
    values |= {"confusion": st.dictionaries(ARMS, MATRICES), "holds": st.dictionaries(ARMS, COUNTED)}
    values |= {"chosen": st.dictionaries(NAMES, NAMES, max_size=2)}
    values |= {"spend_seconds": st.just(0.0)} | (known or {})
    return st.builds(what, **{f.name: values[f.name] if f.name in values else SOUND[f.type] for f in fields(what)})


REPLIES = {
    "answer": said(Answer),
    "reports": st.lists(said(Report, {"arm": ARMS}), max_size=2, unique_by=lambda report: report.arm),
    "a tuned teacher": st.tuples(said(Report, {"arm": ARMS}), said(Tuned)).map(list),
    "score": said(Score),
    "refusal": said(Refusal),
    "halt": said(Halt),
}
ASSIGNMENTS = said(
    Assignment,
    {
        "kind": st.sampled_from(["prepare", "train", "score"]),
        "run": st.text("abc-_ .7é", min_size=3).filter(lambda name: name.strip(".")),
        "most_bytes": st.just(MOST),
        "shared": NAMED,
        "teacher": NAMED,
        "arms": st.dictionaries(ARMS, st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=2)),
    },
)


def over_the_network(message):
    """The message as the other side gets it."""
    message.metadata.__dict__["_message_id"] = "m"
    return message_from_proto(message_to_proto(message))


def assert_same(found, sent):
    """Equal values of equal types; floats and arrays to the bit."""
    assert type(found) is type(sent)
    if isinstance(sent, dict):
        assert found.keys() == sent.keys()
        for key in sent:
            assert_same(found[key], sent[key])
    elif isinstance(sent, list):
        assert len(found) == len(sent)
        for one, other in zip(found, sent, strict=True):
            assert_same(one, other)
    elif isinstance(sent, np.ndarray):
        assert (found.dtype, found.shape) == (sent.dtype, sent.shape)
        assert found.tobytes() == sent.tobytes()
    elif isinstance(sent, float):
        assert sent.hex() == found.hex()
    elif hasattr(sent, "__dataclass_fields__"):
        assert_same(vars(found), vars(sent))
    else:
        assert found == sent


def asked():
    return assign(Assignment(kind="train", run="r", recipe_digest="d", most_bytes=MOST), 7, parcel({}, {}))


def heard(message):
    """A reply as the server gets it."""
    return replied(over_the_network(message), "d", MOST)


@settings(max_examples=25)
@given(sent=ASSIGNMENTS)
def test_an_assignment_arrives_as_it_was_sent(sent):
    message = assign(sent, 7, parcel(sent.shared, sent.arms, sent.teacher))
    assert message.metadata.dst_node_id == 7
    assert_same(assigned(over_the_network(message)), sent)


@pytest.mark.parametrize("kind", REPLIES)
@settings(max_examples=25)
@given(data=st.data())
def test_a_reply_arrives_as_it_was_sent(kind, data):
    sent = data.draw(REPLIES[kind])
    assert_same(heard(reply(sent, asked(), "d")), sent)


@pytest.mark.parametrize("array", [np.array(1.5), np.zeros((0, 3), np.float32), np.zeros(0, np.int64)], ids=str)
def test_an_array_without_axes_or_without_numbers_keeps_its_shape(array):
    sent = Answer(client=0, examples=1, arrays={"a": array}, seconds=0.0)
    assert_same(heard(reply(sent, asked(), "d")), sent)


def test_losses_that_are_not_numbers_arrive_too_and_are_judged_there():
    losses = {"student": float("nan"), "twin": float("inf")}
    sent = Score(
        **{"client": 0, "examples": 1, "accuracy": {}, "loss": losses, "confusion": {}, "majority": 0.0},
        **{"logistic": 0.0, "head": 0.0, "shots": 0, "seconds": 0.0},
    )
    found = heard(reply(sent, asked(), "d"))
    assert np.isnan(found.loss["student"])
    assert found.loss["twin"] == float("inf")


@given(named=st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_bytes_are_those_of_the_numbers(named):
    oracle = sum(len(array.tobytes()) for array in named.values())
    assert count_bytes(named) == oracle
    assert count_bytes(pack(named)) == oracle


def test_bytes_do_not_shrink_when_an_array_is_sent_twice():
    theta = np.ones(16, np.float32)
    assert count_bytes(parcel({"a": theta}, {"student": {"theta": theta}, "twin": {"theta": theta}})) == 3 * 64


def test_arrays_are_sent_by_value_whatever_their_layout():
    table = np.arange(12.0).reshape(3, 4)
    layouts = {"fortran": np.asfortranarray(table), "transposed": table.T, "strided": table[::2, ::-1]}
    found = heard(reply(Answer(client=0, examples=1, arrays=layouts, seconds=0.0), asked(), "d"))
    for name, array in layouts.items():
        np.testing.assert_array_equal(found.arrays[name], array)


@pytest.mark.parametrize(("kind", "type_"), [("prepare", "query"), ("train", "train"), ("score", "evaluate")])
def test_every_kind_of_visit_has_its_flower_message_type(kind, type_):
    message = assign(Assignment(kind=kind, run="r", recipe_digest="d", most_bytes=MOST), 7, parcel({}, {}))
    assert isinstance(message, Message)
    assert message.metadata.message_type == type_
    facts = message.content["facts"]
    assert isinstance(facts, ConfigRecord)
    assert json.loads(facts["json"]) == {
        "kind": kind,
        "run": "r",
        "recipe_digest": "d",
        "most_bytes": MOST,
        "corpus_digest": "",
        "round": 0,
        "stage": "",
        "memory_round": 0,
        "teacher_round": 0,
    }
