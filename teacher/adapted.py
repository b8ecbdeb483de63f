"""One client's own LLM: the shared frozen base, LoRA (Hu et al., arXiv:2106.09685) in its top layers, and a head.

h = W₀x + (α/r)·B·A·x in every adapted module; A and B are float32 on whatever the base is in. The head is a float32
linear map of the last real token. All that tuning changes has a name: `<layer>/<module>/A` and `…/B`, `head/weight`,
`head/bias`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.schema import TeacherConfig
from teacher.base import Base
from teacher.lower import replaced
from teacher.models import linear_modules, means
from teacher.protocol import Arrays, TeacherError
from teacher.tokens import last

HEAD_SPREAD = 0.02  # standard deviation of a new head, as transformers starts one


class Adapted:
    """Torch modules that share nothing with another client's but frozen weights."""

    def __init__(self, base: Base, config: TeacherConfig, n_classes: int, rank: int) -> None:
        import torch
        from peft import LoraConfig, inject_adapter_in_model
        from transformers.pytorch_utils import Conv1D

        self.base = base
        self.depth = base.depth - (config.layers or base.depth)  # layers that are as the base has them
        self._llm = base.own()
        self._given = replaced(self._llm, base, self.depth)
        layers = self._llm.get_submodule(base.layers)
        chosen = {
            f"{number}/{name}": module
            for number in range(self.depth, base.depth)
            for name, module in linear_modules(layers[number])
            if any(means(target, name) for target in config.targets)
        }
        self.head = torch.nn.Linear(base.width, n_classes, device=self._llm.device)
        lora = LoraConfig(
            r=rank,
            lora_alpha=config.alpha / config.rank * rank,  # one scale for adapters of any rank
            lora_dropout=config.dropout,
            target_modules=[f"{base.layers}.{name.replace('/', '.', 1)}" for name in chosen],
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in chosen.values()),
        )
        inject_adapter_in_model(lora, self._llm)
        self.parameters: dict[str, Any] = {}
        for name in chosen:
            number, _, below = name.partition("/")
            module = layers[int(number)].get_submodule(below)
            for matrix, part in (("A", module.lora_A), ("B", module.lora_B)):
                part.float()
                self.parameters[f"{name}/{matrix}"] = part["default"].weight
        self.parameters |= {"head/weight": self.head.weight, "head/bias": self.head.bias}
        self._llm.eval()

    def logits(self, ids_BS: Any, mask_BS: Any, states_BSD: Any = None) -> Any:
        """(B, K) float32; from the states that enter the top layers, where they are given."""
        return self.head(self.states(ids_BS, mask_BS, states_BSD))

    def states(self, ids_BS: Any, mask_BS: Any, states_BSD: Any = None) -> Any:
        """(B, D) of the last real token, after all layers."""
        device = self._llm.device
        self._given["states"] = None if states_BSD is None else states_BSD.to(device)
        mask = mask_BS.to(device)
        end = self._llm(input_ids=ids_BS.to(device), attention_mask=mask, use_cache=False).last_hidden_state
        return last(end, mask)

    def learnt(self, federate: str) -> list[Any]:
        """The parameters that tuning moves: all, or under ffa all but A, which is every client's."""
        return [p for name, p in self.parameters.items() if federate != "ffa" or not name.endswith("/A")]

    def drop(self, on: bool) -> None:
        """Dropout between x and A, which only tuning has; the base itself never drops anything."""
        for name, module in self._llm.named_modules():
            if name.endswith("lora_dropout"):
                module.train(on)

    def first(self, rng: np.random.Generator) -> Arrays:
        """A new adapter: A uniform within ±1/√D, as peft draws it, B zero, so that h = W₀x; a small random head."""
        arrays: Arrays = {name: np.zeros(p.shape, np.float32) for name, p in self.parameters.items()}
        for name, array in arrays.items():
            if name.endswith("/A"):
                bound = 1 / np.sqrt(array.shape[1])
                array[:] = rng.uniform(-bound, bound, array.shape)
        arrays["head/weight"][:] = rng.normal(0, HEAD_SPREAD, arrays["head/weight"].shape)
        return arrays

    def read(self) -> Arrays:
        """The adapter as it is now."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self.parameters.items()}

    def write(self, arrays: Arrays) -> None:
        """Take another adapter; refuses one that was made for another base, rank or number of classes."""
        import torch

        refuse_unlike({name: tuple(p.shape) for name, p in self.parameters.items()}, arrays)
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(torch.from_numpy(np.asarray(arrays[name], np.float32)))


def widened(adapter: Arrays) -> Arrays:
    """The same B·A in every layer with as many ranks as the widest layer has; the added ones are zero, and stay so."""
    rank = max((len(array) for name, array in adapter.items() if name.endswith("/A")), default=0)
    axis = {"/A": 0, "/B": 1}
    return {
        name: zeros_added(array, axis[name[-2:]], rank) if name[-2:] in axis else array
        for name, array in adapter.items()
    }


def zeros_added(array: NDArray[Any], axis: int, length: int) -> NDArray[Any]:
    """The array, so long in that axis."""
    return np.pad(array, [(0, length - size) if at == axis else (0, 0) for at, size in enumerate(array.shape)])


def refuse_unlike(wanted: dict[str, tuple[int, ...]], arrays: dict[str, NDArray[Any]]) -> None:
    """Say in what an adapter differs from what fits, or nothing."""
    for name in [*wanted, *arrays]:
        if name not in arrays or name not in wanted:
            holds = "lacks" if name in wanted else "holds"
            raise TeacherError(
                f"the adapter {holds} {name}; it was made for another base model, other layers or other targets: "
                "begin a new run with this recipe"
            )
    for name, shape in wanted.items():
        if (found := arrays[name].shape) != shape:
            raise TeacherError(
                f"the adapter's {name} is {listed(found)}, not {listed(shape)}: {cause(name)} differs: "
                "begin a new run with this recipe"
            )


def cause(name: str) -> str:
    """What the shape of an array follows from."""
    return "the number of classes or the base model" if name.startswith("head/") else "the rank or the base model"


def listed(shape: Sequence[int]) -> str:
    """A shape in words."""
    return "×".join(map(str, shape))
