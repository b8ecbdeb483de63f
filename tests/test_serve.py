"""The page that follows a run: the report of now, for this machine alone, sent again only when it is another."""

import socket
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from recipes.load import load
from recipes.section import InputError
from server.serve import POLICY, server


@pytest.fixture
def followed(tmp_path, run_of):
    """(folder, `ask(path, **headers)` → status, headers, text) of a run that has not ended."""
    folder = run_of(tmp_path / "run", load("smoke"), rounds=1, end="")
    with server(folder, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()

        def ask(path="/", **headers):
            asked = Request(
                f"http://127.0.0.1:{serving.server_port}{path}",
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            )
            try:
                with urlopen(asked, timeout=20) as reply:
                    return reply.status, reply.headers, reply.read().decode()
            except HTTPError as error:
                return error.code, error.headers, error.read().decode()

        try:
            yield folder, ask
        finally:
            serving.shutdown()
            thread.join()


def test_the_page_is_the_report_of_now_and_is_sent_again_only_when_it_is_another(followed):
    folder, ask = followed
    status, headers, text = ask()
    assert status == 200
    assert "without a last word" in text
    assert ask(If_None_Match=headers["ETag"])[0] == 304
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"schema": 1, "kind": "end", "state": "completed", "reason": "rounds", "seconds": {}}\n')
    status, later, text = ask(If_None_Match=headers["ETag"])
    assert status == 200
    assert later["ETag"] != headers["ETag"]
    assert "without a last word" not in text


def test_a_page_that_cannot_be_made_is_its_reason_and_one_line_until_it_can(followed, monkeypatch, caplog):
    def broken(known):
        raise ValueError("no\nfont")

    _, ask = followed
    with monkeypatch.context() as patched:
        patched.setattr("server.serve.sheets", broken)
        status, headers, text = ask()
    assert (status, text) == (500, "no page can be made: ValueError: no font")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert [one.getMessage() for one in caplog.records] == [text]
    assert ask()[0] == 200


def test_nothing_else_is_served_and_nobody_who_asks_for_another_machine(followed):
    _, ask = followed
    for path in ("/rounds.jsonl", "/../recipe.yaml", "/?x", "/report.html"):
        assert ask(path)[0] == 404
    assert ask(Host="evil.example:80")[0] == 403
    assert ask(Host="evil.example")[0] == 403


def test_the_page_may_run_its_own_script_and_fetch_from_its_own_server_alone(followed):
    _, headers, text = followed[1]()
    assert headers["Content-Security-Policy"] == POLICY
    assert POLICY.startswith("default-src 'none'; connect-src 'self'; img-src data:;")
    assert text.count("<script") == 1
    assert 'role="status"' in text


def test_it_listens_on_loopback_only(tmp_path, run_of):
    with server(run_of(tmp_path / "run", load("smoke")), 0) as serving:
        assert serving.server_address[0] == "127.0.0.1"


def test_a_port_in_use_and_a_folder_that_is_no_run_are_one_line(tmp_path, run_of):
    with pytest.raises(InputError, match="is not a run folder"):
        server(tmp_path, 0)
    folder = run_of(tmp_path / "run", load("smoke"))
    refused = pytest.raises(InputError, match=r"cannot be used .*: give another --port, or none")
    with socket.create_server(("127.0.0.1", 0)) as taken, refused:
        server(folder, taken.getsockname()[1])
