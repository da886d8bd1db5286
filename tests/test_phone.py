"""HTTPS on the local network: the certificate holds, its key is private, the QR code is one."""

import ipaddress
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest

from voice2music import phone
from voice2music.errors import BadRequest

pytest.importorskip("cryptography")


def test_the_address_is_one_of_this_machine():
    try:
        address = phone.lan_address()
    except BadRequest as error:
        pytest.skip(str(error))
    with socket.socket() as server:  # only an address of this machine can be bound
        server.bind((address, 0))


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    def unreachable(self, address):
        raise OSError(101, "Network is unreachable")

    class NoNetwork(socket.socket):
        connect = unreachable

    monkeypatch.setattr(phone.socket, "socket", NoNetwork)
    with pytest.raises(BadRequest, match="Wi-Fi"):
        phone.lan_address()


def test_a_client_that_knows_the_certificate_trusts_the_address_and_nothing_else(tmp_path):
    """The oracle is OpenSSL's own verification, address included."""
    made = phone.certificate("127.0.0.7", tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(made.certificate, made.key)

    def greet(listener):
        for _ in range(2):
            connection, _ = listener.accept()
            try:
                with served.wrap_socket(connection, server_side=True) as safe:
                    safe.sendall(b"hello")
            except (ssl.SSLError, OSError):  # the client that refuses the name hangs up
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=greet, args=(listener,), daemon=True).start()
        client = ssl.create_default_context(cafile=str(made.certificate))
        for name, trusted in (("127.0.0.7", True), ("10.9.8.7", False)):
            with socket.create_connection(listener.getsockname(), timeout=10) as plain:
                if trusted:
                    with client.wrap_socket(plain, server_hostname=name) as safe:
                        assert safe.recv(5) == b"hello"
                else:
                    with pytest.raises(ssl.SSLCertVerificationError):
                        client.wrap_socket(plain, server_hostname=name)


def test_the_key_is_readable_by_its_owner_only(tmp_path):
    made = phone.certificate("192.0.2.7", tmp_path / "deep" / "folder")
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert made.key.parent.stat().st_mode & 0o777 == 0o700


def test_a_good_certificate_is_kept_and_another_address_gets_its_own(tmp_path):
    first = phone.certificate("192.0.2.7", tmp_path)
    before = first.certificate.read_bytes()
    assert phone.certificate("192.0.2.7", tmp_path).certificate.read_bytes() == before
    assert phone.certificate("192.0.2.8", tmp_path).certificate != first.certificate
    assert first.certificate.read_bytes() == before


@pytest.mark.parametrize("damage", ["expired", "no key", "another key", "damaged"])
def test_a_certificate_that_does_not_hold_is_made_anew(tmp_path, monkeypatch, damage):
    if damage == "expired":
        monkeypatch.setattr(phone, "LIFETIME", timedelta(days=3))
    made = phone.certificate("192.0.2.7", tmp_path)
    before = made.certificate.read_bytes()
    monkeypatch.undo()
    if damage == "no key":
        made.key.unlink()
    if damage == "another key":
        other = phone.certificate("192.0.2.8", tmp_path)
        made.key.write_bytes(other.key.read_bytes())
    if damage == "damaged":
        made.certificate.write_bytes(before[:200])
    again = phone.certificate("192.0.2.7", tmp_path)
    assert again.certificate.read_bytes() != before
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(again.certificate, again.key)


def test_the_certificate_lasts_as_long_as_browsers_accept(tmp_path):
    from cryptography import x509

    made = phone.certificate("192.0.2.7", tmp_path)
    shown = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    assert shown.not_valid_before_utc < datetime.now(UTC)
    assert timedelta(days=390) < shown.not_valid_after_utc - datetime.now(UTC)
    assert shown.not_valid_after_utc - shown.not_valid_before_utc <= timedelta(days=398)
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("192.0.2.7") in names.get_values_for_type(x509.IPAddress)
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_the_qr_code_has_the_patterns_of_the_standard():
    """ISO/IEC 18004: a quiet zone of four modules, three finder patterns, timing patterns."""
    pytest.importorskip("qrcode")
    text = phone.qr("https://192.168.100.200:7860/?a=1")
    rows = []
    for line in text.splitlines():
        blocks = line.removeprefix(phone.WHITE_ON_BLACK).removesuffix(phone.PLAIN)
        rows += ["".join(" X"[b in "▄ "] for b in blocks), "".join(" X"[b in "▀ "] for b in blocks)]
    size = len(rows[0]) - 8
    assert (size - 17) % 4 == 0  # 21, 25, 29 … modules
    assert all(not row.strip() for row in rows[:4] + rows[size + 4 :])
    code = [row[4:-4] for row in rows[4 : size + 4]]
    finder = ["XXXXXXX", "X     X", "X XXX X", "X XXX X", "X XXX X", "X     X", "XXXXXXX"]
    assert [row[:7] for row in code[:7]] == finder
    assert [row[-7:] for row in code[:7]] == finder
    assert [row[:7] for row in code[-7:]] == finder
    assert code[6][8:-8] == ("X " * size)[: size - 16]
    assert "".join(row[6] for row in code)[8:-8] == ("X " * size)[: size - 16]
