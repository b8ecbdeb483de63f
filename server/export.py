"""`qflock export RUN`: the trained network as files, and the proof that they are it and need nothing quantum.

The proof is a process of its own, isolated from our folders, that has PyTorch, safetensors, the two files and the rows
that the ledger has numbers of: the server's, and every client's test rows.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isclose
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from data.corpus import load
from data.split import Rows, deal
from data.whole import write_whole
from quantum.arms import student
from recipes.schema import UNSTAGED
from recipes.section import InputError
from server.checkpoint import newest
from server.outcome import outcome
from strategies.failure import RunFailedError

ARM = "student"
CHECK = """
import json, sys
import numpy as np, torch
from safetensors.torch import load_file
torch.set_num_threads(1)
weights, network = load_file(sys.argv[1]), torch.jit.load(sys.argv[2])
whole = network.state_dict()
same = weights.keys() == whole.keys() and all(torch.equal(weights[name], whole[name]) for name in whole)
worth = []
for rows in map(np.load, sys.argv[3:]):
    labels = torch.from_numpy(rows["labels"])
    with torch.no_grad():
        logits = torch.cat([network(part.float() / 255) for part in torch.from_numpy(rows["images"]).split(1000)])
    own = logits.double().softmax(1).gather(1, labels[:, None]).clamp_min(1e-12)  # as a ledger's losses are
    worth.append([float((logits.argmax(1) == labels).double().mean()), float(-own.log().mean())])
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"same": same, "worth": worth, "modules": modules}))
"""
QUANTUM = ("quantum", "qiskit", "qiskit_aer", "qiskit_ibm_runtime")
Worth = tuple[float, float]  # accuracy, and loss in nats


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
    from quantum.export import write

    home = folder / "export"
    home.mkdir(exist_ok=True)
    corpus, recipe = load(found.recipe.data, found.recipe.seed), found.recipe
    dealt = deal(corpus, recipe.data, recipe.clients, recipe.seed)
    generator, scores = recipe.student.generator, found.score["clients"]
    exported: list[Exported] = []
    trained = generator.targets or (generator.target,) * recipe.clients
    for name in generator.named():
        owners = [client for client, target in enumerate(trained) if target == name]
        held = {client: dealt.shares[client].test for client in owners if str(client) in scores}
        model: Any = student(recipe.student, 10, owners[0])
        files = write(model, state.arms[ARM].arrays, home)
        whole, *each = proved(files, [dealt.reference, *held.values()])
        for client, worth in zip(held, each, strict=True):
            said = scores[str(client)]
            theirs = said["accuracy"][ARM], said["loss"][ARM]
            agree(f"{model.target} on client {client}'s test rows", said["examples"], worth, theirs)
        written = tuple(file.name for file in files)
        exported.append(Exported(model.target, model.size, written, len(dealt.reference), *whole))
    ours = fmean(one.accuracy for one in exported), fmean(one.loss for one in exported)
    last = [found.trace(ARM, f"reference_{key}")[-1] for key in ("accuracy", "loss")]
    names = ", ".join(one.target for one in exported)
    agree(f"{names} on the server's rows", len(dealt.reference), ours, (last[0], last[1]))
    facts = {"schema": 1, "recipe_digest": recipe.digest(), "networks": [asdict(one) for one in exported]}
    write_whole(home / "export.json", (json.dumps(facts, indent=1) + "\n").encode())
    return exported


def proved(files: Sequence[Path], parts: Sequence[Rows]) -> list[Worth]:
    """What the files of one network are worth on each part of the rows, without us."""
    with TemporaryDirectory() as elsewhere:
        kept = [Path(elsewhere) / f"{place}.npz" for place in range(len(parts))]
        for path, rows in zip(kept, parts, strict=True):
            np.savez(path, images=rows.raw, labels=rows.labels)
        words = [sys.executable, "-I", "-c", CHECK, *(str(file.absolute()) for file in files), *map(str, kept)]
        ran = subprocess.run(words, cwd=elsewhere, capture_output=True, text=True, check=False)
    weights, network = files
    if ran.returncode:
        raise RunFailedError(f"{network} does not run by itself: {ran.stderr.strip().splitlines()[-1]}")
    said = json.loads(ran.stdout.splitlines()[-1])
    if needed := sorted(set(QUANTUM) & set(said["modules"])):
        raise RunFailedError(f"{network} loads {', '.join(needed)}, so it is not classical")
    if not said["same"]:
        raise RunFailedError(f"{weights} does not hold the weights of {network}: export it again")
    return [(accuracy, loss) for accuracy, loss in said["worth"]]


def agree(what: str, rows: int, ours: Worth, theirs: Worth) -> None:
    """Accuracy and loss in the ledger are those of the files, or they are not the trained network.

    Another CPU adds up in another order, so one row that is nearly a tie may fall to the other side.
    """
    if abs(ours[0] - theirs[0]) * rows > 1 + 1e-6 or not isclose(ours[1], theirs[1], rel_tol=1e-5):
        raise RunFailedError(
            f"the exported {what}: {ours[0]:.4%} right at a loss of {ours[1]:.6f}, and the ledger says {theirs[0]:.4%} "
            f"and {theirs[1]:.6f}: it is not the trained one"
        )
