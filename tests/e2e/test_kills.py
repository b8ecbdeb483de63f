"""One run that dies three times and is resumed each time: the bits of a run that was left alone.

`python -m bench.kills` kills at ten random moments each; here one moment of each kind is kept.
"""

import re
import time

import pytest

from bench.kills import compared, final, named, same_arrays
from bench.kills import qflock as started
from server.flower import started_for
from server.ledger import lines

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]

CHANGES = "clients=2 rounds=5 features.reduction=pca"
SENT_SECONDS = 0.5  # after the end of a round, the next is on its way; it takes two or more


def until(claim, process, home):
    """Waits for it while the command goes on; what is claimed, which is something."""
    end = time.monotonic() + 400
    while not (found := claim()):
        assert process.poll() is None, said(home)
        assert time.monotonic() < end, said(home)
        time.sleep(0.1)
    return found


def after_round(number, home):
    """The run's folder, once this round is in its ledger."""
    for file in home.glob("runs/*/recipe.yaml"):
        if any(line["kind"] == "round" and line["round"] == number for line in lines(file.parent)):
            return file.parent
    return None


def said(home):
    return (home / "said").read_text()


def test_a_run_that_loses_its_serverapp_its_superlink_and_its_command_ends_with_the_same_bits(tmp_path, run_here):
    sets = [word for change in CHANGES.split() for word in ("--set", change)]
    words = ["run", "smoke", "--on", "processes", "--runs-dir", str(tmp_path / "runs"), *sets]
    deaths = [
        (1, "flwr-serverapp", "the ServerApp was killed"),
        (2, "flower-superlink", "the SuperLink ended with code -9"),
    ]
    for number, victim, reason in deaths:
        process = started(words, tmp_path)
        try:
            folder = until(lambda number=number: after_round(number, tmp_path), process, tmp_path)
            time.sleep(SENT_SECONDS)
            for member in named(victim)(folder):
                member.kill()
            assert process.wait(timeout=100) == 1, said(tmp_path)
        finally:
            process.terminate()
        assert reason in said(tmp_path).splitlines()[-1]
        assert started_for(folder) == []
        words = re.findall(r"Go on with: qflock (.+)", said(tmp_path))[-1].split()

    process = started(words, tmp_path)
    until(lambda: named("flwr-serverapp")(folder), process, tmp_path)
    process.kill()  # all that it has started lives on
    process.wait()
    assert named("flwr-serverapp")(folder)
    process = started(words, tmp_path)
    try:
        assert process.wait(timeout=400) == 0, said(tmp_path)
    finally:
        process.terminate()
    assert "processes that outlived a killed qflock" in said(tmp_path)
    assert started_for(folder) == []

    here = run_here("here", {"recipe": "smoke", "override": CHANGES}, 2)
    assert compared(folder) == compared(here)
    (here / "recipe.yaml").write_text((folder / "recipe.yaml").read_text())
    assert same_arrays(final(folder), final(here))
