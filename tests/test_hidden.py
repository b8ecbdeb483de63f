"""The untuned LLM as an encoder, against transformers' own hidden states."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from recipes.schema import FeaturesConfig, InputError
from teacher.encoders import encoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = ["good", "bad sad table lamp desk chair", "fine <end> good", "lamp great"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("teacher.base.FAST_BFLOAT16", ())  # `auto` is float32 on any machine


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
    assert_allclose(stage.apply({}, TEXTS), np.array(wanted), atol=1e-5)
    assert stage.size == (16 if (family, layer) == ("opt", 4) else 32)  # this OPT projects its last states


def test_texts_are_encoded_once_and_another_layer_is_another_encoding(tiny_llm, monkeypatch):
    stage, other = (encoder(FeaturesConfig(encoder="hidden", model=str(tiny_llm()), layer=layer)) for layer in (2, 3))
    first = stage.apply({}, TEXTS)
    assert (first != other.apply({}, TEXTS)).any()
    monkeypatch.setattr("teacher.base.base", lambda *what: pytest.fail("the LLM was loaded again"))
    assert_array_equal(stage.apply({}, TEXTS), first)


def test_a_layer_that_the_model_lacks_is_refused(tiny_llm):
    stage = encoder(FeaturesConfig(encoder="hidden", model=str(tiny_llm()), layer=5))
    with pytest.raises(InputError, match=r"features.layer is 5; .* has 4 layers"):
        stage.apply({}, TEXTS)
