"""Models by name: found, fetched, and checked against what a recipe asks of them, without reading their weights.

A model is `smollm2`, the embedded one, a hub id such as `facebook/opt-125m`, or a folder that begins with / . or ~
Any causal language model of transformers will do whose decoder layers stand in one list: Llama, GPT-2, OPT, BLOOM, …
"""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from data.assets import SMOLLM2
from data.corpus import DataError
from recipes.schema import TeacherConfig
from teacher.kept import quiet
from teacher.machine import device
from teacher.protocol import TeacherError
from teacher.smollm2 import SIZE, converted, smollm2


def check_teacher(config: TeacherConfig) -> None:
    """Refuse what this model cannot be asked for, before its weights are read."""
    if config.quantised:
        check_quantised()
    tokenizer(config.model)
    llm = outline(config.model)
    check_layer("teacher.layers", config.layers, config.model)
    found = [name for name, _ in linear_modules(llm.get_submodule(decoder_layers(llm))[-1])]
    for target in config.targets:
        if not any(means(target, name) for name in found):
            leaves = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in found))
            raise TeacherError(f"teacher.targets has {target}; the modules in a layer of {config.model} are {leaves}")
    check_tokens("teacher.max_tokens", config.max_tokens, config.model)


def check_encoder(model: str, layer: int) -> None:
    """Refuse a layer that the model lacks, or a model without a tokenizer."""
    check_layer("features.layer", layer, model)
    tokenizer(model)


def check_layer(key: str, layer: int, model: str) -> None:
    """Refuse more layers than the model has."""
    has = settings(model).num_hidden_layers
    if layer > has:
        raise TeacherError(f"{key} is {layer}; {model} has {has} layers")


def check_tokens(key: str, most: int, model: str) -> None:
    """Refuse more tokens than the model has positions for."""
    takes = positions(model)
    if takes is not None and most > takes:
        raise TeacherError(f"{key} is {most}; {model} takes {takes} tokens at most")


def positions(model: str) -> int | None:
    """How many tokens the model has positions for; None where it can count without end."""
    return getattr(settings(model), "max_position_embeddings", None)


def check_quantised() -> None:
    """Refuse 4-bit weights where nothing can compute with them."""
    if device() != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        lacking = "bitsandbytes (pip install bitsandbytes)" if device() == "cuda" else "a CUDA device"
        raise TeacherError(f"teacher.quantised is true; 4-bit weights need {lacking}: set it to false")


def at_hand(model: str) -> bool:
    """Whether looking at the model needs no network."""
    return converted().exists() if model == "smollm2" else is_path(model)


def is_path(model: str) -> bool:
    """Whether a model is named by its folder, not by its hub id."""
    return model.startswith(("/", ".", "~"))


@lru_cache(maxsize=8)
def located(model: str) -> Path:
    """The folder with the model's files, fetched where it is not here."""
    if model == "smollm2":
        return smollm2()
    if is_path(model):
        folder = Path(model).expanduser()
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder} holds no config.json, so it is no model folder of transformers")
        return folder
    from huggingface_hub import snapshot_download

    few = ["*.json", "*.txt", "*.model", "*.safetensors"]
    try:
        folder = Path(snapshot_download(model, allow_patterns=few))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(model, allow_patterns=[*few, "pytorch_model*.bin"]))
    except (OSError, ValueError) as error:  # what huggingface_hub raises for a wrong name, and without a network
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"the model {model} cannot be fetched from the hub ({reason}); name a folder instead") from None
    return folder


@lru_cache(maxsize=8)
def weights_digest(model: str) -> str:
    """Names a model by what is in it: config, tokenizer and weights."""
    if model == "smollm2":
        return SMOLLM2.sha256
    name = hashlib.sha256()
    for path in sorted(located(model).iterdir()):
        if path.suffix in (".json", ".txt", ".model", ".safetensors", ".bin"):
            with path.open("rb") as file:
                name.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()} ".encode())
    return name.hexdigest()


def below(config: TeacherConfig) -> str:
    """Twelve hex digits that name the frozen weights below an adapter; none where nothing lies below it."""
    return weights_digest(config.model)[:12] if config.kind == "lora" else ""


@lru_cache(maxsize=8)
def settings(model: str) -> Any:
    """The model's config; refuses what is no causal language model."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(located(model), local_files_only=True)
    except (OSError, ValueError) as error:
        raise TeacherError(f"{model}: its config cannot be read ({' '.join(str(error).split())[:200]})") from None
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise TeacherError(f"{model} is a {config.model_type}, which is no causal language model")
    return config


def width(model: str, layer: int) -> int:
    """Numbers a token has after a layer; of the embedded model known before it is fetched."""
    if model == "smollm2":
        return SIZE
    config = settings(model)
    inner = int(config.hidden_size)  # OPT projects what its last layer puts out
    return int(getattr(config, "word_embed_proj_dim", inner)) if layer >= config.num_hidden_layers else inner


@lru_cache(maxsize=8)
def tokenizer(model: str) -> Any:
    """The model's tokenizer."""
    from transformers import AutoTokenizer

    folder = located(model)  # what is not there has an error of its own
    try:
        with quiet():
            found = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        whole = bool(found("a text")["input_ids"])  # without files some families make one that knows no word
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError):
        whole = False
    if not whole:
        raise TeacherError(f"{model} has no tokenizer that transformers can read; save one beside its weights")
    if len(found) > settings(model).vocab_size:
        raise TeacherError(
            f"{model}: its tokenizer has {len(found)} tokens and its weights have {settings(model).vocab_size}; "
            f"save the model's own tokenizer beside it"
        )
    return found


def outline(model: str) -> Any:
    """The model's modules without their weights."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(settings(model))


def decoder_layers(llm: Any) -> str:
    """The name of the list that holds the decoder layers."""
    import torch

    for name, module in llm.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == llm.config.num_hidden_layers:
            return str(name)
    raise TeacherError(f"a {llm.config.model_type} keeps its decoder layers in no single list, so it cannot be adapted")


def linear_modules(layer: Any) -> list[tuple[str, Any]]:
    """Name and module of everything in a layer that LoRA can adapt; GPT-2's Conv1D is a linear map as well."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return [(n, module) for n, module in layer.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)]


def means(target: str, name: str) -> bool:
    """Whether a recipe's word for a module is this module's name, or the end of it."""
    return name == target or name.endswith(f".{target}")
