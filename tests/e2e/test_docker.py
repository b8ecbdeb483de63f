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
RECIPE = {"recipe": "smoke", "override": f"clients={CLIENTS} rounds=2"}
SETS = ["--set", f"clients={CLIENTS}", "--set", "rounds=2"]


def qflock(*words):
    done = subprocess.run(
        [*QFLOCK, *words], env=os.environ | {"PYTHONPATH": str(APP)}, capture_output=True, text=True, check=False
    )
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


def test_a_run_in_containers_writes_the_ledger_of_this_process_and_its_folder_comes_back(compose, tmp_path, run_here):
    said = qflock("up", RECIPE["recipe"], *SETS, "--runs-dir", str(tmp_path))
    (folder,) = tmp_path.glob("*-smoke")
    expected = [untimed(line) for line in lines(run_here("here", RECIPE, CLIENTS))]
    assert [untimed(line) for line in lines(folder)] == expected
    assert f"report: {folder / 'report.html'}" in said
    assert (folder / "report.html").stat().st_size > 10_000
    assert list((folder / "checkpoints").iterdir())
    assert "registered client-002" in (folder / "logs" / "containers.log").read_text()
    assert compose.container("operator")  # it was up before, so it stays
