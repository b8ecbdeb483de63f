"""A trained network by itself: its weights as safetensors, and the network with its weights as TorchScript."""

import warnings
from pathlib import Path

import torch
from safetensors.torch import save

from data.whole import write_whole
from quantum.image_student import ImageStudent
from quantum.student import Arrays
from quantum.targets import TARGETS


def write(student: ImageStudent, arrays: Arrays, folder: Path) -> list[Path]:
    """`<target>.safetensors` and `<target>.pt`, which takes (B, channels, height, width) from 0 to 1 to logits."""
    network = TARGETS[student.target].build()
    network.load_state_dict({name: part.clone() for name, part in student.trained(arrays).items()})
    network.eval()
    weights, whole = (folder / f"{student.target}.{kind}" for kind in ("safetensors", "pt"))
    said = {"target": student.target, "written_by": student.name}
    write_whole(weights, save(dict(network.state_dict()), said))  # save_file makes files that only their owner reads
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which is what we are asked for
        traced = torch.jit.trace(network, torch.zeros(2, *student.shape))  # type: ignore[no-untyped-call]
    traced.save(str(whole))
    return [weights, whole]
