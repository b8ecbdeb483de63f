"""A node's warm worker: a process a message, nothing left behind but imported libraries, and one end for all."""

import hashlib
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).parent.parent
SPEC = "ExecutionSpec(TaskType.CLIENT_APP, 'host:1', 'token', True, None, False, os.getpid(), False, 1, None)"


def told(client: str, then: str, times: int = 2) -> str:
    """What a worker prints that has launched a client some times and then looks at itself."""
    code = f"""
import os, signal, sys, time
import flwr
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import ExecutionSpec
from server import supernode

def client():
{client}

supernode.flwr_clientapp = client
forks = supernode.Forks()
for forks.launched in range({times}):
    forks.launch({SPEC})
    while forks.children:
        forks.reconcile()
        time.sleep(0.01)
{then}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_message_gets_flowers_command_line_in_a_process_of_its_own():
    said = told("    print(os.getpid(), *sys.argv)", "print(os.getpid())")
    first, second, worker = said.splitlines()
    assert len({line.split()[0] for line in (first, second, worker)}) == 3
    flags = f"flwr-clientapp --runtime-api-address host:1 --token token --insecure --parent-pid {worker}"
    assert {line.partition(" ")[2] for line in (first, second)} == {flags}


def test_the_second_message_finds_the_libraries_of_the_first_and_none_of_its_state():
    client = """
    print('threadpoolctl' in sys.modules, getattr(flwr, 'state', None), os.environ.get('STATE'), len(sys.path))
    import threadpoolctl
    import data.streams
    flwr.state = os.environ['STATE'] = 'left behind'
    sys.path.append('elsewhere')
    sys.exit(0)
"""
    first, second, worker = told(client, "print('threadpoolctl' in sys.modules, 'data' in sys.modules)").splitlines()
    assert first.split()[:3] == ["False", "None", "None"]
    assert second.split() == ["True", *first.split()[1:]]
    assert worker == "True False"  # the app is what the SuperLink sends; the worker holds no copy of it


def test_a_client_that_dies_leaves_the_worker_as_it_was():
    ends = "os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)", "raise ValueError('boom')", "sys.exit(1)"
    client = f"    import threadpoolctl\n    print('here', flush=True)\n    exec({ends!r}[forks.launched])"
    then = "print('threadpoolctl' in sys.modules)"
    assert told(client, then, times=len(ends)).splitlines() == ["here"] * len(ends) + ["False"]


def test_a_library_that_cannot_be_imported_ahead_stops_nothing():
    client = """
    from importlib.machinery import ModuleSpec
    sys.modules['phantom'] = type(sys)('phantom')
    sys.modules['phantom'].__spec__ = ModuleSpec('phantom', None, origin=supernode.LIBRARIES[0] + '/phantom.py')
"""
    assert told(client, "print('alive')") == "alive\n"


def test_a_worker_takes_the_tasks_of_clients_alone():
    from flwr.supercore.constant import TaskType

    from server.supernode import Forks

    assert Forks().get_eligible_capacity(set(TaskType)) == ({TaskType.CLIENT_APP}, set())


def test_flower_still_sleeps_and_chooses_its_executor_where_we_step_in(monkeypatch):
    from flwr.supercore.superexec import run_superexec
    from flwr.supernode import start_client_internal

    from server import supernode

    assert re.search(r"= get_executor\(", inspect.getsource(run_superexec.run_superexec))
    naps = re.findall(r"\btime\.sleep\(([\d.]+)\)", inspect.getsource(start_client_internal))
    assert naps == ["3", "0.5", "0.5"]
    slept = []
    monkeypatch.setattr(supernode.time, "sleep", slept.append)
    for seconds in (0.1, *map(float, naps)):
        supernode.nap(seconds)
    assert slept == [0.1, *[supernode.LOOK_SECONDS] * 3]
    with pytest.raises(RuntimeError, match=r"has no server\.supernode\.sleep_less; qflock needs version 1\.41"):
        supernode.replace(supernode, "sleep_less", None)


@pytest.fixture
def fab(tmp_path):
    """An app of two modules, packed by Flower."""
    from flwr.cli.build import build_fab_from_disk

    app = tmp_path / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text(
        '[project]\nname = "two"\nversion = "1.0.0"\nlicense = {file = "LICENSE"}\n'
        'dependencies = ["flwr>=1.41.0"]\n'
        '[tool.flwr.app]\npublisher = "us"\nfab-format-version = 1\nflwr-version-target = "1.41.0"\n'
        '[tool.flwr.app.components]\nserverapp = "one:app"\nclientapp = "one:app"\n'
    )
    for name in ("one.py", "inner/other.py", "LICENSE"):
        (app / name).parent.mkdir(exist_ok=True)
        (app / name).write_text(f"# {name}\n")
    return build_fab_from_disk(app)


def test_an_app_is_unpacked_for_its_first_message_alone(fab, monkeypatch, tmp_path):
    from server import supernode

    installed = []
    install = supernode.install_from_fab
    monkeypatch.setattr(supernode, "get_flwr_home", lambda: tmp_path / "home")
    monkeypatch.setattr(supernode, "install_from_fab", lambda *a, **k: (installed.append(a), install(*a, **k))[1])
    for _ in range(3):
        supernode.unpacked(fab, skip_prompt=True)
    assert len(installed) == 1
    (place,) = (tmp_path / "home" / "apps").iterdir()
    assert place.name == f"us.two.1.0.0.{hashlib.sha256(fab).hexdigest()[:8]}"
    assert (place / "inner" / "other.py").read_text() == "# inner/other.py\n"
    shutil.rmtree(place)
    supernode.unpacked(fab, skip_prompt=True)
    assert (place / "one.py").is_file()


def test_an_app_that_was_unpacked_in_part_is_made_whole(fab, monkeypatch, tmp_path):
    from server import supernode

    monkeypatch.setattr(supernode, "get_flwr_home", lambda: tmp_path / "home")
    moved, move = [], Path.replace

    def fails(path, target):
        if moved:
            raise OSError("no space left")
        moved.append(target)
        return move(path, target)

    with monkeypatch.context() as full:
        full.setattr(Path, "replace", fails)
        with pytest.raises(OSError, match="no space left"):
            supernode.unpacked(fab, skip_prompt=True)
    (place,) = (tmp_path / "home" / "apps").iterdir()
    supernode.unpacked(fab, skip_prompt=True)
    assert {file.name for file in place.rglob("*") if file.is_file()} >= {
        "pyproject.toml",
        "one.py",
        "other.py",
        supernode.WHOLE,
    }


def test_flower_still_unpacks_and_asks_again_where_we_step_in():
    from flwr.supercore.inflatable import inflatable_utils
    from flwr.supernode import start_client_internal
    from flwr.supernode.runtime import run_clientapp

    assert "install_from_fab(fab.content, skip_prompt=True)" in inspect.getsource(run_clientapp)
    for module, name in (
        (start_client_internal, "pull_objects"),
        (run_clientapp, "pull_and_inflate_object_from_tree"),
    ):
        assert f"{name}(\n" in inspect.getsource(module).partition("def ")[2]
        assert inspect.signature(getattr(inflatable_utils, name)).parameters["initial_backoff"].default == 1


FINAL = {
    "no answer to a handshake": (httpx.ConnectTimeout("_ssl.c:989: The handshake operation timed out"), False),
    "an end in its middle": (httpx.ConnectError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred"), False),
    "a reset in its middle": (httpx.ConnectError("[Errno 104] Connection reset by peer (TLS)"), False),
    "nobody listens": (httpx.ConnectError("[Errno 111] Connection refused"), False),
    "a wrong certificate": (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), True),
    "no TLS": (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), True),
}


@pytest.mark.parametrize(("error", "final"), FINAL.values(), ids=FINAL)
def test_a_node_gives_up_for_a_certificate_but_not_for_a_network_that_is_cut(error, final):
    from flwr.supernode import fleet_http_connection

    from server import supernode

    assert supernode.patient().should_giveup(error) is final
    assert "make_simple_http_retry_invoker()" in inspect.getsource(fleet_http_connection)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["node", "worker"])
def test_node_and_worker_end_together(victim, tmp_path):
    from server.flower import free_port
    from server.nodes import SUPERNODE

    port = str(free_port())
    command = [*SUPERNODE, "--insecure", "--superlink", f"127.0.0.1:{free_port()}"]
    with (tmp_path / "log").open("wb") as log:
        node = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", port], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while "Starting Flower SuperExec" not in (said := (tmp_path / "log").read_text()) or "Uvicorn" not in said:
            assert time.monotonic() < until, said
            time.sleep(0.05)
        (worker,) = psutil.Process(node.pid).children()
        os.kill(node.pid if victim == "node" else worker.pid, signal.SIGKILL)
        node.wait(30)
        worker.wait(30)
    finally:
        node.kill()
