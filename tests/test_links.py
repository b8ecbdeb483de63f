"""Every way in which a SuperLink's name leads nowhere has its own line, and a sound one none."""

import socket
import ssl
import threading
from contextlib import suppress

import pytest

from recipes.load import load
from recipes.section import InputError
from server.certificates import AUTHORITY, CERTIFICATE, KEY, certify
from server.flower import free_port
from server.launch import launch
from server.links import answers, named
from strategies.failure import RunFailedError


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """`configured(text)` writes Flower's configuration."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))

    def write(text):
        (tmp_path / "config.toml").write_text(text)

    return write


class Listener:
    """A port where every connection gets an answer, or None for silence."""

    def __init__(self, answer, tls):
        self.answer, self.tls = answer, tls
        self.sockets = [socket.create_server(("127.0.0.1", 0))]
        self.address = f"127.0.0.1:{self.sockets[0].getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        with suppress(OSError):  # until the door is closed
            while True:
                self.sockets.append(self.sockets[0].accept()[0])
                with suppress(OSError):  # a client that does not like what it sees hangs up
                    self.reply(self.sockets[-1])

    def reply(self, connection):
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True)
            self.sockets.append(connection)
        asked = connection.recv(4096)
        if self.answer is not None:
            connection.sendall(self.answer if asked.startswith(b"GET /health ") else b"HTTP/1.1 400 Bad\r\n\r\n")
            connection.close()

    def close(self):
        for one in self.sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.thread.join(5)


@pytest.fixture
def listener(tmp_path):
    """`listener(answer, tls)`: the address of a Listener; its certificate is in tmp_path/tls."""
    listeners = []

    def listen(answer, tls=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if tls:
            certify(tmp_path / "tls")
            context.load_cert_chain(tmp_path / "tls" / CERTIFICATE, tmp_path / "tls" / KEY)
        listeners.append(Listener(answer, context if tls else None))
        return listeners[-1].address

    yield listen
    for one in listeners:
        one.close()


WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def asked(configured, tmp_path):
    """`asked(address, secure)`: what is wrong with a SuperLink there, or None."""

    def ask(address, secure=False):
        certify(tmp_path / "other")
        authority = tmp_path / ("tls" if (tmp_path / "tls").exists() else "other") / AUTHORITY
        how = f'root-certificates = "{authority}"' if secure else "insecure = true"
        configured(f'[superlink.lab]\naddress = "{address}"\n{how}\n')
        try:
            answers(named("lab"))
        except RunFailedError as error:
            said = str(error).removeprefix(f"lab ({address} in {tmp_path}/config.toml) ")
            assert "\n" not in said
            return said
        return None

    return ask


def test_a_superlink_that_is_well_is_taken_with_and_without_tls(listener, asked):
    assert asked(listener(WELL)) is None
    assert asked(listener(WELL, tls=True), secure=True) is None


def test_nothing_listens(asked):
    said = asked(f"127.0.0.1:{free_port()}")
    assert said == "cannot be reached (Connection refused): start a SuperLink there, or correct the address"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "no..host", "x" * 70])
def test_a_host_that_does_not_exist(asked, host):
    assert asked(f"{host}:8000").startswith("cannot be reached (")


def test_it_hangs(listener, asked, monkeypatch):
    monkeypatch.setattr("server.links.PATIENCE_SECONDS", 0.2)
    assert asked(listener(None)).startswith("does not answer within 0 s")
    assert asked(listener(None), secure=True).startswith("does not answer within 0 s")


def test_it_speaks_tls_and_we_do_not(listener, asked):
    assert asked(listener(WELL, tls=True)).startswith("speaks TLS: write root-certificates")


def test_we_speak_tls_and_it_does_not(listener, asked):
    assert asked(listener(WELL), secure=True).startswith("does not speak TLS: write insecure = true")


def test_its_certificate_names_another_host(listener, asked):
    said = asked(
        listener(WELL, tls=True).replace("127.0.0.1", "127.1"), secure=True
    )  # the same address by another name
    assert "does not convince: " in said
    assert "not valid for '127.1'" in said


def test_another_authority_signed_its_certificate(listener, asked, tmp_path):
    address = listener(WELL, tls=True)
    certify(tmp_path / "tls")  # a new authority; the listener keeps what the old one signed
    assert "does not convince: " in asked(address, secure=True)


@pytest.mark.parametrize("answer", [b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00", b""])
def test_something_else_answers_such_as_the_grpc_of_an_older_flower(listener, asked, answer):
    assert asked(listener(answer)).startswith("does not speak as a SuperLink of this Flower does")


def test_a_web_server_answers(listener, asked):
    assert asked(listener(WELL.replace(b"200", b"404"))).startswith("answers HTTP 404: no SuperLink")


WRONG = {
    '[superlink.lab]\naddress = "h:1"': ("--on moon: ", "There are: sim, processes, compose, lab"),
    "": ("--on moon: ", "There are: sim, processes, compose"),
    "[superlink.moon": ("Flower's configuration, cannot be read: ", ""),
    '[superlink.moon]\naddress = ":local:"': ("Flower's own simulation on this machine; use --on sim", ""),
    '[superlink.moon]\naddress = "host"': ("write it as host:port", ""),
    '[superlink.moon]\naddress = "host:70000"': ("write it as host:port", ""),
    '[superlink.moon]\naddress = "h:1"\nroot-certificates = "/no/file"': ("/no/file, its root-certificates", ""),
}


@pytest.mark.parametrize(("text", "said"), WRONG.items(), ids=range(len(WRONG)))
def test_a_name_that_leads_nowhere_is_one_line(configured, text, said):
    configured(text)
    with pytest.raises(InputError) as error:
        named("moon")
    assert all(part in str(error.value) for part in said)
    assert "\n" not in str(error.value)


def test_root_certificates_without_a_certificate(configured, tmp_path):
    (tmp_path / "ca.crt").write_text("nothing")
    configured(f'[superlink.lab]\naddress = "127.0.0.1:1"\nroot-certificates = "{tmp_path}/ca.crt"\n')
    with pytest.raises(InputError, match="holds no certificate"):
        answers(named("lab"))


def test_no_configuration_at_all_is_no_links(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"There are: sim, processes, compose$"):
        named("moon")


@pytest.mark.parametrize("on", ["sim", "lab"])
def test_secure_is_for_processes_and_nothing_is_made_for_anything_else(on):
    with pytest.raises(InputError, match=r"^--secure is for --on processes; "):
        launch(load("smoke"), lambda: pytest.fail("made a folder"), on=on, secure=True)
