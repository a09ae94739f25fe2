"""Certificate files that cannot be used: one clear line at the start, instead of refused handshakes later."""

import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from labeler_service.config import ServerConfig
from labeler_service.credentials import TlsFiles, server_credentials


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "clients.pem")
    issued.cert_chain_pems[0].write_to_path(files.cert)
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.client_ca)
    return files


def encrypted(key: bytes) -> bytes:
    """The key under a password, which OpenSSL would ask for on the terminal."""
    private = load_pem_private_key(key, None)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))


def test_good_files(files: TlsFiles) -> None:
    assert server_credentials(files)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cert", lambda content: b"junk", "must be a certificate and its unencrypted key"),
        ("cert", lambda content: b"", "must be a certificate and its unencrypted key"),
        ("key", lambda content: trustme.CA().issue_cert("a").private_key_pem.bytes(), "and its unencrypted key"),
        ("key", lambda content: content[: len(content) // 2], "and its unencrypted key"),
        ("key", encrypted, "and its unencrypted key"),
        ("client_ca", lambda content: b"junk", "--tls-client-ca"),
        ("client_ca", lambda content: b"", "--tls-client-ca"),
    ],
)
def test_unusable_files(files: TlsFiles, name: str, change: object, message: str) -> None:
    path = getattr(files, name)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="PEM") as caught:
        server_credentials(files)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["cert", "key", "client_ca"])
def test_missing_files(files: TlsFiles, name: str) -> None:
    getattr(files, name).unlink()
    with pytest.raises(ValueError, match=f"--tls-{name.replace('_', '-')} .*No such file"):
        server_credentials(files)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tls_cert": Path("a")}, "--tls-cert and --tls-key go together"),
        ({"tls_key": Path("a")}, "--tls-cert and --tls-key go together"),
        ({"tls_client_ca": Path("a")}, "--tls-client-ca needs --tls-cert"),
        ({"tls_cert": Path("a"), "tls_key": Path("a"), "insecure": True}, "contradict"),
        ({"host": "0.0.0.0"}, "add --tls-cert and --tls-key, or --insecure"),
    ],
)
def test_contradicting_flags(flags: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServerConfig(**flags)


def test_tls_may_leave_the_machine() -> None:
    assert ServerConfig(host="0.0.0.0", tls_cert=Path("a"), tls_key=Path("a")).host == "0.0.0.0"


def test_command_line_says_it_in_one_line(files: TlsFiles) -> None:
    files.key.unlink()
    completed = subprocess.run(
        [sys.executable, "-m", "labeler_service", "serve", "--tls-cert", files.cert, "--tls-key", files.key],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.returncode, completed.stderr.count("\n")) == (2, 1)
    assert completed.stderr.startswith(f"clip-labeler: --tls-key {files.key}: No such file")
