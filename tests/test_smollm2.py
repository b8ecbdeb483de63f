"""The embedded LLM: converted whole or not at all, and still itself afterwards."""

import numpy as np
import pytest

from data.corpus import DataError
from recipes.schema import TeacherConfig
from teacher import smollm2
from teacher.protocol import teacher

TEXTS = ["a wonderful film", "what a waste of time", "I loved every minute", "dull and far too long"] * 6


def test_a_conversion_that_fails_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "fetch", lambda asset: tmp_path / asset.file)
    monkeypatch.setattr(smollm2, "unpack", lambda archive, member, target: target)

    def fails(weights, target):
        target.mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(smollm2, "convert", fails)
    with pytest.raises(OSError, match="disk full"):
        smollm2.smollm2()
    assert not smollm2.converted().exists()
    assert list(smollm2.converted().parent.iterdir()) == []
    monkeypatch.setattr(smollm2, "convert", lambda weights, target: (target.mkdir(), target)[1])
    assert smollm2.smollm2() == smollm2.converted()
    monkeypatch.setattr(smollm2, "fetch", lambda asset: pytest.fail("fetched again"))
    assert smollm2.smollm2().is_dir()


@pytest.fixture
def folder():
    try:
        return smollm2.smollm2()
    except DataError as error:
        pytest.skip(f"no SmolLM2 weights: {error}")


@pytest.mark.slow
@pytest.mark.network
def test_the_converted_model_knows_the_capital_of_france(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(**tokenizer("The capital of France is", return_tensors="pt")).logits
    assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    text = "Ünïcode, a tab\t, 2024 and 🙂"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer(text)["input_ids"][0] != tokenizer.bos_token_id


@pytest.mark.slow
@pytest.mark.network
def test_the_embedded_model_tunes_on_a_handful_of_rows(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("teacher.models.located", lambda model: folder)  # found before the cache moves
    monkeypatch.setattr("teacher.base.located", lambda model: folder)
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    labels = np.array([1, 0, 1, 0] * 6)
    one = teacher(TeacherConfig(kind="lora", layers=2, epochs=12, batch=4, rate=2e-3, max_tokens=16), 2)
    tuning = one.tune(TEXTS[:16], labels[:16], TEXTS[16:], labels[16:])
    assert tuning.accuracy == 1.0
    assert tuning.loss < np.log(2)
    assert {name.partition("/")[0] for name in one.adapter()} == {"28", "29", "head"}
