"""TLS and tokens: what fits goes through, what does not is said in words and at once."""

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from clip_labeler import AccessDeniedError, AsyncLabelerClient, Credentials, Image, LabelerClient, Preprocessing

IMAGES = [Image(str(index), b"%d" % index) for index in range(20)]
TOKEN = "a-token-of-64-characters"


class Certificates:
    """Files of an authority, of a client's certificate that it signed, and of an authority that signed neither."""

    def __init__(self, folder: Path) -> None:
        self._authority, other = trustme.CA(), trustme.CA()
        client = self._authority.issue_cert("client")
        self.ca, self.cert, self.key, self.other_ca = (
            folder / name for name in ("ca.pem", "cert.pem", "key.pem", "other.pem")
        )
        self._authority.cert_pem.write_to_path(str(self.ca))
        other.cert_pem.write_to_path(str(self.other_ca))
        client.private_key_pem.write_to_path(str(self.key))
        client.cert_chain_pems[0].write_to_path(str(self.cert))

    def of_server(self, name: str = "127.0.0.1", *, mutual: bool = False) -> grpc.ServerCredentials:
        issued = self._authority.issue_cert(name)
        pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
        return grpc.ssl_server_credentials([pair], self._authority.cert_pem.bytes() if mutual else None, mutual)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def record_tokens(labeler: Any) -> list[str | None]:
    """The tokens that calls bring from now on."""
    tokens: list[str | None] = []

    def bend(reply: Any, context: Any) -> Any:
        tokens.append(dict(context.invocation_metadata()).get("authorization"))
        return reply

    labeler.bend = bend
    return tokens


def use(labeler: Any, target: str, credentials: Credentials) -> None:
    """A stream and a batch, of either client."""
    preprocessing = Preprocessing("model")
    with LabelerClient(target, credentials=credentials) as client:
        assert len(list(client.score_images(labeler.vocabulary, IMAGES, preprocessing=preprocessing))) == len(IMAGES)
        assert client.score_image_batch(labeler.vocabulary, IMAGES[:2], preprocessing=preprocessing)

    async def use_asynchronously() -> None:
        async with AsyncLabelerClient(target, credentials=credentials) as client:
            results = client.score_images(labeler.vocabulary, IMAGES, preprocessing=preprocessing)
            assert len([result async for result in results]) == len(IMAGES)

    asyncio.run(use_asynchronously())


@pytest.mark.parametrize("mutual", [False, True])
def test_every_call_is_over_tls_and_brings_the_token(
    start_bent_labeler: Any, certificates: Certificates, mutual: bool
) -> None:
    """One kind of call would be refused, or go out without the token."""
    labeler = start_bent_labeler(certificates.of_server(mutual=mutual))
    tokens = record_tokens(labeler)
    own = {"certificate": certificates.cert, "key": certificates.key} if mutual else {}
    use(labeler, labeler.target, Credentials(certificates.ca, token=TOKEN, **own))
    assert tokens
    assert set(tokens) == {f"Bearer {TOKEN}"}


def test_replicas_over_tls(start_bent_labeler: Any, certificates: Certificates) -> None:
    """gRPC would look for the whole list of addresses in a replica's certificate."""
    replicas = [start_bent_labeler(certificates.of_server()) for _ in range(2)]
    use(replicas[0], ",".join(replica.target for replica in replicas), Credentials(certificates.ca, token=TOKEN))


def test_a_token_in_plain_text_stays_on_this_machine(bent_labeler: Any) -> None:
    """It would be there for all to read; or a development server on loopback would need certificates."""
    tokens = record_tokens(bent_labeler)
    use(bent_labeler, bent_labeler.target, Credentials(token=TOKEN))
    assert set(tokens) == {f"Bearer {TOKEN}"}
    for target in ("labeler.example:50051", "127.0.0.1:1,10.0.0.1:1", "dns:///labeler:1"):
        with pytest.raises(ValueError, match="plain text") as info:
            LabelerClient(target, credentials=Credentials(token=TOKEN))
        assert TOKEN not in str(info.value)


@pytest.mark.parametrize("secure", [False, True])
def test_a_token_may_be_replaced(
    start_bent_labeler: Any, certificates: Certificates, tmp_path: Path, secure: bool
) -> None:
    """A run of days would be refused as soon as its token is rotated."""
    labeler = start_bent_labeler(certificates.of_server() if secure else None)
    tokens = record_tokens(labeler)
    path = tmp_path / "token"
    path.write_text("first\n")
    credentials = Credentials(certificates.ca if secure else None, token_file=path)
    with LabelerClient(labeler.target, credentials=credentials) as client:
        client.server_info()
        path.write_text("second\n")
        client.server_info()
    assert tokens == ["Bearer first", "Bearer second"]


MISMATCHES: dict[str, tuple[str, Callable[[Certificates], Credentials], str]] = {
    "a plain server": ("plain", lambda files: Credentials(files.ca), "speaks plain text"),
    "a plain client": ("tls", lambda files: Credentials(), "speaks TLS"),
    "an unknown authority": ("tls", lambda files: Credentials(files.other_ca), "not trusted: unable to get"),
    "a public authority": ("tls", lambda files: Credentials(tls=True), "not trusted"),
    "another name": ("other name", lambda files: Credentials(files.ca), "not trusted: IP address mismatch"),
    "no certificate": ("mutual", lambda files: Credentials(files.ca), "does it want a certificate"),
}


@pytest.mark.parametrize("case", MISMATCHES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_does_not_fit_is_said_at_once(
    start_bent_labeler: Any, certificates: Certificates, case: str, asynchronous: bool
) -> None:
    """gRPC says "Socket closed" to all of these, and the client would wait a minute for it to pass."""
    kind, credentials, says = MISMATCHES[case]
    server_credentials = {
        "plain": lambda: None,
        "tls": certificates.of_server,
        "other name": lambda: certificates.of_server("other.example"),
        "mutual": lambda: certificates.of_server(mutual=True),
    }[kind]()
    target = start_bent_labeler(server_credentials).target

    async def ask_asynchronously() -> None:
        async with AsyncLabelerClient(target, credentials=credentials(certificates), max_wait=30) as client:
            await client.server_info()

    def ask() -> None:
        with LabelerClient(target, credentials=credentials(certificates), max_wait=30) as client:
            client.server_info()

    with pytest.raises(AccessDeniedError) as info:
        asyncio.run(ask_asynchronously()) if asynchronous else ask()
    assert target in str(info.value)
    assert says in str(info.value)


def test_files_that_cannot_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    """gRPC would say nothing and fail each handshake; or print the token."""
    gone, empty, two = tmp_path / "gone.pem", tmp_path / "empty", tmp_path / "two"
    empty.write_text("\n")
    two.write_text(f"{TOKEN} {TOKEN}\n")
    for settings, says in (
        ({"ca": gone}, "gone.pem: No such file"),
        ({"ca": certificates.key}, "certificates of authorities"),
        ({"certificate": certificates.cert}, "give both or none"),
        ({"certificate": certificates.cert, "key": certificates.ca}, "unencrypted private key"),
        ({"token_file": gone}, "gone.pem: No such file"),
        ({"token_file": empty}, "empty must hold one bearer token"),
        ({"token_file": two}, "two must hold one bearer token"),
        ({"token": "with a blank"}, "the token must hold"),
        ({"token": TOKEN, "token_file": two}, "not both"),
    ):
        with pytest.raises(ValueError, match=says) as info:
            Credentials(**settings)
        assert TOKEN not in str(info.value)
        assert "with a blank" not in str(info.value)


def test_credentials_do_not_show_the_token() -> None:
    """A log or a traceback would hold it."""
    credentials = Credentials(token=TOKEN)
    assert TOKEN not in repr(credentials)
    assert pickle.loads(pickle.dumps(credentials)) == credentials


def test_the_command_line_takes_them(start_bent_labeler: Any, certificates: Certificates, tmp_path: Path) -> None:
    """A flag would go nowhere, or a mismatch end in a traceback."""
    labeler = start_bent_labeler(certificates.of_server(mutual=True))
    tokens = record_tokens(labeler)
    path = tmp_path / "token"
    path.write_text(TOKEN)

    def info(*flags: Any, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clip_labeler", "info", "--labeler", labeler.target, *map(str, flags)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})

    flags = ["--ca", certificates.ca, "--cert", certificates.cert, "--key", certificates.key]
    for done in (info(*flags, "--token-file", path), info(*flags, CLIP_LABELER_TOKEN=TOKEN)):
        assert done.returncode == 0, done.stderr
    assert tokens == [f"Bearer {TOKEN}"] * 2
    done = info("--ca", certificates.ca)
    assert done.returncode == 2
    assert "does it want a certificate" in done.stderr
    assert len(done.stderr.splitlines()) == 1
