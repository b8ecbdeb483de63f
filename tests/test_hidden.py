"""The untuned LLM as an encoder, against transformers' own hidden states."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from recipes.schema import FeaturesConfig
from recipes.section import InputError
from teacher import machine
from teacher.base import base
from teacher.encoders import encoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[1]
TEXTS = ["good", "bad sad table lamp desk chair", "fine <end> good", "lamp great"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("teacher.machine.FAST_BFLOAT16", set())  # `auto` is float32 on any machine


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom"])
@pytest.mark.parametrize("layer", [1, 3, 4])
def test_a_text_is_the_mean_of_a_layers_states_over_its_real_tokens(family, layer, tiny_llm):
    model = transformers.AutoModel.from_pretrained(tiny_llm(family), dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_llm(family))
    wanted = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            said = model(input_ids=ids, output_hidden_states=True)
        states = said.last_hidden_state if layer == 4 else said.hidden_states[layer]
        wanted.append(states[0].mean(dim=0).numpy())
    stage = encoder(FeaturesConfig(encoder="hidden", model=str(tiny_llm(family)), layer=layer))
    assert_allclose(stage.encoder.apply({}, TEXTS), np.array(wanted), atol=1e-5)
    assert stage.size == (16 if (family, layer) == ("opt", 4) else 32)  # this OPT projects its last states


def test_texts_are_encoded_once_and_another_layer_is_another_encoding(tiny_llm, monkeypatch):
    stage, other = (encoder(FeaturesConfig(encoder="hidden", model=str(tiny_llm()), layer=layer)) for layer in (2, 3))
    first = stage.encoder.apply({}, TEXTS)
    assert (first != other.encoder.apply({}, TEXTS)).any()
    monkeypatch.setattr("teacher.base.base", lambda *what: pytest.fail("the LLM was loaded again"))
    assert_array_equal(stage.encoder.apply({}, TEXTS), first)


def test_a_text_has_the_same_bits_in_any_company(tiny_llm, tmp_path, monkeypatch):
    stage = encoder(FeaturesConfig(encoder="hidden", model=str(tiny_llm()), layer=2)).encoder
    together = stage.apply({}, TEXTS)
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "another"))
    assert_array_equal(np.concatenate([stage.apply({}, [text]) for text in TEXTS[::-1]])[::-1], together)


def test_a_process_that_comes_to_compute_in_another_number_type_loads_its_llm_anew(tiny_llm, monkeypatch):
    found = []
    for kind in ("bfloat16", "float32"):
        monkeypatch.setattr("teacher.base.number_type", lambda dtype, kind=kind: kind)
        found.append(base(str(tiny_llm()), "auto", False).model.dtype)
    assert found == [torch.bfloat16, torch.float32]


def test_a_layer_that_the_model_lacks_is_refused(tiny_llm):
    stage = encoder(FeaturesConfig(encoder="hidden", model=str(tiny_llm()), layer=5))
    with pytest.raises(InputError, match=r"features.layer is 5; .* has 4 layers"):
        stage.encoder.apply({}, TEXTS)


@pytest.mark.skipif(not torch.__version__.endswith("+cpu"), reason="another torch is asked whether it has a device")
def test_what_is_kept_is_named_without_loading_torch():
    code = "import sys; from teacher.base import facts; facts('smollm2', 'auto', False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("flags", "wanted"), [("flags : fpu avx512_bf16", "bfloat16"), ("flags : fpu avx2", "float32"), ("", "float32")]
)
def test_auto_is_bfloat16_where_the_cpu_is_fast_with_it(flags, wanted, tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "device", lambda: "cpu")
    machine.able.cache_clear()
    assert machine.number_type("auto") == wanted
    assert machine.number_type("bfloat16") == "bfloat16"
    machine.able.cache_clear()


def test_columns_far_larger_than_the_others_are_scaled_over_all_clients(tiny_llm):
    stage = encoder(FeaturesConfig(encoder="hidden", model=str(tiny_llm()), layer=2))
    answers = [stage.local({}, rows, np.zeros(len(rows))) for rows in (TEXTS[:1], TEXTS[1:])]
    scaled = stage.apply(stage.merge({}, answers, [1, 3]), TEXTS)
    assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)  # batch mates differ
    assert_allclose(scaled.std(axis=0), 1, atol=1e-6)
