"""Several replicas behind one target: work is spread, sick ones are passed over, the death of one costs nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from clip_labeler import AsyncLabelerClient, Image, LabelerClient, Preprocessing, UnavailableError, streams
from clip_labeler.targets import Target

PREPROCESSING = Preprocessing("model")
IMAGES = [Image(str(index), b"%d" % index) for index in range(60)]


def count_scores(replicas: list[Any]) -> Counter[int]:
    """How many replies with scores each replica sends from now on."""
    counts: Counter[int] = Counter()

    def bend_of(index: int) -> Callable[[Any, Any], Any]:
        def bend(reply: Any, context: Any) -> Any:
            counts[index] += hasattr(reply, "results")
            return reply

        return bend

    for index, replica in enumerate(replicas):
        replica.bend = bend_of(index)
    return counts


def joined(replicas: list[Any]) -> str:
    return ",".join(replica.target for replica in replicas)


def batch(client: LabelerClient, replica: Any) -> None:
    client.score_image_batch(replica.vocabulary, IMAGES[:2], preprocessing=PREPROCESSING)


def settle(client: LabelerClient, replica: Any, counts: Counter[int], wanted: set[int]) -> None:
    """Asks until the answers come from `wanted` in turn: a change of health takes a moment to arrive."""
    in_turn = dict.fromkeys(wanted, 6 // len(wanted))
    for _ in range(200):
        counts.clear()
        for _ in range(6):
            batch(client, replica)
        if counts == in_turn:
            return
    raise AssertionError(f"answers come from {counts}, not from {in_turn}")


def test_calls_take_turns_among_the_healthy(start_bent_labeler: Any) -> None:
    """All would go to one replica, or to one that says that it does not serve."""
    replicas = [start_bent_labeler() for _ in range(3)]
    replicas[1].serving = False
    counts = count_scores(replicas)
    with LabelerClient(joined(replicas)) as client:
        settle(client, replicas[0], counts, {0, 2})
        replicas[1].serving = True
        settle(client, replicas[0], counts, {0, 1, 2})
        replicas[0].serving = False
        settle(client, replicas[0], counts, {1, 2})


def test_streams_take_turns_too(start_bent_labeler: Any) -> None:
    """Each stream is preceded by one unary call: if both took turns together, two replicas would never share."""
    replicas = [start_bent_labeler() for _ in range(2)]
    counts = count_scores(replicas)
    with LabelerClient(joined(replicas)) as client:
        for _ in range(50):  # until the streams' channel knows both
            counts.clear()
            for _ in range(4):
                list(client.score_images(replicas[0].vocabulary, IMAGES[:1], preprocessing=PREPROCESSING))
            if counts == {0: 2, 1: 2}:
                return
    raise AssertionError(f"streams go to {counts}")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_long_stream_moves_on(start_bent_labeler: Any, monkeypatch: pytest.MonkeyPatch, asynchronous: bool) -> None:
    """A job of days would stay with the replica that it began with, however many join."""
    monkeypatch.setattr(streams, "MAX_STREAM_SECONDS", 0.0)  # old from the start: each lasts for a window
    replicas = [start_bent_labeler() for _ in range(2)]
    counts, target, vocabulary = count_scores(replicas), joined(replicas), replicas[0].vocabulary
    images = IMAGES * 10

    async def score() -> list[str]:
        async with AsyncLabelerClient(target) as client:
            results = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
            return [result.id async for result in results]

    if asynchronous:
        ids = asyncio.run(score())
    else:
        with LabelerClient(target) as client:
            ids = [result.id for result in client.score_images(vocabulary, images, preprocessing=PREPROCESSING)]
    assert Counter(ids) == Counter(image.id for image in images)
    assert set(counts) == {0, 1}


def test_a_stream_that_has_ended_is_no_cancelled_one(bent_labeler: Any) -> None:
    """The labeler's metrics would count each finished job as a cancelled one."""

    async def score() -> None:
        async with AsyncLabelerClient(bent_labeler.target) as client:
            results = client.score_images(bent_labeler.vocabulary, IMAGES, preprocessing=PREPROCESSING)
            assert len([result async for result in results]) == len(IMAGES)

    with LabelerClient(bent_labeler.target) as client:
        list(client.score_images(bent_labeler.vocabulary, IMAGES, preprocessing=PREPROCESSING))
    asyncio.run(score())
    assert bent_labeler.num_streams_ended == 2


def test_each_replica_gets_the_vocabulary_that_it_lacks(start_bent_labeler: Any) -> None:
    """With three replicas, the calls that give and those that use it could miss each other for ever."""
    replicas = [start_bent_labeler() for _ in range(3)]
    known: set[int] = set()

    def bend_of(index: int) -> Callable[[Any, Any], Any]:
        def bend(reply: Any, context: Any) -> Any:
            if hasattr(reply, "vocabulary_id"):
                known.add(index)
            elif hasattr(reply, "results") and index not in known:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such vocabulary")
            return reply

        return bend

    for index, replica in enumerate(replicas):
        replica.bend = bend_of(index)
    with LabelerClient(joined(replicas), max_wait=30) as client:
        for _ in range(6):
            results = client.score_images(replicas[0].vocabulary, IMAGES[:5], preprocessing=PREPROCESSING)
            assert len(list(results)) == 5
            batch(client, replicas[0])


def test_a_killed_replica_costs_nothing(
    labeler: Any, start_labeler: Any, tiny_clip: Any, image_bytes: Callable[..., bytes]
) -> None:
    """Images on their way to it would be lost, or be scored twice."""
    images = [Image(str(seed), image_bytes(seed)) for seed in range(400)]
    victim = start_labeler(*tiny_clip.flags, "--reproducible")
    with LabelerClient(labeler.address) as client:
        vocabulary = client.create_vocabulary(["cat", "dog"])
        results = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
        expected = {result.id: result.scores.tobytes() for result in results}
    with LabelerClient(f"{victim.address},{labeler.address}") as client:
        both = [client.score_images(vocabulary, images, preprocessing=PREPROCESSING) for _ in range(2)]
        scored = [[next(stream)] for stream in both]  # one of them is at the victim
        victim.process.kill()
        for stream, results in zip(both, scored, strict=True):
            results += stream
    for results in scored:
        assert len(results) == len(images)
        assert {result.id: result.scores.tobytes() for result in results} == expected


@pytest.mark.parametrize(
    ("text", "name", "is_local"),
    [
        ("localhost:1", "localhost:1", True),
        ("labeler.example:50051", "labeler.example:50051", False),
        ("[::1]:1", "[::1]:1", True),
        ("localhost:1, 127.0.0.2:2", "ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("[::1]:1,[::2]:2", "ipv6:[::1]:1,[::2]:2", False),
        ("dns:///labeler:1", "dns:///labeler:1", False),
        ("unix-box.example:1", "unix-box.example:1", False),
        ("unix:/run/labeler", "unix:/run/labeler", True),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2", False),
    ],
)
def test_what_an_address_stands_for(text: str, name: str, is_local: bool) -> None:
    """A list would be taken for one odd name, or a token be sent to another machine in plain text."""
    target = Target.parse(text)
    assert target.grpc_name() == name
    assert target.is_local == is_local


@pytest.mark.parametrize("text", ["", "labeler", "http://labeler:1", "a:1,b", "a:1,,b:2", "a:port", "::1:50051"])
def test_a_mistaken_address_is_refused(text: str) -> None:
    """gRPC would look for it for a minute."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        LabelerClient(text)


def test_a_list_with_a_name_that_is_not_known_yet_is_waited_for() -> None:
    """A replica whose name is not there yet would end a run, or nobody would learn which it was."""
    with (
        LabelerClient("127.0.0.1:1,no-such-host.invalid:1", max_wait=0.1) as client,
        pytest.raises(UnavailableError, match=r"no-such-host\.invalid does not resolve"),
    ):
        client.server_info()
