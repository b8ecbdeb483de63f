"""What importing costs: the student path needs no torch, and modules load their heavy libraries when first used."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("qiskit", "scipy.optimize", "torch", "transformers", "flwr")
TORCH = {  # gradients and networks are PyTorch's
    *("engine", "tensors", "passes", "compiled"),
    *("minibatch", "generator", "targets", "image_student", "export"),
}
MODULES = [
    f"{folder}.{path.stem}"
    for folder in ("quantum", "teacher")
    for path in sorted((Path(__file__).parent.parent / folder).glob("*.py"))
    if path.stem not in {"__init__", *TORCH}
]


def loaded_after(code):
    code += f"; import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    root = Path(__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_importing_every_module_loads_nothing_heavy():
    assert loaded_after(f"import {', '.join(MODULES)}") == set()


@pytest.mark.parametrize(("kind", "expected"), [("vqc", {"qiskit"}), ("noop", set())])
def test_a_student_round_needs_no_torch_and_a_noop_no_qiskit(kind, expected):
    code = (
        "import numpy as np; from recipes.schema import *; from quantum.arms import student; "
        f"one = student(StudentConfig(kind='{kind}', twin=False), 2); x = np.ones((4, 4)); "
        "one.predict(one.fit(one.initial(0), x, np.zeros(4, int), OptimiserConfig(), 3).arrays, x)"
    )
    assert loaded_after(code) == expected
