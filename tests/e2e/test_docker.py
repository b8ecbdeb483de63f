"""A federation in containers: the same ledger as in this process, from parts that may do little."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.containers import USER, Compose
from server.ledger import lines, untimed

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3000)]

APP = Path(__file__).parents[2]
QFLOCK = [sys.executable, "-c", "from server.cli import main; main()"]
CLIENTS = 3
SMOKE = ["smoke", "--set", f"clients={CLIENTS}", "--set", "rounds=2"]
TOKEN = "a-token-that-nobody-may-see"
BLAS = ("OPENBLAS_", "MKL_", "NPY_")  # what a machine sets of these moves last bits, and containers do not have it


def qflock(*words):
    env = {name: value for name, value in os.environ.items() if not name.startswith(BLAS)} | {"PYTHONPATH": str(APP)}
    done = subprocess.run([*QFLOCK, *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def docker(*words):
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def compose():
    """Three nodes that stay; the project has a name of its own, so another federation here is left alone."""
    before = os.environ.get("COMPOSE_PROJECT_NAME")
    os.environ["COMPOSE_PROJECT_NAME"] = "qflock-test"
    made = Compose()  # fails, with what is missing, where there is no engine
    try:
        assert "3 nodes are up" in qflock("up", "--clients", str(CLIENTS))
        yield made
    finally:
        qflock("down")
        os.environ.pop("COMPOSE_PROJECT_NAME")
        os.environ.update({"COMPOSE_PROJECT_NAME": before} if before else {})
    assert docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=qflock-test").stdout == ""
    assert "qflock-test" not in docker("volume", "ls", "--format", "{{.Name}}").stdout


def containers(compose, service):
    return compose("ps", "--quiet", service).split()


@pytest.fixture
def with_token(compose, tmp_path, monkeypatch):
    """The same federation, one node of which is that of the profile `ibm`."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\ncrn:v1:test\n")
    file.chmod(0o644)
    monkeypatch.setenv("COMPOSE_PROFILES", "ibm")
    monkeypatch.setenv("QFLOCK_IBM_TOKEN_FILE", str(file))
    qflock("up", "--clients", str(CLIENTS))
    return Compose()


@pytest.mark.parametrize("service", ["superlink", "serverapp", "operator", "client"])
def test_a_container_is_nobody_on_a_root_that_it_cannot_write(compose, service):
    for container in containers(compose, service):
        (facts,) = json.loads(docker("inspect", container).stdout)
        assert facts["HostConfig"]["ReadonlyRootfs"]
        assert not any((facts["NetworkSettings"]["Ports"] or {}).values())
        assert docker("exec", container, "id", "-u").stdout.strip() == str(USER)
        assert "Read-only file system" in docker("exec", container, "touch", "/app/mine").stderr


def test_a_node_sees_no_key_but_its_own(compose):
    seen = [
        docker("exec", node, "sh", "-c", "cat /node/keys/client-*.pub").stdout for node in containers(compose, "client")
    ]
    assert len(set(seen)) == CLIENTS
    for node in containers(compose, "client"):
        assert docker("exec", node, "ls", "/secure/tls", "/secure/executor").stdout.split() == [
            "/secure/executor:",
            "/secure/tls:",
        ]
        found = docker("exec", node, "sh", "-c", "grep -rl 'PRIVATE KEY' /node /enrolled /secure").stdout.split()
        assert [Path(file).parent.name for file in found] == ["keys"]


def test_a_run_in_containers_writes_the_ledger_of_a_simulation_and_its_folder_comes_back(compose, tmp_path):
    said = qflock("up", *SMOKE, "--runs-dir", str(tmp_path / "there"))
    qflock("run", *SMOKE, "--runs-dir", str(tmp_path / "here"))
    (folder,), (here,) = ((tmp_path / name).iterdir() for name in ("there", "here"))
    assert [untimed(line) for line in lines(folder)] == [untimed(line) for line in lines(here)]
    assert f"report: {folder / 'report.html'}" in said
    assert (folder / "report.html").stat().st_size > 10_000
    assert list((folder / "checkpoints").iterdir())
    assert "registered client-002" in (folder / "logs" / "containers.log").read_text()
    assert compose.container("operator")  # it was up before, so it stays


def test_a_node_with_a_token_joins_and_nothing_tells_the_token(with_token, tmp_path):
    qflock("up", *SMOKE, "--runs-dir", str(tmp_path / "runs"))
    (node,), (folder,) = containers(with_token, "client-ibm"), (tmp_path / "runs").iterdir()
    assert TOKEN in docker("exec", node, "sh", "-c", "cat $QFLOCK_IBM_TOKEN_FILE").stdout
    assert lines(folder)[-1]["state"] == "completed"
    told = docker("inspect", node).stdout + docker("exec", node, "env").stdout + with_token("logs")
    assert TOKEN not in told
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
