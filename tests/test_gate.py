"""Nothing larger than a recipe's messages comes through the gate, nor what is no message; the rest comes unchanged."""

import hashlib
import json
import tracemalloc
from threading import Event

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
    pull_objects,
)
from flwr.superlink.grid import http_grid
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.load import load
from server import gate
from server.reference import Reference
from strategies.exchange import one_line
from strategies.messages import Assignment
from strategies.wire import assign, pack, parcel

MB = 10**6


def stored(message):
    """What a SuperLink holds of a message: contents by object, the message's own object last."""
    message.metadata.__dict__["_message_id"] = message.object_id
    return {object_id: one.deflate() for object_id, one in get_all_nested_objects(message).items()}


def message_with(**arrays):
    asked = assign(Assignment(kind="train", run="r", recipe_digest="d", most_bytes=MB), 7, parcel({}, {}))
    content = {"arrays": pack(arrays), "facts": ConfigRecord({"json": "{}"})}
    return Message(RecordDict(content), reply_to=asked)


def through(contents, most):
    """What comes through, and how many bytes were asked for."""
    asked = []

    def pull(object_id):
        asked.append(len(contents[object_id]))
        return contents[object_id]

    try:
        return gate.pulled(list(contents), pull, most=most), sum(asked)
    except ObjectPullError as error:
        return one_line(str(error)), sum(asked)


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(0, 500), max_size=4), same=st.booleans())
def test_a_sound_message_comes_through_to_the_bit(sizes, same):
    rng = np.random.default_rng(0)
    arrays = {f"a{i}": np.zeros(n) if same else rng.random(n) for i, n in enumerate(sizes)}
    contents = stored(message_with(**arrays))
    found, fetched = through(contents, MB)
    message = gate.opened(list(contents)[-1], found)
    flowers = inflate_object_from_contents(list(contents)[-1], pull_objects(list(contents), contents.__getitem__))
    assert message.object_id == flowers.object_id
    assert fetched == sum(map(len, contents.values()))
    record = message.content.array_records["arrays"]
    assert {name: array.numpy().tobytes() for name, array in record.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def test_no_more_is_fetched_once_it_is_too_much(monkeypatch):
    monkeypatch.setattr("flwr.app.message.array.FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", 50_000)
    contents = stored(message_with(a=np.random.default_rng(0).random(10 * MB // 8)))
    said, fetched = through(contents, MB)
    assert said.endswith("bytes; the messages of this recipe take at most 1,000,000")
    assert fetched < 2 * MB < sum(map(len, contents.values()))


def test_an_array_that_names_one_piece_a_thousand_times_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("flwr.app.message.array.FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", 50_000)
    contents = stored(message_with(a=np.zeros(100 * MB // 8)))
    assert sum(map(len, contents.values())) < MB / 2  # what its sender pays
    tracemalloc.start()
    said, _ = through(contents, MB)
    assert tracemalloc.get_traced_memory()[1] < 10 * MB
    tracemalloc.stop()
    assert "the messages of this recipe take at most 1,000,000" in said


def object_of(kind, children, body):
    content = f"{kind} {','.join(children)} {len(body)}".encode() + b"\x00" + body
    return hashlib.sha256(content).hexdigest(), content


BODIES = {
    "no JSON": b"{",
    "a piece that it does not have": json.dumps({"arraychunk_ids": [5]}).encode(),
    "no pieces": b"{}",
    "a shape of texts": json.dumps(
        {"arraychunk_ids": [0], "dtype": "x", "shape": ["a"], "stype": "numpy.ndarray"}
    ).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_cannot_be_put_together_is_the_error_of_one_client(body):
    piece = object_of("ArrayChunk", [], b"123")
    array = object_of("Array", [piece[0]], body)
    said, _ = through(dict([piece, array]), MB)
    assert said.startswith("its reply is not taken: ")
    said, _ = through(dict([object_of("Nonsense", [], b"")]), MB)
    assert said.startswith("its reply is not taken: ")


def test_a_piece_that_is_not_there_yet_is_asked_for_again_within_a_moment(monkeypatch):
    contents, waited = stored(message_with(a=np.arange(3))), []
    absent, wait = set(contents), Event.wait

    def pull(name):
        if name in absent:
            absent.remove(name)
            raise ObjectUnavailableError(name)
        return contents[name]

    def waiting(event, seconds=None):
        waited.extend([seconds] if seconds else [])
        return wait(event, seconds)

    monkeypatch.setattr(Event, "wait", waiting)
    gate.pulled(list(contents), pull, most=MB)
    assert len(waited) == len(contents)
    assert max(waited) <= 1.2 * gate.AGAIN_SECONDS  # and a fifth more or less, by Flower's dice


def test_flowers_grid_goes_through_the_gate_once_it_is_closed(monkeypatch):
    steps = ("pull_objects", "inflate_object_from_contents")
    for step in steps:
        monkeypatch.setattr(http_grid, step, getattr(http_grid, step))
    gate.close(7)
    assert http_grid.pull_objects.keywords == {"most": 7}
    assert http_grid.inflate_object_from_contents is gate.opened
    assert set(steps) <= set(http_grid.HttpGrid.pull_messages.__code__.co_names)


CHANGES = [[], ["features.reduction=pca"], ["teacher.federate=exact"], ["teacher.federate=average"]]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_message_of_a_run_is_within_the_bound(changes, run_here, monkeypatch):
    from client import app as client

    sizes, bounds = [], []
    known = client.reply

    def weighed(said, message, digest):
        made = known(said, message, digest)
        records = [one.content.array_records["arrays"] for one in (message, made)]
        sizes.extend(sum(len(array.data) for array in record.values()) for record in records)
        return made

    monkeypatch.setattr(client, "reply", weighed)
    monkeypatch.setattr(gate, "close", bounds.append)
    words = " ".join(["rounds=2", "optimiser.maxiter=18", *changes])
    run_here("run", {"recipe": "smoke", "override": words}, 2)
    assert max(sizes) <= bounds[0] <= 3 * max(sizes) + 2 * MB


def test_the_bound_grows_with_what_travels():
    sizes = (1_000, 1_000_000, 10_000_000)
    bounds = [
        gate.most_bytes(recipe, Reference(recipe))
        for recipe in (load("noop", [f"student.size={size}"]) for size in sizes)
    ]
    for size, bound in zip(sizes, bounds, strict=True):
        assert 4 * size < bound < 6 * size + 2 * MB


def test_where_the_llm_is_not_here_flowers_own_limit_holds(monkeypatch):
    recipe = load("smoke", ["teacher.kind=lora", "teacher.model=nobody/nothing", "teacher.federate=average"])
    reference = Reference(load("smoke"))
    assert gate.most_bytes(recipe, reference) == gate.FLOWER_BYTES
