"""The lock file says the same as pyproject.toml and the constraints; an audit that could ask nobody does not pass."""

import http.server
import re
import threading
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import audit

ROOT = Path(__file__).parent.parent
LOCK, CONSTRAINTS = ROOT / "deploy" / "requirements.lock", ROOT / "deploy" / "constraints.txt"
PINNED_APART = "torch"  # the package index and PyTorch's own have other files under one version


def pins(path):
    """Name → version and hashes of a requirements file."""
    entries = path.read_text().replace("\\\n", " ").splitlines()
    found = {}
    for entry in entries:
        if not entry.startswith("#") and entry.strip():
            name, version = re.match(r"([\w.-]+)==([^\s;]+)", entry).groups()
            found[canonicalize_name(name)] = version, re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry)
    return found


def wanted():
    """The requirements of pyproject.toml, without extras of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"]]


def test_everything_locked_has_hashes():
    locked = pins(LOCK)
    assert len(locked) > 100
    assert [name for name, (_, hashes) in locked.items() if not hashes] == []


def test_the_lock_and_the_constraints_name_the_same_versions():
    locked, constraints = pins(LOCK), pins(CONSTRAINTS)
    apart = {name: version for name, (version, _) in locked.items() if constraints.get(name, (version,))[0] != version}
    assert apart == {}
    assert len(locked.keys() & constraints.keys()) > 100


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_every_dependency_is_locked_in_a_version_that_pyproject_allows(requirement):
    name = canonicalize_name(requirement.name)
    version = (pins(CONSTRAINTS) if name == PINNED_APART else pins(LOCK))[name][0]
    assert requirement.specifier.contains(version)


def test_what_a_locked_package_needs_is_locked_too():
    """As the installed packages say it; those of GPUs are left out."""
    locked = pins(LOCK)
    apart = {canonicalize_name(line) for line in (ROOT / "deploy" / "cuda.txt").read_text().splitlines()[1:]}
    missing = set()
    for name in ("flwr", "transformers", "qiskit", "peft", "qiskit-ibm-runtime", "torch"):
        for text in requires(name) or []:
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(one.name)} - locked.keys() - apart - {PINNED_APART}
    assert missing == set()


def test_nothing_of_gpus_is_locked():
    assert not [name for name in pins(LOCK) if name.startswith(("nvidia-", "cuda-", "triton")) or name == PINNED_APART]


@pytest.fixture
def pypi(monkeypatch):
    """`pypi(body)`: what the audit is told."""
    servers = []

    def serve(body):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield serve
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"vulnerabilities": []}'], ids=repr)
def test_an_index_without_the_list_is_not_taken_for_one(body, pypi):
    assert "names no vulnerability" in (why := audit.unreachable(pypi(body))) or "does not answer" in why


def test_an_index_that_knows_the_old_holes_is(pypi):
    assert audit.unreachable(pypi(b'{"vulnerabilities": [{"id": "PYSEC-2014-8"}]}')) == ""


def test_without_the_internet_the_audit_fails_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(audit, "unreachable", lambda: "nobody answers")
    monkeypatch.setattr(audit.subprocess, "run", None)
    assert audit.main() == 2
    assert capsys.readouterr().err == "audit needs the internet: nobody answers; nothing was audited\n"
