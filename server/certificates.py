"""TLS and identity for a federation: an authority, the SuperLink's certificate, and a key for every client's node.

The authority's own key is never written: a certificate that is lost or too old is replaced by new ones for all.
"""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "server.pem", "server.key"
HOSTS = ("127.0.0.1", "localhost")
VALID = timedelta(days=365)
SKEW = timedelta(hours=1)  # between the clocks of two machines


def certify(folder: Path, hosts: Iterable[str] = ()) -> None:
    """Write an authority, and a certificate with its key for this machine's loopback and further names or addresses."""
    authority_key, key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    authority = (
        draft("qflock authority", "qflock authority", authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    names = [alternative(host) for host in dict.fromkeys((*HOSTS, *hosts))]
    certificate = (
        draft("qflock superlink", "qflock authority", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / AUTHORITY).write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_secret(folder / KEY, private_bytes(key, serialization.PrivateFormat.PKCS8))


def node_key(folder: Path, client: int) -> Path:
    """The private key that is this client, made once; the public half, to be registered, lies beside it as `.pub`."""
    path = folder / f"client-{client:03d}"
    if not path.with_suffix(".pub").is_file():
        key = ec.generate_private_key(ec.SECP384R1())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(path, private_bytes(key, serialization.PrivateFormat.OpenSSH))
        path.with_suffix(".pub").write_bytes(
            key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        )
    return path


def draft(name: str, issuer: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    """A certificate without its extensions and signature."""
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        key,
        x509.random_serial_number(),
        now - SKEW,
        now + VALID,
    )


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What a key may do: sign certificates, or a handshake."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def alternative(host: str) -> x509.GeneralName:
    """A host as a certificate names it: an address, or a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def private_bytes(key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def write_secret(path: Path, content: bytes) -> None:
    """A file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)
