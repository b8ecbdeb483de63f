"""The scripts of several hosts, all on this one: an authority, a SuperLink, its operator, two nodes, a run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.authority import furnish
from server.flower import free_port
from server.ledger import lines, untimed

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

APP = Path(__file__).parents[2]
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
CLIENTS = 2
BLAS = ("OPENBLAS_", "MKL_", "NPY_")  # what a machine sets of these moves last bits
RECIPE = {"recipe": "noop", "override": f"clients={CLIENTS} rounds=2"}


@pytest.fixture
def start(tmp_path):
    """Starts a script with its own state and nothing else of this environment; ends all."""
    started = []

    def begin(script, *words, **env):
        env |= {name: value for name, value in os.environ.items() if name.startswith(BLAS)}
        env |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "QFLOCK_VENV": str(Path(sys.executable).parents[1])}
        with (tmp_path / f"{script}.log").open("ab") as log:
            command = [APP / "deploy" / f"{script}.sh", *words]
            started.append(
                subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True)
            )

    yield begin
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def until(claim, seconds=300):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.5)


def test_a_federation_by_scripts_writes_the_same_ledger(tmp_path, start, run_here):
    port = str(free_port())
    furnish(tmp_path / "secure", [], nodes=CLIENTS)
    start("superlink", QFLOCK_SECURE="secure", QFLOCK_HOST="127.0.0.1", QFLOCK_PORT=port)
    start("operator", QFLOCK_SECURE="secure", QFLOCK_PORT=port)
    until(lambda: len(list((tmp_path / "secure" / "nodes").glob("*.registered"))) == CLIENTS)
    for client in range(CLIENTS):
        key = f"key-{client}"
        shutil.copy(tmp_path / "secure" / "nodes" / f"client-{client:03d}", tmp_path / key)
        mine = {"QFLOCK_KEY": key, "QFLOCK_STATE": f"node-{client}", "QFLOCK_NODE_PORT": str(free_port())}
        start(
            "node",
            str(client),
            QFLOCK_SUPERLINK=f"127.0.0.1:{port}",
            QFLOCK_AUTHORITY="secure/authority/ca.crt",
            **mine,
        )
    env = os.environ | {"PYTHONPATH": str(APP), "FLWR_HOME": str(tmp_path / "state" / "operator")}
    sets = [word for one in RECIPE["override"].split() for word in ("--set", one)]
    words = ["run", RECIPE["recipe"], *sets, "--on", "qflock", "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run([*QFLOCK, *words], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    expected = [untimed(line) for line in lines(run_here("here", RECIPE, CLIENTS))]
    assert [untimed(line) for line in lines(folder)] == expected
    assert (tmp_path / "node-1" / "memory" / folder.name / "client-001").is_dir()
