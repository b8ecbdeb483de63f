"""What surrounds the containers: an engine found or not, places and keys of nodes, the operator, what travels."""

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from rich.console import Console

import server.folder
from deploy import node, operator, submit
from deploy.authority import furnish
from recipes.load import load
from recipes.section import InputError
from server import containers, links
from server.containers import Compose, compose_command, contents, owned, plain, stand, starting
from server.flower import Link
from server.folder import new_folder
from server.launch import launch
from strategies.failure import RunFailedError

LINK = Link("qflock", {})


def program(folder, name, says):
    """A command on the path that does what a line of shell says."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty path for commands, but for /bin."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    return tmp_path / "bin"


@pytest.mark.usefixtures("path")
def test_without_docker_the_message_says_what_else_there_is():
    with pytest.raises(RunFailedError, match=r"^there is no Docker engine: .* or run with --on processes$"):
        Compose()


def test_an_engine_that_does_not_answer_is_told_in_its_own_words(path):
    program(path, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(RunFailedError, match=r"^no Docker engine answers: Cannot connect to the Docker daemon"):
        Compose()


def test_the_plugin_is_preferred_and_the_older_command_does(path):
    program(path, "docker", 'test "$1" = version')
    with pytest.raises(RunFailedError, match="has no Compose: install"):
        compose_command()
    program(path, "docker-compose", "exit 0")
    assert compose_command() == [str(path / "docker-compose")]
    program(path, "docker", "exit 0")
    assert compose_command() == [str(path / "docker"), "compose"]


def test_what_a_command_complains_of_is_in_the_error(path):
    program(path, "docker", 'case "$*" in *build*) echo "no space left" >&2; exit 17;; esac')
    with pytest.raises(RunFailedError, match=r"^no space left \(code 17\)$"):
        Compose().up(3)


def test_a_command_of_its_own_error_is_exit_code_one(path):
    done = subprocess.run(
        [sys.executable, "-c", "from server.cli import main; main()", "up", "noop"],
        env={**os.environ, "PATH": str(path), "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("failed: there is no Docker engine")


@pytest.mark.parametrize(("profiles", "left"), [("", 3), ("gpu", 2), ("gpu,ibm", 1), ("other", 3)])
def test_a_node_of_a_profile_takes_the_place_of_another(profiles, left):
    assert plain(3, profiles) == left


@pytest.mark.parametrize(("clients", "profiles"), [(0, ""), (1, "gpu,ibm")])
def test_a_federation_of_fewer_nodes_than_its_profiles_is_refused(clients, profiles):
    with pytest.raises(InputError, match=f"^clients is {clients}; it must be at least"):
        plain(clients, profiles)


@pytest.mark.usefixtures("path")
def test_too_few_nodes_are_refused_before_an_engine_is_asked(told, monkeypatch):
    for clients in ("0", "-3"):
        code, said = told("up", "--clients", clients)
        assert (code, f"{clients} is not in the range" in said) == (2, True)
    monkeypatch.setenv("COMPOSE_PROFILES", "gpu,ibm")
    assert told("up", "--clients", "1") == (
        2,
        "error: clients is 1; it must be at least 2, with a node each for gpu and ibm (COMPOSE_PROFILES)\n",
    )


def test_a_run_travels_whole_but_for_its_lock_and_becomes_the_users(tmp_path):
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    for name in ("recipe.yaml", "run.lock", "logs/app.log"):
        (run / name).write_text(name)
    assert [str(one.relative_to(tmp_path)) for one in contents(run)] == [
        *("run", "run/logs", "run/logs/app.log", "run/recipe.yaml"),
    ]
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:
        member = owned(tar.gettarinfo(run / "recipe.yaml"))
    assert (member.uid, member.gid, member.uname) == (containers.USER, containers.USER, "")


def test_places_go_to_the_first_who_come_and_are_free_again_when_a_holder_ends(tmp_path):
    code = "import sys; from pathlib import Path; from itertools import count; from deploy.node import place; "
    code += f"print(place(Path({str(tmp_path)!r}), count()), flush=True); sys.stdin.read()"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}

    def holder():
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return process, int(process.stdout.readline())

    held = [holder() for _ in range(2)]
    assert [number for _, number in held] == [0, 1]
    held[0][0].kill()
    held[0][0].wait()
    held.append(holder())
    assert held[-1][1] == 0
    for process, _ in held:
        process.kill()
        process.wait()


def test_a_place_stays_taken_through_exec_as_a_node_begins(tmp_path):
    script = "import os, sys; from itertools import count; from pathlib import Path; from deploy.node import place; "
    script += f"place(Path({str(tmp_path)!r}), count()); "
    script += "os.execv(sys.executable, [sys.executable, '-c', 'print(1, flush=True); import sys; sys.stdin.read()'])"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    assert node.place(tmp_path, [0, 1]) == 1
    process.kill()
    process.wait()


def test_a_node_with_a_file_of_its_own_begins_with_it_and_says_so(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    for name, value in (("SUPERLINK", "superlink:8000"), ("AUTHORITY", "ca.crt"), ("NODES", str(tmp_path))):
        monkeypatch.setenv(f"QFLOCK_{name}", value)
    assert node.command(1, tmp_path / "key")[-1] == "partition-id=1"
    (tmp_path / "client-001.yaml").write_text("executor: exact\n")
    assert node.command(1, tmp_path / "key")[-1] == f'partition-id=1 node="{tmp_path}/client-001.yaml"'
    assert node.command(0, tmp_path / "key")[-1] == "partition-id=0"
    assert [one.getMessage() for one in caplog.records] == [
        f"there is no {tmp_path}/client-001.yaml: this node follows the recipe",
        f"this node chooses as {tmp_path}/client-001.yaml says",
        f"there is no {tmp_path}/client-000.yaml: this node follows the recipe",
    ]


@pytest.mark.parametrize("name", containers.MOUNTED)
def test_a_folder_that_is_none_is_refused_before_an_engine_is_asked_and_not_in_the_way_of_the_end(
    name, path, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    for wrong in ("nowhere", "file"):
        monkeypatch.setenv(name, str(tmp_path / wrong))
        for begin in (
            lambda: stand(3, Console()),
            lambda: launch(load("noop"), lambda: tmp_path / "run", on="compose", secure=False),
        ):
            with pytest.raises(InputError, match=rf"{name} is {tmp_path}/{wrong}, which is no folder: name one"):
                begin()
    program(path, "docker", "exit 0")
    Compose().down()


@pytest.mark.parametrize("odd", ["client-1.yaml", "client-0001.yaml", "node.yaml", "client-001.yml", "Client-001.yaml"])
def test_a_nodes_file_that_no_node_would_read_is_refused(odd, path, tmp_path, monkeypatch):
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    monkeypatch.setenv("QFLOCK_NODES", str(nodes))
    for name in ("client-000.yaml", "client-017.yaml", "rows.tsv"):
        (nodes / name).touch()
    program(path, "docker", "exit 0")
    assert starting().env["QFLOCK_NODES"] == str(nodes)
    (nodes / odd).touch()
    with pytest.raises(InputError, match=f"^QFLOCK_NODES holds {odd}, which no node would read"):
        starting()


def test_a_key_counts_once_the_operator_wrote_down_that_very_key(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(operator, "register", lambda link, key: asked.append(key.read_bytes()))
    key = tmp_path / "client-000.pub"
    key.write_bytes(b"one")
    assert not node.registered(key)
    assert operator.enrol(LINK, key)
    assert node.registered(key)
    key.write_bytes(b"two")  # another container has this place now
    assert not node.registered(key)
    assert operator.enrol(LINK, key)
    assert asked == [b"one", b"two"]


@pytest.mark.parametrize(("why", "known"), [("public key is already in use", True), ("connection refused", False)])
def test_a_key_that_the_superlink_has_is_registered_and_one_that_it_refuses_is_not(tmp_path, monkeypatch, why, known):
    def refuse(*_):
        raise RunFailedError(why)

    monkeypatch.setattr(operator, "register", refuse)
    key = tmp_path / "client-000.pub"
    key.write_bytes(b"one")
    assert operator.enrol(LINK, key) is known
    assert node.registered(key) is known


def test_a_run_waits_for_as_many_keys_as_clients_and_not_for_ever(tmp_path):
    for name in ("client-000.pub", "client-000.registered", "client-001.pub"):
        (tmp_path / name).write_bytes(b"one")
    began = time.monotonic()
    submit.awaited(tmp_path, 1, seconds=60)
    assert time.monotonic() < began + 30
    submit.awaited(tmp_path, 2, seconds=0.3)
    assert time.monotonic() >= began + 0.3


def test_a_run_in_containers_is_described_by_them_and_keeps_its_name_and_commit(tmp_path):
    folder = new_folder(load("noop"), tmp_path)
    before = json.loads((folder / "environment.json").read_text())
    submit.described(folder, json.dumps(before | {"cores": 4096, "run": "other", "qflock": "other"}))
    assert json.loads((folder / "environment.json").read_text()) == before | {"cores": 4096}


def test_a_package_that_is_not_here_is_not_described(monkeypatch):
    monkeypatch.setattr(server.folder, "PACKAGES", ("numpy", "no-such-package"))
    assert list(server.folder.versions()) == ["numpy"]


def test_the_operators_configuration_is_found_by_name(tmp_path, monkeypatch):
    authority = tmp_path / "ca.crt"
    authority.touch()
    operator.configure(tmp_path / "flower", "superlink:8000", str(authority))
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    entry = links.named("qflock")
    assert (entry.address, entry.insecure, entry.root_certificates) == ("superlink:8000", False, str(authority))


def test_an_authority_is_made_once_and_its_private_parts_are_their_owners(tmp_path):
    furnish(tmp_path, ["superlink", "10.0.0.7"], nodes=2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    furnish(tmp_path, ["superlink"], nodes=2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for private in ("tls/server.key", "executor/secret", "nodes/client-000", "nodes/client-001"):
        assert stat.S_IMODE((tmp_path / private).stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls" / "server.pem").read_bytes())
    authority = x509.load_pem_x509_certificate((tmp_path / "authority" / "ca.crt").read_bytes())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "superlink" in names.get_values_for_type(x509.DNSName)
    assert "10.0.0.7" in [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    keys = [load_ssh_public_key((tmp_path / "nodes" / f"client-00{n}.pub").read_bytes()) for n in range(2)]
    assert keys[0] != keys[1]


def test_half_an_authority_is_made_anew(tmp_path):
    furnish(tmp_path, [])
    (tmp_path / "authority" / "ca.crt").unlink()
    furnish(tmp_path, [])
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls" / "server.pem").read_bytes())
    certificate.verify_directly_issued_by(
        x509.load_pem_x509_certificate((tmp_path / "authority" / "ca.crt").read_bytes())
    )
