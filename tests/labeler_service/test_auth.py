"""Tokens: every method of a real server without one, with a wrong one and with the right one; quotas; caller names."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service.auth import AuthInterceptor, _caller
from labeler_service.call_context import current_call

ALICE, BOB, CAROL = "token-of-alice-0001", "token-of-bob-000001", "token-of-carol-0001"
LINES = f"alice {ALICE}\nbob {BOB} 5\n"
SERVICE = pb.DESCRIPTOR.services_by_name["LabelerService"]
METHODS = [f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods] + [
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/clip_labeler.v1.LabelerService/NoSuchMethod",
]
WAIT_SECONDS = 20


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def reason_and_status(error: Any) -> tuple[str, status_pb2.Status]:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, status


def refusal(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auth") / "tokens"
    path.write_text(LINES)
    return path


@pytest.fixture(scope="module")
def guarded(start_labeler: Any, tiny_clip: Any, token_file: Path) -> Any:
    return start_labeler(*tiny_clip.flags, "--token-file", str(token_file))


@pytest.fixture
def channel(guarded: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(guarded.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return LabelerServiceStub(channel)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "TOKEN_MISSING"),
        ((("authorization", ALICE),), "TOKEN_MISSING"),
        ((("authorization", f"Basic {ALICE}"),), "TOKEN_MISSING"),
        (bearer(""), "TOKEN_UNKNOWN"),
        (bearer("token-of-nobody-001"), "TOKEN_UNKNOWN"),
        (bearer(ALICE[:-1]), "TOKEN_UNKNOWN"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_refused_with_the_body_unread(
    channel: grpc.Channel, tells_nothing_internal: Any, method: str, metadata: Any, reason: str
) -> None:
    """Anybody could fill the server's memory with bodies, or list its methods. The body never comes here."""
    never = threading.Event()

    def body() -> Iterator[bytes]:
        never.wait(WAIT_SECONDS)
        yield b""

    try:
        error = refusal(lambda: channel.stream_unary(method)(body(), metadata=metadata, timeout=WAIT_SECONDS / 2))
    finally:
        never.set()
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    assert reason_and_status(error)[0] == reason
    tells_nothing_internal(error)


def test_health_needs_no_token(channel: grpc.Channel) -> None:
    """Load balancers would take the server out."""
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=SERVICE.full_name)
    assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(request)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_the_right_token(stub: Any, channel: grpc.Channel) -> None:
    for value in (f"Bearer {ALICE}", f"bearer  {ALICE}"):
        assert stub.GetServerInfo(pb.GetServerInfoRequest(), metadata=(("authorization", value),)).version

    class WithToken(grpc.StreamStreamClientInterceptor):
        def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
            return continuation(details._replace(metadata=bearer(ALICE)), requests)

    guarded_reflection = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, WithToken()))
    assert SERVICE.full_name in guarded_reflection.get_services()


def test_quota(stub: Any, image_bytes: Callable[..., bytes], tells_nothing_internal: Any) -> None:
    """One tenant's bulk job would be paid for by all others."""
    request = pb.EmbedImagesRequest(
        preprocessing=pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
        images=[pb.Image(content=image_bytes(seed)) for seed in range(8)],
    )
    assert len(stub.EmbedImages(request, metadata=bearer(BOB)).results) == 8, "a request may overdraw"
    error = refusal(lambda: stub.EmbedImages(request, metadata=bearer(BOB)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    reason, status = reason_and_status(error)
    assert reason == "TENANT_QUOTA"
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert 0 < retry.retry_delay.ToTimedelta().total_seconds() <= 60
    assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
    tells_nothing_internal(error)
    assert len(stub.EmbedImages(request, metadata=bearer(ALICE)).results) == 8
    assert stub.GetServerInfo(pb.GetServerInfoRequest(), metadata=bearer(BOB)).version, "it sends no image"


def test_streams_over_the_quota_wait(stub: Any, token_file: Path) -> None:
    """A stream that is refused half-way would lose what is in flight. 600 a minute: the bucket refills in 0.1 s."""
    token_file.write_text(f"{LINES}carol {CAROL} 600\n")
    vocabulary = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["cat", "dog"]), metadata=bearer(CAROL))
    score = pb.ScoreOptions(
        vocabulary_id=vocabulary.vocabulary_id,
        preprocessing=pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
        output=pb.ScoreOptions.OUTPUT_PROBABILITIES,
    )
    images = [pb.Image(id=str(i), content=b"no image") for i in range(610)]
    requests = [pb.ScoreImageStreamRequest(options=score)]
    requests += [pb.ScoreImageStreamRequest(images=images[i : i + 61]) for i in range(0, 610, 61)]
    replies = stub.ScoreImageStream(iter(requests), metadata=bearer(CAROL), timeout=WAIT_SECONDS)
    assert sorted(int(result.id) for reply in replies for result in reply.results) == list(range(610))
    error = refusal(
        lambda: [
            stub.EmbedImages(
                pb.EmbedImagesRequest(preprocessing=score.preprocessing, images=images[:1]), metadata=bearer(CAROL)
            )
            for _ in range(600)
        ]
    )
    assert reason_and_status(error)[0] == "TENANT_QUOTA", "the stream was charged"
    token_file.write_text(LINES)


def test_file_may_change_while_serving(stub: Any, guarded: Any, token_file: Path) -> None:
    """A stolen token could be withdrawn only by ending everybody's calls."""

    def may_call(token: str) -> bool:
        code = stub.GetServerInfo.future(pb.GetServerInfoRequest(), metadata=bearer(token)).code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED)
        return bool(code == grpc.StatusCode.OK)

    assert (may_call(ALICE), may_call(BOB), may_call(CAROL)) == (True, True, False)
    token_file.write_text(f"alice {ALICE}\ncarol {CAROL}\n")
    assert (may_call(ALICE), may_call(BOB), may_call(CAROL)) == (True, False, True)
    token_file.write_text(f"alice {ALICE} 5 6\n")
    assert (may_call(ALICE), may_call(BOB), may_call(CAROL)) == (True, False, True)
    token_file.write_text(LINES)
    assert (may_call(ALICE), may_call(BOB), may_call(CAROL)) == (True, True, False)
    log = guarded.log.read_text()
    assert log.count("line 1: a line is NAME TOKEN [IMAGES_PER_MINUTE]") == 1
    assert "Traceback" not in log
    assert not any(token in log for token in (ALICE, BOB, CAROL))


class WhoAmI(grpc.GenericRpcHandler):
    """Answers each call with the name of its caller."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def name(request: bytes, context: Any) -> bytes:
            return current_call.get().caller.encode()

        return grpc.unary_unary_rpc_method_handler(name)


@pytest.mark.parametrize(
    ("common_name", "expected"),
    [(None, "anonymous"), ("team-a", "team-a"), ('x\n"}{', "x____"), ("n" * 64, "n" * 64)],
)
def test_certificates_name_their_callers(common_name: str | None, expected: str) -> None:
    """Names reach logs and metrics, where a line break or a quote of a stranger's could forge an entry."""
    authority = trustme.CA()
    ca_pem, server = authority.cert_pem.bytes(), authority.issue_cert("localhost")
    client = authority.issue_cert("client@example.org", common_name=common_name)

    async def main() -> bytes:
        grpc_server = grpc.aio.server(interceptors=[AuthInterceptor(None)])
        grpc_server.add_generic_rpc_handlers((WhoAmI(),))
        pairs = [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())]
        credentials = grpc.ssl_server_credentials(pairs, ca_pem, require_client_auth=True)
        port = grpc_server.add_secure_port("localhost:0", credentials)
        await grpc_server.start()
        own = grpc.ssl_channel_credentials(ca_pem, client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes())
        async with grpc.aio.secure_channel(f"localhost:{port}", own) as channel:
            name = await channel.unary_unary("/any/Method")(b"", timeout=WAIT_SECONDS)
        await grpc_server.stop(None)
        return name

    assert asyncio.run(main()) == expected.encode()


class Peer:
    """What a call without a certificate knows of its caller; there is no other machine here to call from."""

    def __init__(self, address: str) -> None:
        self.address = address

    def peer(self) -> str:
        return self.address

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:10.0.0.7:40000", "10.0.0.7"),
        ("ipv6:%5B2001:db8::1%5D:40000", "2001:db8::1"),
        ("ipv4:127.0.0.1:40000", "anonymous"),
        ("ipv6:%5B::1%5D:40000", "anonymous"),
    ],
)
def test_others_are_named_by_their_address(peer: str, expected: str) -> None:
    """With the port, each connection would have a share of its own."""
    assert _caller(Peer(peer)) == expected
