"""How large the adapter is that a federated teacher sends, known without reading weights."""

from typing import Any

from recipes.schema import TeacherConfig
from teacher.models import decoder_layers, linear_modules, means, outline, width
from teacher.tiny import BUCKETS

FLOAT = 4  # bytes


def adapter_bytes(config: TeacherConfig, n_classes: int, rank: int) -> int:
    """A (r, d_in) and B (d_out, r) of every adapted module, under ffa B alone, and a head of K rows and K biases."""
    if config.kind == "tiny":
        return FLOAT * (BUCKETS + 1) * n_classes
    sides = sum(
        out_features(module) if config.federate == "ffa" else sum(module.weight.shape) for module in adapted(config)
    )
    layers = outline(config.model).get_submodule(decoder_layers(outline(config.model)))
    return FLOAT * (rank * sides + (width(config.model, len(layers)) + 1) * n_classes)


def most_ranks(config: TeacherConfig) -> int:
    """More than which no product B·A has in any adapted module."""
    return 0 if config.kind == "tiny" else max(min(module.weight.shape) for module in adapted(config))


def adapted(config: TeacherConfig) -> list[Any]:
    """The modules that LoRA changes."""
    llm = outline(config.model)
    layers = llm.get_submodule(decoder_layers(llm))
    return [
        module
        for layer in layers[-config.layers :]  # all of them when it is 0
        for name, module in linear_modules(layer)
        if any(means(target, name) for target in config.targets)
    ]


def out_features(module: Any) -> int:
    """d_out, which GPT-2's Conv1D calls nf."""
    return int(module.nf if hasattr(module, "nf") else module.out_features)
