"""Whether a run still lives: a killed ServerApp is seen at once, and Flower is believed when it knows why."""

import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from server import launch
from server.flower import OwnLink
from server.launch import Watch, app_process, ended

PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, sys.argv[1]]).wait()"


@pytest.fixture
def link(tmp_path):
    """A SuperLink that only starts a `flwr-serverapp`, which sleeps."""
    script = tmp_path / "flwr-serverapp"
    script.write_text("import time; time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(script)])
    yield OwnLink("link", {}, process, 0)
    for child in psutil.Process(process.pid).children() if process.poll() is None else []:
        child.kill()
    process.kill()
    process.wait()


def until(claim):
    end = time.monotonic() + 30
    while not (found := claim()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("flower", "said"),
    [
        (("running", ""), "the ServerApp was killed, perhaps for want of memory"),
        (("finished:failed", "no such recipe"), "Flower says finished:failed: no such recipe"),
    ],
)
def test_a_serverapp_that_is_gone_ends_the_watch_with_the_reason_if_there_is_one(flower, said, link, monkeypatch):
    monkeypatch.setattr(launch, "status", lambda link, run_id: flower)
    watch = Watch(link, "1", None, Console())
    app = until(lambda: app_process(link))
    assert watch() is None
    link.process.send_signal(signal.SIGSTOP)  # a parent that does not look: the ServerApp stays as a zombie
    until(lambda: psutil.Process(link.process.pid).status() == psutil.STATUS_STOPPED)
    app.kill()
    until(lambda: ended(app))
    assert app.is_running()
    assert watch() == said


def test_flower_is_asked_seldom_while_its_serverapp_is_seen(link, monkeypatch):
    asked, now = [], [0.0]
    monkeypatch.setattr(launch, "status", lambda link, run_id: asked.append(now[0]) or ("running", ""))
    monkeypatch.setattr(launch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = Watch(link, "1", None, Console())
    living = psutil.Process(link.process.pid)
    monkeypatch.setattr(launch, "app_process", lambda link: living if now[0] > 30 else None)
    for now[0] in range(0, 200, 2):
        assert watch() is None
    assert asked == [10, 20, 30, 90, 150]


def test_a_superlink_that_is_gone_ends_the_watch(link, monkeypatch):
    watch = Watch(link, "1", None, Console())
    app = until(lambda: app_process(link))
    link.process.kill()
    until(lambda: link.process.poll() is not None)
    assert watch() == "the SuperLink ended with code -9"
    assert app_process(link) is None
    app.kill()
    until(lambda: ended(app))
