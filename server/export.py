"""`qflock export RUN`: the trained network as files, and the proof that they are it and need nothing quantum.

The proof is a process of its own, isolated from our folders, that has PyTorch, the exported file and the server's rows.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from data.corpus import load
from data.split import deal
from data.whole import write_whole
from quantum.arms import student
from recipes.schema import UNSTAGED
from recipes.section import InputError
from server.checkpoint import newest
from server.outcome import Outcome, outcome
from strategies.failure import RunFailedError

ARM = "student"
CHECK = """
import json, sys
import numpy as np, torch
torch.set_num_threads(1)
network, rows = torch.jit.load(sys.argv[1]), np.load(sys.argv[2])
with torch.no_grad():
    logits = torch.cat([network(part.float() / 255) for part in torch.from_numpy(rows["images"]).split(1000)])
labels = torch.from_numpy(rows["labels"])
loss = float(torch.nn.functional.cross_entropy(logits.double(), labels))
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"correct": int((logits.argmax(1) == labels).sum()), "loss": loss, "modules": modules}))
"""
QUANTUM = ("quantum", "qiskit", "qiskit_aer", "qiskit_ibm_runtime")


@dataclass(frozen=True)
class Exported:
    """One network as files, and what it is worth by itself."""

    target: str
    parameters: int
    files: tuple[str, ...]
    rows: int
    accuracy: float
    loss: float


def export(folder: Path) -> list[Exported]:
    """Write every network of a completed run into RUN/export; raises RunFailedError unless it is the trained one."""
    found = outcome(folder)
    if found.recipe.student.kind != "generator":
        kind = found.recipe.student.kind
        circuits = "" if kind in UNSTAGED else "; for its circuits, give texts and --qasm FOLDER"
        raise InputError(f"{folder} trained a {kind}; only a generator leaves a classical network to export{circuits}")
    state = newest(folder, found.recipe.digest())
    if state is None:
        raise InputError(f"{folder} has no checkpoint, so its arrays are lost: run it again")
    home = folder / "export"
    home.mkdir(exist_ok=True)
    corpus = load(found.recipe.data, found.recipe.seed)
    rows = deal(corpus, found.recipe.data, found.recipe.clients, found.recipe.seed).reference
    generator, exported = found.recipe.student.generator, []
    for name in generator.named():
        owner = generator.targets.index(name) if generator.targets else 0
        exported.append(one(student(found.recipe.student, 10, owner), state.arms[ARM].arrays, home, rows))
    agree(found, exported)
    facts = {"schema": 1, "recipe_digest": found.recipe.digest(), "networks": [asdict(each) for each in exported]}
    write_whole(home / "export.json", (json.dumps(facts, indent=1) + "\n").encode())
    return exported


def one(model: Any, arrays: Any, home: Path, rows: Any) -> Exported:
    """One network, written and measured without us."""
    from quantum.export import write

    files = write(model, arrays, home)
    with TemporaryDirectory() as elsewhere:
        kept = Path(elsewhere) / "rows.npz"
        np.savez(kept, images=rows.images, labels=rows.labels)
        words = [sys.executable, "-I", "-c", CHECK, str(files[-1].absolute()), str(kept)]
        ran = subprocess.run(words, cwd=elsewhere, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RunFailedError(f"{files[-1]} does not run by itself: {ran.stderr.strip().splitlines()[-1]}")
    said = json.loads(ran.stdout.splitlines()[-1])
    if needed := sorted(set(QUANTUM) & set(said["modules"])):
        raise RunFailedError(f"{files[-1]} loads {', '.join(needed)}, so it is not classical")
    accuracy = said["correct"] / len(rows)
    return Exported(model.target, model.size, tuple(file.name for file in files), len(rows), accuracy, said["loss"])


def agree(found: Outcome, exported: list[Exported]) -> None:
    """The last round's accuracy in the ledger is that of the files, or they are not the trained network."""
    theirs = found.trace(ARM, "reference_accuracy")[-1]
    ours = fmean(each.accuracy for each in exported)
    if abs(ours - theirs) > 1e-9:
        raise RunFailedError(
            f"the exported network is right in {ours:.4%} of the server's rows and the ledger says {theirs:.4%}: "
            f"it is not the trained one"
        )
