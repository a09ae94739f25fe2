"""TLS of a real server: who is let in, who is not, and certificates that change while it serves."""

import datetime
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

WAIT_SECONDS = 20
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pem:
    """A certificate with its key."""

    cert: bytes
    key: bytes


def issue(authority: trustme.CA, **options: Any) -> Pem:
    issued = authority.issue_cert("localhost", "127.0.0.1", **options)
    return Pem(b"".join(pem.bytes() for pem in issued.cert_chain_pems), issued.private_key_pem.bytes())


def issue_for_servers_only(authority: trustme.CA) -> Pem:
    """A certificate that must not be used by a client (RFC 5280, extended key usage)."""
    signer = load_pem_private_key(authority.private_key_pem.bytes(), None)
    pem = issue(authority)
    good = x509.load_pem_x509_certificate(pem.cert)
    builder = x509.CertificateBuilder(
        good.issuer, good.subject, good.public_key(), 1, good.not_valid_before_utc, good.not_valid_after_utc
    ).add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
    return Pem(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM), pem.key)


class Server:
    """A labeler behind TLS, whose files are in `folder`."""

    def __init__(self, folder: Path, start_labeler: Any, tiny_clip: Any, *flags: str, mutual: bool) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.install(issue(self.authority))
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        flags += ("--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key"))
        if mutual:
            flags += ("--tls-client-ca", str(folder / "ca.pem"))
        self.labeler = start_labeler(*tiny_clip.flags, *flags)

    def install(self, pem: Pem) -> None:
        (self.folder / "server.pem").write_bytes(pem.cert)
        (self.folder / "server.key").write_bytes(pem.key)

    def channel(self, client: Pem | None = None, trusted: trustme.CA | None = None) -> grpc.Channel:
        root = (trusted or self.authority).cert_pem.bytes()
        own = (client.key, client.cert) if client else (None, None)
        # Its own connection: gRPC lets channels of equal arguments share one.
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(self.labeler.address, grpc.ssl_channel_credentials(root, *own), options)

    def certificate(self, client: Pem, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
        """The certificate that a new connection of that TLS version is shown. Raises ssl.SSLError."""
        for name, content in (("client.pem", client.cert), ("client.key", client.key)):
            (self.folder / name).write_bytes(content)
        # Level 0: OpenSSL itself would not offer TLS 1.1.
        context = ssl.create_default_context(cadata=self.authority.cert_pem.bytes().decode())
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        host, port = self.labeler.address.split(":")
        with (
            socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")


def answer(channel: grpc.Channel) -> grpc.StatusCode:
    with channel:
        try:
            LabelerServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=WAIT_SECONDS)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, start_labeler: Any, tiny_clip: Any) -> Server:
    return Server(tmp_path_factory.mktemp("mutual"), start_labeler, tiny_clip, "--no-reflection", mutual=True)


@pytest.fixture(scope="module")
def aging(tmp_path_factory: pytest.TempPathFactory, start_labeler: Any, tiny_clip: Any) -> Server:
    """Its connections end after a second."""
    flags = ("--max-connection-age", "1")
    return Server(tmp_path_factory.mktemp("aging"), start_labeler, tiny_clip, *flags, mutual=False)


@pytest.mark.parametrize(
    ("client_of", "code"),
    [
        (lambda authority: issue(authority), grpc.StatusCode.OK),
        (lambda authority: None, grpc.StatusCode.UNAVAILABLE),
        (lambda authority: issue(trustme.CA()), grpc.StatusCode.UNAVAILABLE),
        (lambda authority: issue(authority, not_before=YESTERDAY, not_after=YESTERDAY), grpc.StatusCode.UNAVAILABLE),
        (issue_for_servers_only, grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["good", "no certificate", "another authority's", "expired", "not for clients"],
)
def test_client_certificates(mutual: Server, client_of: Callable[..., Pem | None], code: grpc.StatusCode) -> None:
    assert answer(mutual.channel(client_of(mutual.authority))) == code


def test_client_refuses_a_server_it_does_not_trust(aging: Server) -> None:
    assert answer(aging.channel(trusted=trustme.CA())) == grpc.StatusCode.UNAVAILABLE


def test_no_client_certificate_is_needed_unless_asked_for(aging: Server) -> None:
    assert answer(aging.channel()) == grpc.StatusCode.OK


def test_plain_text_is_refused(aging: Server) -> None:
    assert answer(grpc.insecure_channel(aging.labeler.address)) == grpc.StatusCode.UNAVAILABLE


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_versions(mutual: Server) -> None:
    client = issue(mutual.authority)
    assert mutual.certificate(client, ssl.TLSVersion.TLSv1_2)
    assert mutual.certificate(client, ssl.TLSVersion.TLSv1_3)
    with pytest.raises(ssl.SSLError, match="EOF"):  # The server hangs up on our first message.
        mutual.certificate(client, ssl.TLSVersion.TLSv1_1)


def test_reflection_can_be_off(mutual: Server) -> None:
    with mutual.channel(issue(mutual.authority)) as channel:
        call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(iter([b""]))
        with pytest.raises(grpc.RpcError):
            next(call)
        assert call.code() == grpc.StatusCode.UNIMPLEMENTED


def test_certificates_may_change_while_serving(mutual: Server) -> None:
    """Certificates live for weeks and the server for months: each renewal would end everybody's calls."""
    client = issue(mutual.authority)
    with mutual.channel(client) as channel:
        stub = LabelerServiceStub(channel)
        assert stub.GetServerInfo(pb.GetServerInfoRequest()).version
        first = mutual.certificate(client)

        renewed = issue(mutual.authority)
        mutual.install(Pem(renewed.cert, b"half-written"))
        assert mutual.certificate(client) == first, "the old pair stays while the new one is not whole"
        assert mutual.certificate(client) == first
        mutual.install(renewed)
        assert mutual.certificate(client) == x509_pem(renewed.cert) != first
        assert stub.GetServerInfo(pb.GetServerInfoRequest()).version, "connections that were open go on"
    assert answer(mutual.channel(client)) == grpc.StatusCode.OK
    log = mutual.labeler.log.read_text()
    assert log.count("must be a certificate and its unencrypted key") == 1
    assert "Traceback" not in log
    assert "PRIVATE KEY" not in log


def test_client_authorities_may_change_while_serving(mutual: Server) -> None:
    """A client whose authority was withdrawn would be let in until the next start."""
    other = trustme.CA()
    ours, theirs = issue(mutual.authority), issue(other)
    other.cert_pem.write_to_path(mutual.folder / "ca.pem")
    assert answer(mutual.channel(ours)) == grpc.StatusCode.UNAVAILABLE
    assert answer(mutual.channel(theirs)) == grpc.StatusCode.OK
    mutual.authority.cert_pem.write_to_path(mutual.folder / "ca.pem")
    assert answer(mutual.channel(ours)) == grpc.StatusCode.OK


def test_connections_age_without_failing_calls(aging: Server) -> None:
    """Replicas that are added would stay idle while clients stay connected; a call that is cut is work lost."""
    with aging.channel() as channel:
        stub = LabelerServiceStub(channel)
        first = pb.CreateVocabularyRequest(class_names=["cat", "dog"])
        options = pb.ScoreOptions(
            vocabulary_id=stub.CreateVocabulary(first).vocabulary_id,
            preprocessing=pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
            output=pb.ScoreOptions.OUTPUT_PROBABILITIES,
        )
        last = pb.ScoreImageStreamRequest(images=[pb.Image(id="last", content=b"no image")])

        def requests() -> Any:
            yield pb.ScoreImageStreamRequest(options=options)
            seen = set()
            while len(seen) < 3:
                assert stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=WAIT_SECONDS).version
                seen |= client_ports(aging.labeler)
                time.sleep(0.05)
            yield last

        replies = list(stub.ScoreImageStream(requests(), timeout=3 * WAIT_SECONDS))
    assert [result.id for reply in replies for result in reply.results] == ["last"]


def client_ports(labeler: Any) -> set[int]:
    connections = psutil.Process(labeler.process.pid).net_connections("tcp")
    return {connection.raddr.port for connection in connections if connection.status == psutil.CONN_ESTABLISHED}


def x509_pem(chain: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(chain.decode()))
