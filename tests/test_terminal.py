"""A sheet on a terminal, or in a pipe: no word of it is broken, so what one would copy is whole."""

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from recipes.load import load
from server.cli import command
from server.console import plain_console
from server.folder import APP
from server.ledger import Ledger
from server.live import follow
from server.page import Column, Sheet
from server.verify import claims

PLACES = (Column("what"), Column("found", place="last"), Column("of", place="above"), Column("fix", place="below"))
words = st.text(st.sampled_from("abc …=[]/'"), min_size=1, max_size=60).map(str.strip)


def printed(sheet):
    file = io.StringIO()
    Console(file=file, width=20).print(sheet.terminal(), soft_wrap=True)
    return file.getvalue()


@given(rows=st.lists(st.tuples(words, words, words, words), min_size=1, max_size=4))
def test_every_cell_is_whole(rows):
    said = printed(Sheet("s", "title", PLACES, rows)).splitlines()
    assert all(any(cell in line for line in said) for row in rows for cell in row)


def test_brackets_are_no_style():
    assert "pip install 'flwr[simulation]'" in printed(
        Sheet("s", "t", [Column("fix")], [["pip install 'flwr[simulation]'"]])
    )


def test_short_columns_stand_in_line_and_what_is_said_of_several_rows_is_said_once():
    share = Column("share", "{:.2f}".format)
    rows = [("one", "yes", "A", "mend it", 0.5), ("three", "", "A", "", None), ("four", "so", "B", "", 10.0)]
    assert (
        printed(Sheet("s", "title", (*PLACES, share), rows))
        == """\
title
what   share  found

A
one     0.50  yes
              mend it
three

B
four   10.00  so

"""
    )


@pytest.mark.parametrize("env", [{"TTY_COMPATIBLE": "1"}, {}], ids=["terminal", "pipe"])
def test_every_command_of_a_claim_can_be_copied_from_80_columns(env, tmp_path, monkeypatch):
    monkeypatch.setattr("server.verify.measured", lambda *_: (None, None))
    done = CliRunner().invoke(command, ["verify", "--runs-dir", str(tmp_path)], env={"COLUMNS": "80", **env})
    assert done.exit_code == 0
    lines = re.sub("\x1b\\[\\d*m", "", done.output).splitlines()
    for one in claims():
        assert one.command in [line.strip() for line in lines]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("reason", ["cannot read [/data/rows]", "row [x] of [bold]"])
def test_a_reason_of_a_client_is_shown_as_it_is_while_a_run_goes(reason, terminal, tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append({"kind": "score", "failed": {"1": reason}})
    ledger.append({"kind": "end", "state": "completed"})
    console = plain_console()
    console.file, console.width, console._force_terminal = io.StringIO(), 200, terminal
    follow(tmp_path, load("smoke"), console, lambda: None)
    assert reason in console.file.getvalue()


def test_no_command_makes_another_console():
    files = [path for part in ("server", "deploy") for path in Path(APP / part).rglob("*.py")]
    assert [path.name for path in files if re.search(r"\bConsole\(", path.read_text())] == ["console.py"]


@pytest.mark.parametrize(("wide", "width"), [(True, 200), (False, 90)])
def test_a_wide_console_cuts_no_column_in_a_pipe(wide, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert plain_console(wide=wide).width == width
