"""Arrays and values survive the way to protobuf and back; what breaks the contract is refused."""

import hashlib

import numpy as np
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from clip_labeler import BoxedImage, EmbeddedImage, EncodedCrops, Image, Preprocessing, ProtocolError, messages
from clip_labeler.v1 import labeler_pb2 as pb

SHAPES = np_st.array_shapes(min_dims=2, max_dims=2, max_side=20)
FINITE_ROWS = np_st.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


@settings(deadline=None)
@given(FINITE_ROWS)
def test_matrices_round_trip_bit_for_bit(rows: np.ndarray) -> None:
    """A wrong order, width or byte order would scramble every label."""
    matrix = messages.matrix_to_proto(rows)
    again = messages.matrix_from_proto(pb.Matrix.FromString(matrix.SerializeToString()), *rows.shape)
    assert again.dtype == np.float32
    assert again.tobytes() == rows.tobytes()


@settings(deadline=None)
@given(FINITE_ROWS)
def test_a_matrix_has_the_layout_that_the_contract_says(rows: np.ndarray) -> None:
    """Clients in other languages read row-major little-endian float32."""
    for array in (rows, np.asfortranarray(rows), rows.astype(">f4"), rows.astype(np.float64)):
        assert messages.matrix_to_proto(array).data == rows.astype("<f4").tobytes(order="C")


@settings(deadline=None)
@given(FINITE_ROWS, st.integers(-3, 3), st.integers(-3, 3), st.integers(-5, 5))
def test_a_matrix_of_another_size_is_refused(rows: np.ndarray, down: int, right: int, longer: int) -> None:
    """A labeler that answers for more or fewer classes would shift all columns."""
    matrix = messages.matrix_to_proto(rows)
    data = matrix.data[: len(matrix.data) + min(longer, 0)] + b"\0" * max(longer, 0)
    bent = pb.Matrix(rows=matrix.rows, columns=matrix.columns, data=data)
    if (down, right, longer) == (0, 0, 0):
        return
    with pytest.raises(ProtocolError):
        messages.matrix_from_proto(bent, rows.shape[0] + down, rows.shape[1] + right)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    """One NaN in a label turns the trainer's loss into NaN."""
    with pytest.raises(ProtocolError, match="finite"):
        messages.matrix_from_proto(messages.matrix_to_proto([[0.5, value]]), 1, 2)


def test_rows_must_be_a_matrix() -> None:
    """A stack of three axes would be sent as nonsense."""
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        messages.matrix_to_proto(np.zeros((2, 3, 4)))


@settings(deadline=None)
@given(np_st.arrays(np.int64, st.tuples(st.integers(0, 5), st.just(4)), elements=st.integers(-(2**31), 2**31 - 1)))
def test_boxes_keep_their_order_and_coordinates(boxes_k4: np.ndarray) -> None:
    """Exchanged coordinates would score other pixels."""
    item = messages.crop_item_to_proto(BoxedImage("path", b"jpeg", boxes_k4), "7")
    assert item.id == "7"
    assert [[box.x0, box.y0, box.x1, box.y1] for box in item.boxed_image.boxes] == boxes_k4.tolist()
    assert messages.num_crops(item) == len(boxes_k4)


@pytest.mark.parametrize("boxes", [np.zeros((2, 5), int), np.zeros(4, int), np.zeros((1, 4))])
def test_boxes_of_another_form_are_the_callers_mistake(boxes: np.ndarray) -> None:
    """Fractions of a pixel would be cut off silently, and one box alone taken for four."""
    with pytest.raises(ValueError, match=r"boxes of 'img' must be integers \(k, 4\)"):
        messages.crop_item_to_proto(BoxedImage("img", b"jpeg", boxes), "0")


def test_the_digest_is_of_what_the_contract_says() -> None:
    """Every reply would look like one for another image."""
    crops = EncodedCrops("c", (b"one", b"two"))
    joined = hashlib.sha256(b"one").digest() + hashlib.sha256(b"two").digest()
    embedding = np.array([0.6, 0.8], np.float32)
    for proto, payload in (
        (messages.image_to_proto(Image("i", b"jpeg"), "0"), b"jpeg"),
        (messages.image_to_proto(EmbeddedImage("e", embedding, "w"), "0"), embedding.tobytes()),
        (messages.crop_item_to_proto(BoxedImage("b", b"jpeg", np.array([[0, 0, 1, 1]])), "0"), b"jpeg"),
        (messages.crop_item_to_proto(crops, "0"), joined),
    ):
        assert messages.payload_sha256(proto) == hashlib.sha256(payload).digest()


def test_an_unknown_profile_lists_the_known_ones() -> None:
    """The user would see a KeyError."""
    with pytest.raises(ValueError, match="profile must be one of paper, bucketed, model, got 'papre'"):
        messages.preprocessing_to_proto(Preprocessing("papre"))  # type: ignore[arg-type]


def test_the_error_of_an_item_keeps_code_reason_and_message() -> None:
    """failed.csv would not say why."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(domain="clip_labeler", reason="IMAGE_TRUNCATED"))
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="ends after 10 bytes", details=[detail])
    error = messages.item_error_from_proto(status)
    assert (error.code, error.reason, error.message) == ("INVALID_ARGUMENT", "IMAGE_TRUNCATED", "ends after 10 bytes")
