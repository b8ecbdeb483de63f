"""What we make is what OpenSSL and Flower accept: names in the certificate, keys that only their owner reads."""

import ipaddress
import socket
import ssl
import stat
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import bytes_to_public_key

from server.certificates import AUTHORITY, CERTIFICATE, KEY, certify, node_key


def shaken(folder, trusted, name):
    """Both ends of one TLS handshake over a socket pair; the server's certificate as the client saw it."""
    here, there = socket.socketpair()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / CERTIFICATE, folder / KEY)

    def serve():
        try:
            server.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError):  # the client does not like the certificate
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ssl.create_default_context(cafile=trusted / AUTHORITY).wrap_socket(here, server_hostname=name) as client:
            return client.getpeercert()
    finally:
        here.close()
        thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "superlink", "fd00::7"])
def test_openssl_trusts_the_certificate_for_every_name_in_it(tmp_path, name):
    certify(tmp_path, ["superlink", "fd00::7", "localhost"])
    assert shaken(tmp_path, tmp_path, name)["subject"] == ((("commonName", "qflock superlink"),),)


def test_a_name_that_is_not_in_it_and_another_authority_are_refused(tmp_path):
    certify(tmp_path / "one")
    certify(tmp_path / "two")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shaken(tmp_path / "one", tmp_path / "one", "elsewhere")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|unable to get local issuer|signature failure"):
        shaken(tmp_path / "one", tmp_path / "two", "localhost")


def test_the_names_are_those_asked_for_each_once(tmp_path):
    certify(tmp_path, ["superlink", "localhost"])
    certificate = x509.load_pem_x509_certificate((tmp_path / CERTIFICATE).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [ipaddress.ip_address("127.0.0.1"), "localhost", "superlink"]


def test_a_node_key_is_one_that_flower_takes_and_stays_the_same(tmp_path):
    path = node_key(tmp_path, 7)
    private = load_ssh_private_key(path.read_bytes(), None)
    assert isinstance(private.curve, ec.SECP384R1)
    assert bytes_to_public_key(try_load_public_key(path.with_suffix(".pub"))) == private.public_key()
    assert node_key(tmp_path, 7).read_bytes() == path.read_bytes() != node_key(tmp_path, 8).read_bytes()


def test_only_the_owner_reads_a_key_also_where_an_open_file_was(tmp_path):
    (tmp_path / KEY).write_text("old")
    (tmp_path / KEY).chmod(0o644)
    certify(tmp_path)
    for path in (tmp_path / KEY, node_key(tmp_path, 0)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any("PRIVATE" in (tmp_path / name).read_text() for name in (AUTHORITY, CERTIFICATE, "client-000.pub"))


def test_the_authority_leaves_no_key(tmp_path):
    certify(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {AUTHORITY, CERTIFICATE, KEY}
