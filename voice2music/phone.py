"""The page on a phone: a browser gives its microphone only to HTTPS or to localhost.

So the page is served over HTTPS on the local network, with a certificate that this machine signs
for itself (the phone's browser warns once and then goes on), and the address is shown as a QR code.
"""

import ipaddress
import logging
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from voice2music.checkpoints import cache_folder
from voice2music.errors import BadRequest, MissingPackage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate as Signed

log = logging.getLogger(__name__)

LIFETIME = timedelta(days=397)  # what browsers accept at most of a server's certificate
SPARE = timedelta(days=7)  # a certificate that ends sooner is made anew
WHITE_ON_BLACK = "\x1b[38;5;231;48;5;16m"  # whatever the terminal's own colours are
PLAIN = "\x1b[0m"


@dataclass(frozen=True)
class Certificate:
    """Two PEM files: what the server shows and what it keeps to itself."""

    certificate: Path
    key: Path


def lan_address() -> str:
    """This machine's IPv4 address on the local network.

    Raises:
        BadRequest: it is on no network.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # No packet is sent: connecting a UDP socket only asks which way one would go.
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError as error:
            raise BadRequest(
                "This machine is on no network, so a phone cannot reach it. "
                "Connect it to the same Wi-Fi as the phone, or leave out --phone."
            ) from error


def certificate(address: str, folder: Path | None = None) -> Certificate:
    """A certificate for `address` and localhost, made once and kept until it runs out.

    Args:
        address: the IP address that the phone will ask for.
        folder: where it is kept, the user's cache where none is given; the key is readable by
            its owner only.
    Raises:
        MissingPackage: the package cryptography is not installed.
    """
    if find_spec("cryptography") is None:
        raise MissingPackage(
            "HTTPS for the phone needs the package cryptography. "
            "Run 'pip install cryptography==50.0.2'."
        )
    place = folder or cache_folder() / "phone"
    kept = Certificate(place / f"{address}.crt", place / f"{address}.key")
    if not _good(kept, address):
        _make(kept, address)
        log.info("made a certificate for %s in %s", address, place)
    return kept


def qr(text: str) -> str:
    """`text` as a QR code for a terminal, light on dark in half-height blocks.

    Raises:
        MissingPackage: the package qrcode is not installed.
    """
    try:
        import qrcode
    except ImportError as error:
        raise MissingPackage(
            "A QR code needs the package qrcode. Run 'pip install qrcode==8.2'."
        ) from error
    code = qrcode.QRCode(border=4)  # modules of quiet zone, as the standard asks
    code.add_data(text)
    matrix = code.get_matrix()  # True is a dark module
    matrix += [[False] * len(matrix[0])] * (len(matrix) % 2)
    rows = zip(matrix[::2], matrix[1::2], strict=True)
    lines = ("".join(map(_half_blocks, upper, lower)) for upper, lower in rows)
    return "\n".join(f"{WHITE_ON_BLACK}{line}{PLAIN}" for line in lines)


def _half_blocks(upper: bool, lower: bool) -> str:
    """Two modules above one another as one character; light modules are drawn."""
    return {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}[
        upper, lower
    ]


def _good(kept: Certificate, address: str) -> bool:
    """Whether both files are there, belong together, are for `address` and not near their end."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        shown = x509.load_pem_x509_certificate(kept.certificate.read_bytes())
        key = load_pem_private_key(kept.key.read_bytes(), password=None)
    except (OSError, ValueError):
        return False
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        shown.public_key() == key.public_key()
        and ipaddress.ip_address(address) in names.get_values_for_type(x509.IPAddress)
        and shown.not_valid_after_utc - datetime.now(UTC) > SPARE
    )


def _make(kept: Certificate, address: str) -> None:
    """A new key and a certificate signed with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "voice2music")])
    addresses = [ipaddress.ip_address(text) for text in dict.fromkeys((address, "127.0.0.1"))]
    names = [x509.DNSName("localhost"), *(x509.IPAddress(known) for known in addresses)]
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a phone's clock may be behind
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    _store(kept, signed, key)


def _store(kept: Certificate, signed: "Signed", key: "EllipticCurvePrivateKey") -> None:
    """Both as PEM; the key never exists on disk with wider permissions than its owner's."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    kept.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept.key.unlink(missing_ok=True)
    descriptor = os.open(kept.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    kept.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
