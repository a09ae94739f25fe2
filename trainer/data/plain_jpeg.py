"""A quick look at a JPEG without metadata: 12 us for a tiny file, which takes 70 with Pillow.

Nothing but a shortcut. It says yes only where Pillow would: Pillow's own checks are of what stands before the pixels,
and here nothing may stand there in which it could find fault; the rest is the same decoder, libjpeg-turbo, and has
nothing to warn of. Of all else it says nothing.
"""

import simplejpeg

# Start of image and a JFIF header without a thumbnail (ITU-T T.871, section 10.1), up to what differs.
_BEGIN = b"\xff\xd8\xff\xe0\0\x10JFIF\0"
_AFTER_JFIF = 20  # bytes

# What may follow: quantization and Huffman tables, a baseline, extended or progressive frame, a restart interval, a
# comment; then the first scan (ITU-T T.81, table B.1).
_HARMLESS = frozenset({0xDB, 0xC4, 0xC0, 0xC1, 0xC2, 0xDD, 0xFE})
_START_OF_SCAN = 0xDA


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a JPEG with a plain header, grey or coloured; None for everything else."""
    if not data.startswith(_BEGIN) or not _is_harmless(data):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (width, height) if colours in ("Gray", "YCbCr") else None


def is_flawless(data: bytes) -> bool:
    """Whether a JPEG decodes to its end without a warning, at an eighth of its size and without colour."""
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8)
    except ValueError:
        return False
    return True


def _is_harmless(data: bytes) -> bool:
    """Whether only segments of _HARMLESS stand between the JFIF header and the first scan."""
    start = _AFTER_JFIF
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        if marker == _START_OF_SCAN:
            return True
        if marker not in _HARMLESS:
            return False
        start += 2 + (data[start + 2] << 8 | data[start + 3])
    return False
