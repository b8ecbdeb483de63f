"""The frozen LLM below an adapter: loaded once a process, shared, changed by nobody."""

import copy
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from teacher.kept import quiet
from teacher.models import decoder_layers, located, tokenizer, weights_digest

FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True, eq=False)
class Base:
    """An LLM without its language head. Nobody changes its weights; whoever adapts it works on modules of his own."""

    model: Any
    tokenizer: Any
    layers: str  # the decoder layers' list, as `model.get_submodule` finds it
    width: int  # numbers a token has in the end
    tupled: bool  # whether a layer returns its states as the first of several things
    facts: str  # weights, number type and device: what its hidden states depend on besides texts

    @property
    def depth(self) -> int:
        """How many decoder layers there are."""
        return len(self.model.get_submodule(self.layers))

    def own(self) -> Any:
        """The same LLM in modules of one's own; the weights in them are the shared ones."""
        shared = [*self.model.parameters(), *self.model.buffers()]
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in shared})


@lru_cache(maxsize=2)
def base(model: str, dtype: str, quantised: bool) -> Base:
    """The base that a recipe names, loaded when it is first asked for."""
    import torch
    from transformers import AutoModel

    folder, kind, device = located(model), number_type(dtype), "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"dtype": getattr(torch, kind), "local_files_only": True}
    if quantised:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, kind)
        )
        options["device_map"] = device
    with quiet():
        llm = AutoModel.from_pretrained(folder, **options).eval().requires_grad_(False)
    if not quantised:
        llm = llm.to(device)
    layers, seen = decoder_layers(llm), []
    hook = llm.get_submodule(layers)[0].register_forward_hook(lambda module, inputs, out: seen.append(out))
    with torch.inference_mode():
        end = llm(input_ids=torch.zeros(1, 1, dtype=torch.int64, device=device), use_cache=False).last_hidden_state
    hook.remove()
    tupled = isinstance(seen[0], tuple)
    return Base(llm, tokenizer(model), layers, end.shape[-1], tupled, facts(model, dtype, quantised))


def facts(model: str, dtype: str, quantised: bool) -> str:
    """What hidden states depend on besides the texts; known without loading the model."""
    import torch

    where = "cuda" if torch.cuda.is_available() else "cpu"
    kind = f"{number_type(dtype)}{' nf4' if quantised else ''}"
    return f"{weights_digest(model)} {kind} {where} transformers {version('transformers')}"


def number_type(dtype: str) -> str:
    """`auto` as what this machine is fast with: bfloat16 where it has instructions for it."""
    import torch

    if dtype != "auto":
        return dtype
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bfloat16" if any(able.get(name) for name in FAST_BFLOAT16) else "float32"
