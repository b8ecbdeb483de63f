"""Whatever arrives is a reply, or one line that says why not: never an exception, nor memory without end, nor code."""

import ast
import json
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from strategies import collect
from strategies.exchange import hear
from strategies.intake import arrays_in, facts_in
from strategies.messages import Answer, Assignment, Refusal, Report
from strategies.wire import assign, assigned, pack, parcel, reply

ROOT = Path(__file__).parent.parent
MOST = 10_000
FACTS = {"client": 0, "arm": "student", "examples": 5, "student_loss": 0.5, "student_accuracy": 0.5}
FACTS |= {"teacher_loss": 0.4, "teacher_accuracy": 0.5, "teacher_f1": 0.5}
FACTS |= {"maxiter": 1, "evaluations": 1, "shots": 0, "seconds": 0.1}
EXPECTED = {"student": {"theta": np.zeros(3, np.float32)}}


def asked(**changes):
    facts = {"kind": "train", "run": "r", "recipe_digest": "d", "most_bytes": MOST} | changes
    return assign(Assignment(**facts), 7, parcel({}, {"student": EXPECTED["student"]}))


def sent(facts, record=None):
    """A reply of any text and any arrays, as a hostile node makes it."""
    content = {"arrays": record or ArrayRecord(), "facts": ConfigRecord({"json": facts})}
    return Message(RecordDict(content), reply_to=asked())


def raw(header, body=b""):
    """An array of NumPy's format with any header."""
    file = BytesIO()
    npy.write_array_header_1_0(file, {"fortran_order": False} | header)
    return Array("float32", (3,), "numpy.ndarray", file.getvalue() + body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FACTS, "x"]), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["reports", "answer", "score", "refusal", "halt", "x"])
ODD = st.sampled_from(
    [0, -1, 10**9, 10**12, 2**63, 10**400, 1e308, float("nan"), float("inf"), True, "", "x", None, []]
)
REPORT = st.dictionaries(st.sampled_from(list(FACTS)), ODD, max_size=3).map(lambda odd: {"reports": [FACTS | odd]})


@settings(max_examples=300)
@given(said=REPORT | st.dictionaries(KINDS, JSON, max_size=2) | JSON, digest=st.booleans())
@example(said={"reports": [FACTS | {"examples": 10**400}]}, digest=True)
@example(said=[], digest=False)
def test_any_json_is_a_reply_or_a_refusal_and_what_is_used_is_finite(said, digest):
    facts = said | {"recipe_digest": "d"} if digest and isinstance(said, dict) else said
    found = hear(sent(json.dumps(facts), pack({"student/theta": np.ones(3, np.float32)})), "d", MOST)
    if isinstance(found, Refusal):
        assert len(found.reason) < 1000
        assert "\n" not in found.reason
    usable, failed = collect.reports([(0, found)], {"student": [0]}, EXPECTED)
    for report in usable["student"]:
        assert np.isfinite([report.student_loss, report.seconds, float(report.examples)]).all()
    assert usable["student"] or failed


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "", '{"a": 1e999}', "\ud800", "nul"])
def test_text_that_is_no_json_is_refused(text):
    assert "its reply is not taken" in hear(sent(text), "d", MOST).reason


@settings(max_examples=200)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_array_or_refused(data):
    try:
        found = arrays_in({"a": Array("float32", (3,), "numpy.ndarray", data)}, MOST)
    except ValueError:
        return
    assert found["a"].nbytes <= len(data)


HEADERS = {
    "a header that promises an exabyte": raw({"descr": "<f8", "shape": (2**57,)}),
    "a shape that overflows": raw({"descr": "<f8", "shape": (2**62, 2**62)}),
    "a negative axis": raw({"descr": "<f4", "shape": (-1, -3)}, bytes(12)),
    "an axis too few": raw({"descr": "<f4", "shape": (2,)}, bytes(12)),
    "Python objects": raw({"descr": "|O", "shape": (1,)}, pickle.dumps([print])),
    "texts": raw({"descr": "<U1", "shape": (3,)}, bytes(12)),
    "fields": raw({"descr": [("x", "<f4")], "shape": (3,)}, bytes(12)),
    "another format": Array("float32", (3,), "torch.tensor", b""),
    "a pickle": Array("float32", (3,), "numpy.ndarray", pickle.dumps(np.zeros(3))),
    "a file of torch": Array("float32", (3,), "numpy.ndarray", b"PK\x03\x04" + bytes(60)),
}


@pytest.mark.parametrize("array", HEADERS.values(), ids=HEADERS)
def test_an_array_that_is_not_what_it_says_is_refused_before_it_is_made(array):
    report = json.dumps({"reports": [FACTS], "recipe_digest": "d"})
    found = hear(sent(report, ArrayRecord({"student/theta": array})), "d", MOST)
    assert found.reason.startswith("its reply is not taken (")


class Weapon:
    """What runs code when it is unpickled."""

    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return (Path.touch, (self.trap,))


@pytest.mark.parametrize("carrier", ["an array of objects", "the bytes themselves", "a file of torch"])
def test_a_pickle_that_is_sent_is_not_run(carrier, tmp_path):
    trap = tmp_path / "sprung"
    armed = pickle.dumps(Weapon(trap))
    pickle.loads(armed)
    assert trap.exists()  # it would
    trap.unlink()
    if carrier == "a file of torch":
        import torch

        file = BytesIO()
        torch.save(Weapon(trap), file)
        array = Array("float32", (3,), "numpy.ndarray", file.getvalue())
    elif carrier == "the bytes themselves":
        array = Array("float32", (3,), "numpy.ndarray", armed)
    else:
        array = raw({"descr": "|O", "shape": (1,)}, armed)
    report = json.dumps({"reports": [FACTS], "recipe_digest": "d"})
    assert isinstance(hear(sent(report, ArrayRecord({"student/theta": array})), "d", MOST), Refusal)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "a//b", "", ".", "..", "a\\b", "a\0b", "x" * 999])
def test_a_path_is_no_name_of_an_array_nor_of_a_run(name):
    facts = {"answer": {"client": 0, "examples": 1, "seconds": 0.0}, "recipe_digest": "d"}
    record = pack({name: np.zeros(1)})
    assert " name " in hear(sent(json.dumps(facts), record), "d", MOST).reason
    with pytest.raises(ValueError, match=r"name "):
        assigned(asked(run=name))


def test_a_message_larger_than_the_recipe_s_is_refused_on_both_ways():
    answer = Answer(client=0, examples=1, arrays={"a": np.zeros(MOST)}, seconds=0.0)
    with pytest.raises(ValueError, match=r"80,000 bytes; the messages of this recipe take at most 10,000"):
        reply(answer, asked(), "d")
    facts = {"answer": {"client": 0, "examples": 1, "seconds": 0.0}, "recipe_digest": "d"}
    found = hear(sent(json.dumps(facts), pack(answer.arrays)), "d", MOST)
    assert "take at most 10,000" in found.reason
    message = assign(Assignment(kind="train", run="r", recipe_digest="d", most_bytes=9), 7, parcel(answer.arrays, {}))
    with pytest.raises(ValueError, match="take at most 9"):
        assigned(message)


def test_a_reply_of_another_recipe_is_refused_and_a_refusal_needs_none():
    one = Report(**FACTS, arrays=EXPECTED["student"])
    assert hear(reply([one], asked(), "d"), "d", MOST)[0].client == 0
    found = hear(reply([one], asked(), "other"), "d", MOST)
    assert "it is of recipe other, and this run's is d" in found.reason
    assert hear(reply(Refusal(client=0, reason="cannot"), asked(), ""), "d", MOST).reason == "cannot"


@given(st.dictionaries(st.text(max_size=4), st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=9), max_size=4))
def test_facts_in_proportion_arrive(facts):
    assert facts_in(json.dumps(facts)) == facts


@pytest.mark.parametrize("value", [10**19, -(10**400), "x" * 20_000, {"x" * 20_000: 1}, [[["x" * 20_000]]]])
def test_facts_out_of_proportion_do_not(value):
    with pytest.raises(ValueError, match=r"a (whole number|text) of [\d,]+ (digits|letters)"):
        facts_in(json.dumps({"a": value}))


FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FOLDERS = ("recipes", "data", "quantum", "teacher", "strategies", "client", "server", "deploy")
OURS = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def unpickles(path):
    """Where a file of ours may unpickle: an import, torch.load, or NumPy told to."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if FORBIDDEN & {name.partition(".")[0] for name in names}:
            yield node.lineno
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            allows = any(one.arg == "allow_pickle" and ast.unparse(one.value) != "False" for one in node.keywords)
            if called in ("torch.load", "eval", "exec", "numpy.fromfile") or allows:
                yield node.lineno


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_code_of_ours_unpickles_anything(path):
    assert list(unpickles(path)) == []


def test_the_search_for_unpickling_finds_it(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("import pickle\nfrom dill import loads\ntorch.load(f)\nnp.load(f, allow_pickle=True)\nnp.load(f)\n")
    assert sorted(unpickles(file)) == [1, 2, 3, 4]
