"""A sheet on a terminal, or in a pipe: no word of it is broken, so what one would copy is whole."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from server.cli import command
from server.page import Column, Sheet
from server.verify import claims

words = st.text(st.sampled_from("abc …=[]/'"), min_size=1, max_size=60).map(str.strip)


def printed(sheet, width):
    file = io.StringIO()
    Console(file=file, width=width).print(sheet.terminal(width), soft_wrap=True)
    return file.getvalue()


@given(rows=st.lists(st.tuples(words, words, words), min_size=1, max_size=4), width=st.integers(20, 220))
def test_every_cell_is_whole_and_a_table_fits(rows, width):
    said = printed(Sheet("s", "title", tuple(map(Column, ("what", "found", "fix"))), rows), width)
    assert all(cell in said for row in rows for cell in row)
    if "┏" in said:
        assert max(map(len, said.splitlines())) <= width


def test_brackets_are_no_style():
    for width in (20, 200):
        assert "pip install 'flwr[simulation]'" in printed(
            Sheet("s", "t", [Column("fix")], [["pip install 'flwr[simulation]'"]]), width
        )


def test_what_fits_is_a_table_and_one_letter_less_is_not():
    sheet = Sheet("s", "title", (Column("what"), Column("share", "{:.2f}".format)), [("one", 0.5), ("three", None)])
    wide = printed(sheet, 17)
    assert wide.splitlines()[1] == "┏━━━━━━━┳━━━━━━━┓"
    assert printed(sheet, 16) == "title\n\nwhat: one\nshare: 0.50\n\nwhat: three\n"


@pytest.mark.parametrize("env", [{"TTY_COMPATIBLE": "1"}, {}], ids=["terminal", "pipe"])
def test_every_command_of_a_claim_can_be_copied_from_80_columns(env, tmp_path, monkeypatch):
    monkeypatch.setattr("server.verify.measured", lambda *_: None)
    done = CliRunner().invoke(command, ["verify", "--runs-dir", str(tmp_path)], env={"COLUMNS": "80", **env})
    assert done.exit_code == 0
    lines = done.output.splitlines()
    for one in claims():
        assert f"command: {one.command}" in lines
