"""A file that cannot be written is one line before the work, not a traceback after it."""

import os

import pytest

from recipes.load import load
from recipes.section import InputError
from server.app import draw


@pytest.fixture
def run(tmp_path, run_of):
    return run_of(tmp_path / "run", load("smoke"))


@pytest.fixture
def refused(told, monkeypatch):
    """`refused(words)`: what is wrong with them, in one line, said before any outcome is read."""

    def work(*_):
        raise AssertionError("work was done")

    monkeypatch.setattr("server.outcome.outcome", work)
    monkeypatch.setattr("server.verify.verify", work)

    def said(*words):
        code, wrong = told(*words)
        assert code == 2
        assert wrong.count("\n") == 1
        return wrong

    return said


@pytest.mark.parametrize(
    ("before", "flag"),
    [
        *((["compare", "{run}"], flag) for flag in ("--csv", "--markdown", "--png", "--html")),
        *((["verify"], flag) for flag in ("--csv", "--markdown")),
    ],
)
def test_a_file_in_no_folder_or_that_is_a_folder_or_anothers_is_refused(
    before, flag, run, refused, tmp_path, monkeypatch
):
    words = [word.format(run=run) for word in before]
    nowhere = tmp_path / "no" / "such.x"
    assert f"{nowhere} cannot be written: {nowhere.parent} is no folder" in refused(*words, flag, nowhere)
    assert f"{run} is a folder" in refused(*words, flag, run)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert f"{tmp_path / 'x'} may not be written" in refused(*words, flag, tmp_path / "x")


def test_a_file_where_the_folder_of_figures_goes_is_refused_and_the_page_is_left(run, told):
    (run / "report").touch()
    code, wrong = told("report", run)
    assert (code, wrong) == (
        2,
        f"error: {run / 'report'} is a file where the folder of figures and tables goes: move it\n",
    )
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("taken", ["report.html", "report/arms.csv"])
def test_a_folder_where_a_file_of_the_report_goes_is_one_line(taken, run, told):
    (run / taken).mkdir(parents=True)
    code, wrong = told("report", run)
    assert code == 2
    assert wrong.startswith(f"error: {run / taken} cannot be written (Is a directory): ")
    assert wrong.count("\n") == 1


def test_a_folder_that_takes_no_report_is_one_line(run, told, monkeypatch):
    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("server.report.write_whole", refused)
    code, wrong = told("report", run)
    assert (code, wrong.count("\n")) == (2, 1)
    assert wrong.startswith(f"error: {run / 'report.html'} cannot be written (Permission denied): ")


@pytest.mark.parametrize("why", [OSError("no room"), InputError("may not be read")])
def test_a_report_that_cannot_be_made_costs_no_run(why, tmp_path, monkeypatch, caplog):
    def refused(*_):
        raise why

    monkeypatch.setattr("server.report.report", refused)
    draw(tmp_path, {})
    assert caplog.messages == [f"no report: {why}"]
