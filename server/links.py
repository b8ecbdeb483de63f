"""SuperLinks that others started: found by name in Flower's own configuration, and asked whether they answer.

Flower words every failure to connect the same way; here each has its own line.
"""

import http.client
import os
import re
import ssl
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.section import InputError
from strategies.failure import RunFailedError

PATIENCE_SECONDS = 10.0
LARGEST_PORT = 65535
HERE = ("sim", "processes", "compose")  # what `--on` means without any configuration


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One `[superlink.NAME]` of Flower's configuration."""

    name: str
    file: Path
    address: str
    insecure: bool
    root_certificates: str | None

    def __str__(self) -> str:
        return f"{self.name} ({self.address} in {self.file})"


def named(name: str) -> Entry:
    """The SuperLink of that name in $FLWR_HOME/config.toml, or in ~/.flwr."""
    file = Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr") / "config.toml"
    links = configured(file)
    if name not in links:
        raise InputError(
            f"--on {name}: {file} has no SuperLink of that name. There are: {', '.join((*HERE, *sorted(links)))}"
        )
    address, root = links[name].get("address"), links[name].get("root-certificates")
    if not isinstance(address, str) or address.startswith(":"):
        raise InputError(f"--on {name}: in {file} that is Flower's own simulation on this machine; use --on sim")
    if not re.fullmatch(r".+:\d{1,5}", address) or int(address.rpartition(":")[2]) > LARGEST_PORT:
        raise InputError(f"--on {name}: its address in {file} is {address}; write it as host:port")
    if root and not Path(root).is_file():
        raise InputError(f"--on {name}: {root}, its root-certificates in {file}, is no file")
    insecure = links[name].get("insecure") is True
    return Entry(name=name, file=file, address=address, insecure=insecure, root_certificates=root)


def configured(file: Path) -> dict[str, dict[str, Any]]:
    """The SuperLinks that a Flower configuration names; none when there is no such file."""
    try:
        links = tomllib.loads(file.read_text(encoding="utf-8")).get("superlink", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{file}, Flower's configuration, cannot be read: {error}") from None
    return {name: link for name, link in links.items() if isinstance(link, dict)}


def answers(link: Entry) -> None:
    """Ask a SuperLink for its health; when it does not say that it is well, raise what is wrong and what to do."""
    try:
        status = health(link.address, None if link.insecure else trusting(link))
    except ssl.SSLCertVerificationError as error:
        raise RunFailedError(
            f"the certificate of {link} does not convince: {error.verify_message.rstrip('.')}; make root-certificates "
            f"the authority that signed it, and the address one that it names"
        ) from None
    except ssl.SSLError:
        raise RunFailedError(
            f"{link} does not speak TLS: write insecure = true, or start it with certificates"
        ) from None
    except TimeoutError:
        raise RunFailedError(
            f"{link} does not answer within {PATIENCE_SECONDS:.0f} s; is a SuperLink at work there?"
        ) from None
    except (http.client.HTTPException, ConnectionResetError):
        raise RunFailedError(wrong_language(link)) from None
    except (OSError, UnicodeError) as error:  # Unicode: a name that no host can have
        why = getattr(error, "strerror", None) or error
        raise RunFailedError(
            f"{link} cannot be reached ({why}): start a SuperLink there, or correct the address"
        ) from None
    if status != http.client.OK:
        raise RunFailedError(f"{link} answers HTTP {status}: no SuperLink of this Flower; correct the address")


def wrong_language(link: Entry) -> str:
    """Why something that listens does not speak HTTP."""
    if link.insecure and speaks_tls(link.address):
        return f'{link} speaks TLS: write root-certificates = "/…/ca.crt" instead of insecure = true'
    return f"{link} does not speak as a SuperLink of this Flower does: correct the address, or start a newer SuperLink"


def speaks_tls(address: str) -> bool:
    """Whether there is a TLS handshake to be had, with whatever certificate."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        health(address, anyone)
    except (OSError, http.client.HTTPException):
        return False
    return True


def trusting(link: Entry) -> ssl.SSLContext:
    """Trust in the authority that the configuration names, or in this machine's."""
    try:
        return ssl.create_default_context(cafile=link.root_certificates)
    except ssl.SSLError:
        raise InputError(f"{link.root_certificates}, root-certificates of {link}, holds no certificate") from None


def health(address: str, tls: ssl.SSLContext | None) -> int:
    """The HTTP status that a SuperLink's own /health has."""
    host, _, port = address.rpartition(":")
    where = (host.strip("[]"), int(port))
    connection = (
        http.client.HTTPConnection(*where, timeout=PATIENCE_SECONDS)
        if tls is None
        else http.client.HTTPSConnection(*where, timeout=PATIENCE_SECONDS, context=tls)
    )
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()
