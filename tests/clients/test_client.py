"""The client against a real labeler: what comes back, in which order, and what stays in memory."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from clip_labeler import (
    BoxedImage,
    Calibration,
    EmbeddedImage,
    EncodedCrops,
    EntropyGate,
    Image,
    InvalidRequestError,
    ItemFailedError,
    LabelerClient,
    Preprocessing,
    UnavailableError,
    Vocabulary,
)

CLASS_NAMES = ["cat", "dog", "tree", "house"]
PREPROCESSING = Preprocessing("paper", view_size=64)
GATE = EntropyGate(0.999, "normalized")
ImageBytes = Callable[..., bytes]


@pytest.fixture(scope="module")
def client(labeler: Any) -> Iterator[LabelerClient]:
    with LabelerClient(labeler.address) as client:
        client.wait_until_ready(30)
        yield client


@pytest.fixture(scope="module")
def vocabulary(client: LabelerClient) -> Vocabulary:
    return client.create_vocabulary(CLASS_NAMES)


@pytest.fixture(scope="module")
def images(image_bytes: ImageBytes) -> list[Image]:
    return [Image(f"{seed}.jpg", image_bytes(seed)) for seed in range(24)]


@pytest.fixture(scope="module", name="probs_NC")
def score_all(client: LabelerClient, vocabulary: Vocabulary, images: list[Image]) -> np.ndarray:
    results = client.score_image_batch(vocabulary, images, preprocessing=PREPROCESSING)
    return np.stack([result.scores for result in results])


def test_server_info_describes_the_model(client: LabelerClient) -> None:
    """A client could not size its requests."""
    info = client.server_info()
    assert (info.embedding_size, info.native_resolution, info.reproducible) == (32, 64, True)
    assert len(info.weights_sha256) == 64
    assert info.limits.max_items_per_request > 1


def test_the_same_vocabulary_has_the_same_id(client: LabelerClient, vocabulary: Vocabulary) -> None:
    """Each run would make a vocabulary of its own."""
    assert client.create_vocabulary(CLASS_NAMES) == vocabulary
    other = client.create_vocabulary(CLASS_NAMES, ["a drawing of the {}"], temperature=0.5)
    assert other.id != vocabulary.id
    assert (other.temperature, other.requested_temperature) == (0.5, 0.5)


def test_a_string_is_no_sequence_of_class_names(client: LabelerClient) -> None:
    """ "cat" would become the classes c, a and t."""
    with pytest.raises(ValueError, match="class_names"):
        client.create_vocabulary("cat")


def test_streams_and_batches_agree(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image], probs_NC: np.ndarray
) -> None:
    """Scores would be matched to the wrong image, or depend on the call that asked for them."""
    streamed = {r.id: r for r in client.score_images(vocabulary, images, preprocessing=PREPROCESSING)}
    assert streamed.keys() == {image.id for image in images}
    assert probs_NC.dtype == np.float32
    np.testing.assert_allclose(probs_NC.sum(axis=1), 1, atol=1e-5)
    for image, probs_C in zip(images, probs_NC, strict=True):
        assert streamed[image.id].scores.tobytes() == probs_C.tobytes()
        assert streamed[image.id].sha256 == hashlib.sha256(image.content).digest()


def test_cosines_are_what_probabilities_come_from(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image], probs_NC: np.ndarray
) -> None:
    """The output that was asked for would be ignored."""
    results = client.score_image_batch(vocabulary, images, preprocessing=PREPROCESSING, output="cosines")
    logits_NC = np.stack([result.scores for result in results]).astype(np.float64) / vocabulary.temperature
    exp_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    np.testing.assert_allclose(exp_NC / exp_NC.sum(axis=1, keepdims=True), probs_NC, atol=1e-4)


def test_a_calibration_does_the_same_in_a_score_call_and_later(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image], probs_NC: np.ndarray
) -> None:
    """Labels would depend on when they were debiased."""
    calibration = Calibration(np.array([0.9, 0.2, 1.0, 0.5], np.float32), floor=0.1, clamp=True)
    results = client.score_image_batch(vocabulary, images, preprocessing=PREPROCESSING, calibration=calibration)
    labels_NC = client.apply_bias(probs_NC, calibration)
    assert np.stack([result.scores for result in results]).tobytes() == labels_NC.tobytes()
    expected = np.minimum(np.maximum(probs_NC, 0.1) / calibration.bias, 1)
    np.testing.assert_allclose(labels_NC, expected, rtol=1e-6)


def test_broken_images_fail_alone_and_cannot_be_missed(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image]
) -> None:
    """One bad file would end the stream, or its missing scores pass for a label."""
    items = [*images[:5], Image("text", b"no image"), Image("empty", b""), Image("cut", images[5].content[:500])]
    for results in (
        list(client.score_images(vocabulary, items, preprocessing=PREPROCESSING)),
        client.score_image_batch(vocabulary, items, preprocessing=PREPROCESSING),
        list(client.embed_images(items, preprocessing=PREPROCESSING)),
    ):
        failed = {result.id: result for result in results if result.error is not None}
        assert failed.keys() == {"text", "empty", "cut"}
        assert len(results) == len(items)
        assert all(result.error.code == "INVALID_ARGUMENT" and result.error.reason for result in failed.values())
    result = next(r for r in client.score_images(vocabulary, items[5:6], preprocessing=PREPROCESSING))
    with pytest.raises(ItemFailedError, match="'text' was not scored"):
        _ = result.scores


def test_ids_are_the_callers_own(client: LabelerClient, vocabulary: Vocabulary, images: list[Image]) -> None:
    """Ids that repeat, or file names that are no UTF-8, would break the stream."""
    items = [
        Image(name, image.content) for name, image in zip(["same", "same", "", "\udcff.jpg"], images, strict=False)
    ]
    results = list(client.score_images(vocabulary, items, preprocessing=PREPROCESSING))
    assert sorted(result.id for result in results) == sorted(item.id for item in items)
    assert {r.id: r.sha256 for r in results}["\udcff.jpg"] == hashlib.sha256(items[3].content).digest()


def test_embeddings_stand_for_their_images(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image], probs_NC: np.ndarray
) -> None:
    """A data set relabelled from its embeddings would get other labels than from its images."""
    embeddings = list(client.embed_images(iter(images), preprocessing=PREPROCESSING))
    assert [embedding.id for embedding in embeddings] == [image.id for image in images]
    items = [EmbeddedImage(e.id, e.embedding, e.weights_sha256) for e in embeddings]
    results = client.score_image_batch(vocabulary, items, preprocessing=PREPROCESSING)
    np.testing.assert_allclose(np.stack([result.scores for result in results]), probs_NC, atol=1e-5)
    with pytest.raises(ValueError, match="other weights"):
        list(
            client.score_images(
                vocabulary, [EmbeddedImage("old", items[0].embedding, "0")], preprocessing=PREPROCESSING
            )
        )


def test_crops_follow_their_boxes(client: LabelerClient, vocabulary: Vocabulary, image_bytes: ImageBytes) -> None:
    """Scores of one box would be taken for another's, or a bad box end the stream."""
    boxes = np.array([[0, 0, 96, 80], [10, 10, 60, 40], [30, 30, 30, 50], [40, 0, 96, 80]])
    items = [BoxedImage(str(seed), image_bytes(seed), boxes) for seed in range(5)]
    items += [BoxedImage("broken", b"no image", boxes)]
    results = {r.id: r for r in client.score_crops(vocabulary, items, preprocessing=PREPROCESSING)}
    assert results.keys() == {item.id for item in items}
    for item in items[:5]:
        result = results[item.id]
        assert result.crop_errors.keys() == {2}
        indices, scores = result.scored_crops
        assert indices.tolist() == [0, 1, 3]
        assert scores.shape == (3, len(CLASS_NAMES))
        with pytest.raises(ItemFailedError, match=f"crop 2 of '{item.id}'"):
            _ = result.scores
        alone = BoxedImage("alone", item.content, boxes[[1]])
        (single,) = client.score_crops(vocabulary, [alone], preprocessing=PREPROCESSING)
        assert single.scores.tobytes() == scores[1].tobytes()
    assert results["broken"].error.code == "INVALID_ARGUMENT"
    with pytest.raises(ItemFailedError, match="'broken'"):
        _ = results["broken"].scored_crops


def test_crops_that_the_caller_cut(client: LabelerClient, vocabulary: Vocabulary, image_bytes: ImageBytes) -> None:
    """Callers without boxes in the original image could not score local views."""
    contents = tuple(image_bytes(seed, 50, 30, format="PNG") for seed in range(3))
    items = [EncodedCrops("good", contents), EncodedCrops("part", (contents[0], b"no image"))]
    results = {r.id: r for r in client.score_crops(vocabulary, items, preprocessing=PREPROCESSING)}
    assert results["good"].scores.shape == (3, len(CLASS_NAMES))
    assert results["part"].crop_errors.keys() == {1}
    assert results["part"].scored_crops[1].tobytes() == results["good"].scores[:1].tobytes()


def test_bias_is_the_same_however_rows_are_spread(client: LabelerClient) -> None:
    """The bias would depend on chunk size, order or replica."""
    rows_NC = np.random.default_rng(0).dirichlet([0.3] * 300, size=2000).astype(np.float32)  # more than one message
    whole = client.estimate_bias(rows_NC, gate=GATE)
    parts = client.estimate_bias((rows_NC[start : start + 37] for start in range(0, 2000, 37)), gate=GATE)
    first, second = (client.estimate_bias(half, gate=GATE) for half in (rows_NC[1000:], rows_NC[:1000]))
    rest = client.estimate_bias(rows_NC[1500:], gate=GATE, statistics=[client.estimate_bias(rows_NC[:1500], gate=GATE)])
    merged = client.estimate_bias((), gate=GATE, statistics=[first, second])
    assert whole.num_rows == 2000
    for other in (parts, rest, merged):
        assert other.num_rows == 2000
        assert other.bias.tobytes() == whole.bias.tobytes()
        assert other.sums.tobytes() == whole.sums.tobytes()
        assert other.counts.tobytes() == whole.counts.tobytes()
    top1 = rows_NC.argmax(axis=1)
    assert whole.counts.tolist() == np.bincount(top1, minlength=300).tolist()
    np.testing.assert_allclose(whole.sums[top1[0]], rows_NC[top1 == top1[0]].max(axis=1).sum(), rtol=1e-6)


def test_labels_of_many_rows_come_in_order(client: LabelerClient) -> None:
    """Chunks of a large matrix would be lost or exchanged."""
    probs_NC = np.random.default_rng(0).dirichlet([0.3] * 300, size=2000).astype(np.float32)
    labels_NC = client.apply_bias(probs_NC, Calibration(np.full(300, 0.5, np.float32)))
    np.testing.assert_allclose(labels_NC, probs_NC / 0.5, rtol=1e-6)


def test_a_wrong_request_is_refused_at_once(client: LabelerClient, vocabulary: Vocabulary, images: list[Image]) -> None:
    """The user would wait for retries that cannot help."""
    with pytest.raises(InvalidRequestError):
        client.create_vocabulary([])
    with pytest.raises(InvalidRequestError):
        list(client.score_images(vocabulary, images, preprocessing=Preprocessing("paper", view_size=-1)))
    with pytest.raises(ValueError, match="output must be one of"):
        client.score_images(vocabulary, images, preprocessing=PREPROCESSING, output="logits")  # type: ignore[arg-type]


def test_an_endless_input_is_pulled_only_as_far_as_the_window(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image]
) -> None:
    """A data set would be read into memory while its first images are scored."""
    limit = client.server_info().limits.max_items_in_flight_per_stream
    num_pulled = 0

    def endless() -> Iterator[Image]:
        nonlocal num_pulled
        for image in itertools.cycle(images):
            num_pulled += 1
            yield image

    results = client.score_images(vocabulary, endless(), preprocessing=PREPROCESSING)
    for num_results, _ in enumerate(itertools.islice(results, 3 * limit), 1):
        assert num_pulled - num_results < limit
    results.close()
    assert len(client.score_image_batch(vocabulary, images[:2], preprocessing=PREPROCESSING)) == 2


def test_an_error_of_the_input_is_the_callers(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image]
) -> None:
    """A mistake in the caller's generator would be retried, or hidden behind an error of gRPC."""

    def failing() -> Iterator[Image]:
        yield images[0]
        raise UnavailableError("of another labeler")

    with pytest.raises(UnavailableError, match=r"^of another labeler$"):
        list(client.score_images(vocabulary, failing(), preprocessing=PREPROCESSING))


def test_threads_share_a_client(
    client: LabelerClient, vocabulary: Vocabulary, images: list[Image], probs_NC: np.ndarray
) -> None:
    """Results of one thread's stream would end up in another's."""

    def score(_: int) -> dict[str, bytes]:
        results = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
        return {result.id: result.scores.tobytes() for result in results}

    expected = {image.id: probs_C.tobytes() for image, probs_C in zip(images, probs_NC, strict=True)}
    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(score, range(8))) == [expected] * 8


def test_no_images_give_no_results(client: LabelerClient, vocabulary: Vocabulary) -> None:
    """An empty folder would hang."""
    assert list(client.score_images(vocabulary, [], preprocessing=PREPROCESSING)) == []
    assert list(client.embed_images([], preprocessing=PREPROCESSING)) == []
