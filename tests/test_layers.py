"""Who may import whom; read from the source, so it holds for imports inside functions too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {
    "recipes": set(),
    "data": {"recipes"},
    "quantum": {"recipes", "data"},
    "teacher": {"recipes", "data"},
    "strategies": {"recipes"},
    "client": {"recipes", "data", "quantum", "teacher", "strategies"},
    "server": {"recipes", "data", "quantum", "teacher", "strategies"},
}
HEAVY = {
    "flwr",
    "torch",
    "qiskit",
    "qiskit_aer",
    "transformers",
    "peft",
    "ray",
    "sklearn",
    "numpy",
    "scipy",
    "datasets",
}
ALLOWED = {
    "recipes": set(),
    "data": {"numpy", "sklearn", "datasets"},
    "quantum": {"qiskit", "qiskit_aer", "numpy", "scipy", "torch"},
    "teacher": {"torch", "transformers", "peft", "numpy"},
    "strategies": {"numpy"},
    "client": {"flwr", "numpy"},
    "server": {"flwr", "numpy"},
}
FLOWER_IN_STRATEGIES = {"wire.py", "exchange.py", "compose.py"}
CLIENT_READS_OF_STRATEGIES = {"strategies.messages", "strategies.wire"}
FILES = [path for folder in OURS for path in sorted((ROOT / folder).glob("*.py"))]


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_imports_only_what_its_folder_may(path):
    folder = path.parent.name
    roots = {name.partition(".")[0] for name in imported(path)}
    assert (roots & OURS.keys()) - {folder} <= OURS[folder]
    may = ALLOWED[folder] | ({"flwr"} if folder == "strategies" and path.name in FLOWER_IN_STRATEGIES else set())
    assert roots & HEAVY <= may
    if folder == "client":
        assert {name for name in imported(path) if name.startswith("strategies")} <= CLIENT_READS_OF_STRATEGIES


def test_folders_are_the_ones_of_the_design():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == OURS.keys()
    assert all((ROOT / folder / "__init__.py").read_text() == "" for folder in OURS)


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import strategies.aggregation", {"flwr", "torch", "qiskit"}),
        ("import server.app", {"torch", "qiskit", "sklearn", "scipy", "matplotlib", "transformers"}),
        ("import client.app", {"torch", "qiskit", "sklearn", "scipy", "transformers"}),
        ("import server.cli", {"numpy", "flwr", "torch", "qiskit", "rich.live"}),
    ],
)
def test_importing_an_entry_point_loads_nothing_heavy(statement, absent):
    assert not loaded_by(statement) & absent
