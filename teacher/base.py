"""The frozen LLM below an adapter: loaded once a process, shared, changed by nobody."""

import copy
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from teacher.kept import quiet
from teacher.machine import device, number_type
from teacher.models import decoder_layers, located, weights_digest
from teacher.protocol import TeacherError


@dataclass(frozen=True, eq=False)
class Base:
    """An LLM without its language head. Nobody changes its weights; whoever adapts it works on modules of his own."""

    model: Any
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


def base(model: str, dtype: str, quantised: bool) -> Base:
    """The base that a recipe names, loaded when it is first asked for."""
    return _loaded(model, number_type(dtype), quantised)


@lru_cache(maxsize=2)
def _loaded(model: str, dtype: str, quantised: bool) -> Base:
    import torch
    from transformers import AutoModel

    kind, where = getattr(torch, dtype), device()
    options: dict[str, Any] = {"dtype": kind, "local_files_only": True}
    if quantised:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=kind
        )
        options["device_map"] = where
    try:
        with quiet():
            llm = AutoModel.from_pretrained(located(model), **options).eval().requires_grad_(False)
    except (OSError, ValueError) as error:
        raise TeacherError(f"{model}: its weights cannot be read ({' '.join(str(error).split())[:200]})") from None
    if not quantised:
        llm = llm.to(where)
    layers, seen = decoder_layers(llm), []
    hook = llm.get_submodule(layers)[0].register_forward_hook(lambda module, inputs, out: seen.append(out))
    with torch.inference_mode():
        end = llm(input_ids=torch.zeros(1, 1, dtype=torch.int64, device=where), use_cache=False).last_hidden_state
    hook.remove()
    tupled = isinstance(seen[0], tuple)
    return Base(llm, layers, end.shape[-1], tupled, facts(model, dtype, quantised))


def facts(model: str, dtype: str, quantised: bool) -> str:
    """What hidden states depend on besides the texts; known without loading the model."""
    kind = f"{number_type(dtype)}{' nf4' if quantised else ''}"
    return f"{weights_digest(model)} {kind} {device()} transformers {version('transformers')}"
