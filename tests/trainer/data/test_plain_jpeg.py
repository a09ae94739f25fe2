"""The quick look at a JPEG says yes only where the decoder would, and does so for the JPEGs it is meant for."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.data.images import MAX_PIXELS, decode, inspect
from trainer.data.plain_jpeg import is_flawless, plain_size

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 90, 3), dtype=np.uint8))
SIZE = NOISE.size


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    NOISE.convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


PLAIN = {
    "coloured": jpeg(),
    "grey": jpeg("L"),
    "progressive": jpeg(progressive=True),
    "without subsampling": jpeg(subsampling=0, quality=95),
    "restarts": jpeg(restart_marker_blocks=2),
    "comment": jpeg(comment="by hand"),
}
OTHERS = {
    "EXIF": jpeg(exif=Image.Exif()),
    "colour profile": jpeg(icc_profile=b"of a printer"),
    "four inks": jpeg("CMYK"),
    "without a JFIF header": jpeg(keep_rgb=True),
    "a segment after the tables": PLAIN["grey"].replace(b"\xff\xc0", b"\xff\xee\0\x07Adobe\xff\xc0", 1),
    "a PNG": b"\x89PNG\r\n\x1a\n",
    "nothing": b"",
    "its first bytes": PLAIN["grey"][:30],
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_what_it_is_for_is_taken(data: bytes) -> None:
    """Would fail if every image took the slow way."""
    assert plain_size(data) == SIZE
    assert is_flawless(data)


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_what_the_decoder_itself_must_judge_is_left_to_it(data: bytes) -> None:
    assert plain_size(data) is None


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_damage_is_left_to_the_decoder(data: bytes) -> None:
    """Would fail if the pixels were not looked at, or a warning was no reason: a file that lacks its end."""
    assert plain_size(data[:-20]) == SIZE
    assert not is_flawless(data[:-20])


def test_the_limit_of_pixels_holds() -> None:
    """Would fail if the quick way led past it."""
    frame = PLAIN["grey"].index(b"\xff\xc0") + 5
    data = PLAIN["grey"][:frame] + b"\xff\xdc\xff\xdc" + PLAIN["grey"][frame + 4 :]
    width, height = plain_size(data) or (0, 0)
    assert width * height > MAX_PIXELS
    with pytest.raises(ValueError, match="image is over the limit of 100 megapixels"):
        inspect(data)


@given(st.data())
def test_whatever_it_takes_the_decoder_takes(data: st.DataObject) -> None:
    """Would fail if a file that ends a training passed the inspection: any bytes changed, put in, or cut off, most of
    them in what stands before the pixels."""
    content = bytearray(data.draw(st.sampled_from(sorted(PLAIN.values()))))
    header = content.index(b"\xff\xda")
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.integers(0, header) | st.integers(0, len(content)))
        removed = data.draw(st.integers(0, 4) | st.integers(0, len(content)))
        put_in = data.draw(st.binary(max_size=4) | st.sampled_from([b"\xff", b"\xff\xe1\0\2", b"\xff\xd9"]))
        content[start : start + removed] = put_in
    mutant = bytes(content)
    size = plain_size(mutant)
    if size is not None and size[0] * size[1] <= 10**6 and is_flawless(mutant):
        assert decode(mutant).size == size
