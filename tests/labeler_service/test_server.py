"""The RPCs as callers see them: information, vocabularies, scores of images and crops, streams."""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from clip_labeler.v1 import labeler_pb2 as pb

SERVICE = "clip_labeler.v1.LabelerService"
CLASSES = ["cat", "dog", "tree"]
PAPER = pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER)
ImageBytes = Callable[..., bytes]


def changed(options: pb.ScoreOptions, **changes: Any) -> pb.ScoreOptions:
    """A copy with some fields replaced; None clears one."""
    copy = pb.ScoreOptions()
    copy.CopyFrom(options)
    for name, value in changes.items():
        copy.ClearField(name)
        if value is not None:
            copy.MergeFrom(pb.ScoreOptions(**{name: value}))
    return copy


def matrix(values: Any) -> pb.Matrix:
    array = np.atleast_2d(np.asarray(values, "<f4"))
    return pb.Matrix(rows=array.shape[0], columns=array.shape[1], data=array.tobytes())


def values(message: pb.Matrix) -> np.ndarray:
    return np.frombuffer(message.data, "<f4").reshape(message.rows, message.columns)


def images(*contents: bytes) -> list[pb.Image]:
    return [pb.Image(id=str(i), content=content) for i, content in enumerate(contents)]


def score(stub: Any, options: pb.ScoreOptions, *contents: bytes) -> list[pb.ImageResult]:
    return list(stub.ScoreImages(pb.ScoreImagesRequest(options=options, images=images(*contents))).results)


def reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "clip_labeler"
    return info.reason


def failure(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def call_status(error: Any) -> status_pb2.Status:
    trailers = dict(error.trailing_metadata())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


class TestInfo:
    def test_server_info(self, stub: Any, labeler: Any) -> None:
        info = stub.GetServerInfo(pb.GetServerInfoRequest())
        assert (info.model_name, info.backend, info.device, info.dtype) == ("tiny-resnet", "torch", "cpu", "float32")
        assert (info.embedding_size, info.native_resolution, info.reproducible) == (32, 64, True)
        assert len(info.weights_sha256) == 64
        assert all(value > 0 for _, value in info.limits.ListFields())
        assert len(info.limits.ListFields()) == len(pb.Limits.DESCRIPTOR.fields), "a limit of zero would stop clients"
        assert labeler.line == f"serving tiny-resnet at {labeler.address}"

    @pytest.mark.parametrize("service", ["", SERVICE])
    def test_health(self, channel: grpc.Channel, service: str) -> None:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING

    def test_reflection(self, channel: grpc.Channel) -> None:
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


class TestVocabulary:
    def test_id_is_a_hash_of_the_content(self, stub: Any) -> None:
        """With ids that were counted, one replica would score with another's classes."""

        def create(**fields: Any) -> str:
            return stub.CreateVocabulary(pb.CreateVocabularyRequest(**fields)).vocabulary_id

        first = create(class_names=CLASSES)
        assert create(class_names=CLASSES) == first
        others = [
            create(class_names=CLASSES[::-1]),
            create(class_names=CLASSES, temperature=0.5),
            create(class_names=CLASSES, prompt_templates=["a {}"]),
        ]
        assert len({first, *others}) == 4

    def test_reply(self, stub: Any) -> None:
        reply = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=CLASSES, temperature=0.25))
        assert (reply.num_classes, reply.temperature) == (3, 0.25)
        info = stub.GetServerInfo(pb.GetServerInfoRequest())
        assert reply.weights_sha256 == info.weights_sha256
        assert stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["a"])).temperature == info.temperature

    @pytest.mark.parametrize(
        "fields",
        [
            {"class_names": []},
            {"class_names": ["cat", " "]},
            {"class_names": ["cat", "dog", "cat"]},
            {"class_names": [str(i) for i in range(2001)]},
            {"class_names": ["c" * 257]},
            {"class_names": ["cat"], "prompt_templates": ["a photo"]},
            {"class_names": ["cat"], "prompt_templates": ["{} and {}"]},
            {"class_names": ["cat"], "temperature": -1},
            {"class_names": ["cat"], "temperature": float("nan")},
        ],
    )
    def test_mistakes(self, stub: Any, fields: dict[str, Any]) -> None:
        error = failure(lambda: stub.CreateVocabulary(pb.CreateVocabularyRequest(**fields)))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT

    def test_templates_are_averaged_as_unit_vectors(
        self, stub: Any, score_options: Any, image_bytes: ImageBytes
    ) -> None:
        """Summed cosines of unit vectors, over the mean's length."""

        def cosines(templates: list[str]) -> np.ndarray:
            request = pb.CreateVocabularyRequest(class_names=CLASSES, prompt_templates=templates)
            vocabulary_id = stub.CreateVocabulary(request).vocabulary_id
            options = score_options(stub, vocabulary_id=vocabulary_id, output=pb.ScoreOptions.OUTPUT_COSINES)
            return np.stack([values(r.scores)[0] for r in score(stub, options, image_bytes(0), image_bytes(1))])

        first, second, both = cosines(["a {}"]), cosines(["the {} there"]), cosines(["a {}", "the {} there"])
        ratio = (first + second) / both
        np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-3)
        assert (ratio > 0).all()
        assert (ratio <= 2 + 1e-3).all()


class TestScoreImages:
    def test_rows_are_softmax_of_cosines(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        """Paper eq. 1-2 at the model's temperature."""
        content = image_bytes(0)
        [probs] = score(stub, options, content)
        [cosines] = score(stub, changed(options, output=pb.ScoreOptions.OUTPUT_COSINES), content)
        temperature = stub.GetServerInfo(pb.GetServerInfoRequest()).temperature
        exp = np.exp(values(cosines.scores) / temperature)
        np.testing.assert_allclose(values(probs.scores), exp / exp.sum(), rtol=1e-5)
        assert np.abs(values(cosines.scores)).max() <= 1

    def test_reply_names_what_was_scored(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        """A label must never be stored under another image."""
        contents = [image_bytes(seed) for seed in range(5)]
        reply = stub.ScoreImages(pb.ScoreImagesRequest(options=options, images=images(*contents)))
        assert [r.id for r in reply.results] == ["0", "1", "2", "3", "4"]
        assert [r.sha256 for r in reply.results] == [hashlib.sha256(content).digest() for content in contents]
        assert reply.weights_sha256 == stub.GetServerInfo(pb.GetServerInfoRequest()).weights_sha256
        timings = reply.timings
        assert min(timings.decode_seconds, timings.queue_seconds, timings.device_seconds) > 0
        assert timings.total_seconds >= timings.device_seconds

    def test_row_has_the_same_bits_whatever_its_neighbours_are(
        self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes
    ) -> None:
        """--reproducible: labels would differ from run to run in the last bits, and rounding does not hide it."""
        target = image_bytes(99)
        rows = set()
        for position, size in ((0, 1), (0, 2), (1, 2), (3, 7), (6, 7), (7, 8), (8, 9), (11, 20)):
            contents = [image_bytes(seed) for seed in range(size)]
            contents[position] = target
            rows.add(score(stub, options, *contents)[position].scores.data)
        assert len(rows) == 1

    def test_bad_image_fails_alone(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        good = [image_bytes(seed) for seed in range(3)]
        bad = [b"", b"<html>", good[0][: len(good[0]) // 2], image_bytes(1, format="TIFF")]
        alone = score(stub, options, *good)
        mixed = score(stub, options, good[0], bad[0], bad[1], good[1], bad[2], bad[3], good[2])
        assert [mixed[i].scores.data for i in (0, 3, 6)] == [result.scores.data for result in alone]
        for index, reason in ((1, "NOT_AN_IMAGE"), (2, "NOT_AN_IMAGE"), (4, "IMAGE_TRUNCATED"), (5, "NOT_AN_IMAGE")):
            assert mixed[index].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
            assert reason_of(mixed[index].error) == reason
            assert mixed[index].id == str(index)

    def test_embeddings_round_trip(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        """A data set relabelled from its embeddings must get the labels that its images would get."""
        contents = [image_bytes(seed) for seed in range(3)]
        embedded = stub.EmbedImages(pb.EmbedImagesRequest(preprocessing=PAPER, images=images(*contents))).results
        assert [np.linalg.norm(values(r.scores)) for r in embedded] == pytest.approx([1] * 3, abs=1e-5)
        request = pb.ScoreImagesRequest(options=options, images=[pb.Image(embedding=r.scores) for r in embedded])
        results = stub.ScoreImages(request).results
        assert [r.scores.data for r in results] == [r.scores.data for r in score(stub, options, *contents)]
        assert [r.sha256 for r in results] == [hashlib.sha256(r.scores.data).digest() for r in embedded]

    @pytest.mark.parametrize("row", [np.ones(31), np.ones(32), np.full(32, np.nan), np.zeros(32)])
    def test_bad_embedding_fails_alone(self, stub: Any, options: pb.ScoreOptions, row: np.ndarray) -> None:
        request = pb.ScoreImagesRequest(options=options, images=[pb.Image(embedding=matrix(row))])
        assert reason_of(stub.ScoreImages(request).results[0].error) == "BAD_EMBEDDING"

    def test_calibrated_rows(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        """The score calls and ApplyBias debias alike."""
        content = image_bytes(0)
        calibration = pb.Calibration(bias=matrix([0.3, 0.5, 1.0]), floor=0.2, clamp=True)
        [plain] = score(stub, options, content)
        [debiased] = score(stub, changed(options, calibration=calibration), content)
        applied = stub.ApplyBias(pb.ApplyBiasRequest(probabilities=plain.scores, calibration=calibration))
        assert applied.labels.data == debiased.scores.data
        expected = np.minimum(np.maximum(values(plain.scores), 0.2) / [0.3, 0.5, 1.0], 1)
        np.testing.assert_allclose(values(debiased.scores), expected, rtol=1e-6)

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"vocabulary_id": "0" * 64}, grpc.StatusCode.NOT_FOUND),
            ({"output": None}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"preprocessing": None}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"preprocessing": pb.Preprocessing(profile=1, view_size=31)}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"preprocessing": pb.Preprocessing(profile=1, view_size=1025)}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"preprocessing": pb.Preprocessing(profile=3, normalization=1)}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"calibration": pb.Calibration(bias=matrix([0.5, 0.5]))}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"calibration": pb.Calibration(bias=matrix([0.5, 0.5, 0]))}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"calibration": pb.Calibration(bias=pb.Matrix(rows=1, columns=3))}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"output": 2, "calibration": pb.Calibration(bias=matrix([1, 1, 1]))}, grpc.StatusCode.INVALID_ARGUMENT),
        ],
    )
    def test_bad_options(
        self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes, changes: dict[str, Any], code: Any
    ) -> None:
        assert failure(lambda: score(stub, changed(options, **changes), image_bytes())).code() == code

    def test_number_of_images(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        assert failure(lambda: score(stub, options)).code() == grpc.StatusCode.INVALID_ARGUMENT
        error = failure(lambda: score(stub, options, *[image_bytes()] * 65))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(call_status(error).details) == 1, "with RetryInfo a client would send it again and again"

    @pytest.mark.parametrize("profile", [1, 2, 3])
    def test_profiles_and_normalizations_differ(
        self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes, profile: int
    ) -> None:
        content = image_bytes(0, 150, 60)
        cosines = changed(options, output=pb.ScoreOptions.OUTPUT_COSINES)
        rows = {score(stub, cosines, content)[0].scores.data}
        for changes in ({"view_size": 96}, {"normalization": 1}) if profile < 3 else ({},):
            preprocessing = pb.Preprocessing(profile=profile, **changes)
            rows.add(score(stub, changed(cosines, preprocessing=preprocessing), content)[0].scores.data)
        assert len(rows) == (3 if profile < 3 else 2)


class TestStreams:
    def test_images_equal_the_unary_call(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        """Also when more items are sent than may be in flight."""
        contents = [image_bytes(seed, 40 + seed % 7) for seed in range(300)]

        def requests() -> Iterator[pb.ScoreImageStreamRequest]:
            yield pb.ScoreImageStreamRequest(options=options)
            for start in range(0, 300, 20):
                batch = [pb.Image(id=str(i), content=contents[i]) for i in range(start, start + 20)]
                yield pb.ScoreImageStreamRequest(images=batch)

        results = [result for reply in stub.ScoreImageStream(requests()) for result in reply.results]
        rows = {result.id: result.scores.data for result in results}
        assert len(results) == len(rows) == 300
        for index in (0, 150, 299):
            assert rows[str(index)] == score(stub, options, contents[index])[0].scores.data

    def test_stopped_reading_stops_the_server(
        self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes
    ) -> None:
        """Memory would grow with the data set when the server reads faster than results are taken."""
        sent = 0
        content = image_bytes(0, 64, 64)
        names = pb.CreateVocabularyRequest(class_names=[f"class {i}" for i in range(1000)])
        options = changed(options, vocabulary_id=stub.CreateVocabulary(names).vocabulary_id)  # Rows of 4 kB.

        def requests() -> Iterator[pb.ScoreImageStreamRequest]:
            nonlocal sent
            yield pb.ScoreImageStreamRequest(options=options)
            while True:
                sent += 1
                yield pb.ScoreImageStreamRequest(images=[pb.Image(content=content)] * 20)

        call = stub.ScoreImageStream(requests())
        next(call)
        counts = [0]
        while sent > counts[-1] and sent < 2000:
            counts.append(sent)
            time.sleep(1)
        assert sent < 2000, "the server goes on reading"
        call.cancel()

    @pytest.mark.parametrize("method", ["ScoreImageStream", "ScoreCrops"])
    def test_options_come_first_and_once(self, stub: Any, options: pb.ScoreOptions, method: str) -> None:
        request = pb.ScoreImageStreamRequest if method == "ScoreImageStream" else pb.ScoreCropsRequest
        for requests in ([], [request()], [request(options=options), request(options=options)]):
            error = failure(lambda requests=requests: list(getattr(stub, method)(iter(requests))))
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "options" in error.details()
        unknown = request(options=changed(options, vocabulary_id="x"))
        assert failure(lambda: list(getattr(stub, method)(iter([unknown])))).code() == grpc.StatusCode.NOT_FOUND

    def test_crops(self, stub: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
        content = image_bytes(0, 96, 80)
        boxes = [(0, 0, 96, 80), (5, 5, 5, 9), (200, 0, 300, 9), (10, 10, 50, 40)]
        boxed = pb.BoxedImage(content=content, boxes=[pb.Box(x0=a, y0=b, x1=c, y1=d) for a, b, c, d in boxes])
        items = [
            pb.CropItem(id="boxed", boxed_image=boxed),
            pb.CropItem(id="crops", encoded_crops=pb.EncodedCrops(contents=[content, b"no"])),
            pb.CropItem(id="broken", boxed_image=pb.BoxedImage(content=content[:300], boxes=boxed.boxes)),
            pb.CropItem(id="none", boxed_image=pb.BoxedImage(content=content)),
            pb.CropItem(id="many", boxed_image=pb.BoxedImage(content=content, boxes=[boxed.boxes[0]] * 129)),
        ]
        replies = stub.ScoreCrops(iter([pb.ScoreCropsRequest(options=options), pb.ScoreCropsRequest(items=items)]))
        results = {result.id: result for reply in replies for result in reply.results}
        boxed_result, crops_result = results["boxed"], results["crops"]
        assert boxed_result.sha256 == hashlib.sha256(content).digest()
        digests = hashlib.sha256(content).digest() + hashlib.sha256(b"no").digest()
        assert crops_result.sha256 == hashlib.sha256(digests).digest()
        assert [crop.WhichOneof("result") for crop in boxed_result.crops] == ["scores", "error", "error", "scores"]
        assert [reason_of(boxed_result.crops[i].error) for i in (1, 2)] == ["EMPTY_BOX", "BOX_OUTSIDE_IMAGE"]
        assert boxed_result.crops[0].scores.data == crops_result.crops[0].scores.data, "the whole image either way"
        assert reason_of(crops_result.crops[1].error) == "NOT_AN_IMAGE"
        assert reason_of(results["broken"].error) in ("IMAGE_TRUNCATED", "NOT_AN_IMAGE")
        assert not results["broken"].crops
        assert {reason_of(results[name].error) for name in ("none", "many")} == {"CROP_COUNT"}
