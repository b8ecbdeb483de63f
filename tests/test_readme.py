"""README.md keeps its word: every command in it runs here, or in the test that is named; its YAML are recipes.

A command that is neither is a failure: run it in HERE, or name the test that does in ELSEWHERE.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner

from recipes.load import load
from recipes.section import RecipeError
from server.cli import command
from server.folder import new_folder
from server.trackers import STORE

APP = Path(__file__).parent.parent
README = (APP / "README.md").read_text(encoding="utf-8")
PROGRAMS = ("qflock", "make", "python", "pip", "flwr", "flower-superlink", "flower-supernode", "tensorboard", "mlflow")
HERE = {  # run in this process, in a folder that has runs/RUN, two more runs and my.tsv → what it says
    "qflock recipes": "llm-qfl-reviews",
    "qflock plan smoke": "parameters",
    "qflock data smoke": "majority",
    "qflock data smoke --set data.corpus=text --set data.path=my.tsv": "majority",
    "qflock compare RUN RUN… --html F --csv F --markdown F --png F": "wrote",
    "qflock report runs/RUN": "figures and tables",
    'qflock predict runs/RUN "a text"': "a text",
    "qflock verify": "claim by claim",
    "qflock doctor": "this machine",
    "qflock draw qcnn --qubits 4": "weights",
}
CHANGED = "qflock run smoke --clients 20 --seed 1 --set optimiser.maxiter=50"
WATCH, PAID = "qflock watch runs/RUN", "qflock resume runs/RUN --spend SECONDS"
DRY = (
    "make setup",
    "make run",
    "make test",
    "make reviews",
    "make llm-qfl",
    "make qfed",
    "make qd-llm",
    "make demo",
)  # what make would do: hours
BY_HAND = "e2e/test_by_hand.py::test_flwr_run_writes_the_ledger_where_the_superlink_was_started"
DOCKER = "e2e/test_docker.py::test_a_run_in_containers_writes_the_ledger_of_a_simulation_and_its_folder_comes_back"
NODE = (
    "flower-supernode --insecure --superlink 127.0.0.1:8000 --port {} --node-config 'partition-id={} num-partitions=2'"
)
ELSEWHERE = {  # command → the test that runs it, on smaller rows where it says its own
    "qflock run smoke": "e2e/test_simulation.py::test_a_run_ends_well_leaves_its_files_and_no_process",
    "qflock run smoke --on processes --clients 3": (
        "e2e/test_processes.py::test_a_node_killed_in_a_round_changes_no_bit_of_the_ledger"
    ),
    "qflock run smoke --on processes --secure": (
        "e2e/test_secure.py::test_a_killed_node_comes_back_with_its_key_and_no_bit_of_the_ledger_changes"
    ),
    "qflock run smoke --on lab": (
        "e2e/test_by_hand.py::test_qflock_run_on_its_name_follows_the_ledger_in_its_own_folder"
    ),
    "qflock run qfed-digits": "e2e/test_qfed.py::test_the_digits_are_run_exported_and_put_under_noise",
    "qflock export runs/RUN": "e2e/test_qfed.py::test_the_digits_are_run_exported_and_put_under_noise",
    "qflock noise runs/RUN": "e2e/test_qfed.py::test_the_digits_are_run_exported_and_put_under_noise",
    'qflock export runs/RUN "a text" --qasm DIR': (
        "test_qd_llm.py::test_texts_are_classified_on_any_executor_and_their_circuits_are_the_trained_ones"
    ),
    "qflock distill qd-llm-topic": "test_qd_llm.py::test_distill_is_a_run_whose_one_client_holds_all_rows",
    "qflock up smoke": DOCKER,
    "qflock down": DOCKER,
    "qflock resume runs/RUN": (
        "e2e/test_simulation.py::test_a_failing_client_is_a_line_a_dead_process_ends_the_run_and_resume_finishes_it"
    ),
    "qflock sweep smoke --set student.reps=1,2,3 --seeds 5": (
        "e2e/test_sweep.py::test_a_sweep_that_is_interrupted_twice_is_finished_by_the_same_command"
    ),
    "qflock ablate llm-qfl-reviews": "test_ablation.py::test_the_command_skips_what_is_done_and_shows_the_table",
    "flwr run . --stream --run-config 'recipe=\"smoke\"'": (
        "e2e/test_simulation.py::test_flwr_run_by_hand_writes_that_ledger_too"
    ),
    "flower-superlink --insecure --disable-runtime-dependency-installation": BY_HAND,
    NODE.format(9094, 0): BY_HAND,
    NODE.format(9095, 1): BY_HAND,
    "flwr run . lab --run-config 'recipe=\"smoke\"'": BY_HAND,
}
SHOWS = "--stream"  # changes only what is printed meanwhile
LOOKS = {  # programs of others → where they look, and the test that reads there what they would
    "tensorboard --logdir runs": ("runs", "test_tensorboard_reads_back_every_number_once"),
    "mlflow ui --backend-store-uri sqlite:///runs/mlflow.db": (
        f"sqlite:///runs/{STORE}",
        "test_mlflow_reads_back_every_number_once_and_the_recipe",
    ),
}
FENCED = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith("#")
]


def spoken():
    """Every command line of the README; a bare program or verb is a mention of one that is there."""
    said = [*FENCED, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))]
    lines = dict.fromkeys(line for line in said if line.split()[:1] and line.split()[0] in PROGRAMS)
    return [one for one in lines if len(one.split()) > 2 or not any(other.startswith(f"{one} ") for other in lines)]


COMMANDS = spoken()
PIP = [line for line in COMMANDS if line.startswith("pip ")]


def test_every_command_of_the_readme_is_run_by_a_test_and_no_other_is_named():
    assert {line.split()[0] for line in FENCED} <= set(PROGRAMS)
    assert sorted(COMMANDS) == sorted([*HERE, CHANGED, WATCH, PAID, *DRY, *ELSEWHERE, *LOOKS, *PIP])


@pytest.mark.parametrize(("line", "where"), ELSEWHERE.items())
def test_the_test_that_is_named_is_there_and_says_the_words(line, where):
    file, _, name = where.partition("::")
    text = (APP / "tests" / file).read_text(encoding="utf-8")
    assert f"def {name}(" in text
    program, *words = line.split()
    verb = words[:1] if program in ("qflock", "flwr") else []
    asked = [*verb, *(word for word in words if word.startswith("--") and word != SHOWS)]
    asked += [program] if program != "qflock" else []  # which tests call in their own process
    missing = [word for word in asked if word not in text]
    assert not missing, f"{file} never says {missing}"


@pytest.mark.parametrize(("line", "where", "name"), [(line, *said) for line, said in LOOKS.items()])
def test_what_looks_at_a_tracker_is_to_be_installed_and_looks_where_it_writes(line, where, name):
    program, *_, place = line.split()
    assert any(program in install.split() for install in PIP), f"no pip line brings {program}"
    assert place == where
    assert f"def {name}(" in (APP / "tests" / "test_trackers.py").read_text(encoding="utf-8")


@pytest.fixture
def desk(run_of, tmp_path, monkeypatch):
    """A folder with all that the commands name; its runs were never run."""
    home = tmp_path / "desk"
    for seed, name in enumerate(("RUN", "OTHER")):
        run_of(home / "runs" / name, load("smoke", [f"seed={seed}"]))
    rows = [f"{'good' if row % 2 else 'bad'}\ta {'fine' if row % 2 else 'poor'} thing {row}\n" for row in range(600)]
    (home / "my.tsv").write_text("".join(rows))
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "200")
    return home


@pytest.fixture
def trained(desk, run_here):
    """The same with a RUN that has learned something."""
    small = load("smoke", ["rounds=1", "data.rows=40", "features.buckets=64"])
    shutil.rmtree(desk / "runs" / "RUN")
    new_folder(small, desk / "runs", "RUN")
    run_here("desk/runs/RUN", {"recipe": small.as_json()}, small.clients)
    return desk


def words_of(line):
    """As a shell hands them over, with names for what the README leaves open."""
    line = line.replace("RUN RUN…", "runs/RUN runs/OTHER").replace('"a text"', "a-text")
    for kind in ("html", "csv", "markdown", "png"):
        line = line.replace(f"--{kind} F", f"--{kind} out.{kind}")
    return [word.replace("a-text", "a text") for word in line.split()[1:]]


def test_the_cheap_commands_do_what_the_readme_says(trained):
    for line, said in HERE.items():
        done = CliRunner().invoke(command, words_of(line))
        assert done.exit_code == 0, (line, done.output, done.exception)
        assert said in done.output, line
    for name in ("out.html", "out.csv", "out.markdown", "out.png", "runs/RUN/report.html", "runs/RUN/report"):
        assert (trained / name).exists()


def test_the_live_page_is_there_until_it_is_interrupted(desk):
    words = [sys.executable, "-c", "from server.cli import main; main()", *words_of(WATCH)]
    env = os.environ | {"PYTHONPATH": str(APP), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(words, cwd=desk, env=env, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[0]
        assert b"qflock" in urlopen(address, timeout=60).read()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, rest.strip()) == (0, "ended")


def test_a_run_goes_on_with_the_seconds_that_are_granted(desk, monkeypatch):
    asked = []
    (desk / "runs" / "RUN" / "environment.json").unlink()
    monkeypatch.setattr("server.launch.launch", lambda recipe, folder, **how: asked.append((folder(), how["spend"])))
    ledger = desk / "runs" / "RUN" / "rounds.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))  # it has not ended
    done = CliRunner().invoke(command, words_of(PAID.replace("SECONDS", "60")))
    assert done.exit_code == 0, done.output
    assert asked == [(desk / "runs" / "RUN", 60)]


@pytest.mark.slow
def test_a_changed_run_of_many_clients_ends_well(tmp_path):
    words = [sys.executable, "-c", "from server.cli import main; main()", *words_of(CHANGED)]
    env = os.environ | {"PYTHONPATH": str(APP), "COLUMNS": "200"}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    run = load(str(folder / "recipe.yaml"))
    assert (run.clients, run.seed, run.optimiser.maxiter) == (20, 1, 50)


@pytest.mark.parametrize("line", DRY)
def test_make_would_run_what_is_there(line):
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }  # of the make of this test
    command = ["make", "--dry-run", "--always-make", *line.split()[1:]]
    done = subprocess.run(command, cwd=APP, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    modules = re.findall(r"-m (bench\.\w+)", done.stdout)
    assert all((APP / f"{module.replace('.', '/')}.py").is_file() for module in modules)
    assert modules or re.search(r"bin/qflock (run|up) llm-qfl-reviews$|-m pytest .* tests$|touch \S+/\.ready$", last)


@pytest.mark.parametrize("line", PIP)
def test_what_is_to_be_installed_is_an_extra_of_ours_or_a_program_that_is_named(line):
    extras = tomllib.loads((APP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.search(r"qflock\[(.*)\]", line)
    assert set(named[1].split(",")) <= extras.keys() if named else set(line.split()[2:]) <= {*PROGRAMS}


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
def test_every_yaml_is_a_recipe(block, tmp_path):
    (tmp_path / "my.yaml").write_text(block)
    load(str(tmp_path / "my.yaml"))


def test_the_error_that_is_shown_is_the_one_that_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("student: {feature_mapp: zz}\n")
    with pytest.raises(RecipeError) as given:
        load("my.yaml")
    assert f"`error: {given.value}`" in README


def test_what_is_to_be_added_to_is_there():
    table = README[README.index("## Add to it") : README.index("## Limits")]
    found = [
        (name, path)
        for row in re.findall(r"`([A-Z_]+)` \(([^)]+)\)", table)
        for name in [row[0]]
        for path in row[1].split(", ")
    ]
    assert len(found) >= 7
    for name, path in found:
        assert re.search(rf"^{name}\b.*=", (APP / path).read_text(encoding="utf-8"), re.MULTILINE), (name, path)


def test_it_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) < 250
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (APP / target).exists(), target
