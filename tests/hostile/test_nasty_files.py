"""Files made to hurt a decoder, at the exact thresholds: what each of them must come to, and what it may cost."""

import asyncio
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from labeler_service.config import ServerConfig
from labeler_service.decode_pool import DecodePool
from labeler_service.decode_worker import DecodeTask, WorkerSettings
from labeler_service.decoding import ImageLimits
from labeler_service.errors import ItemError
from labeler_service.images import ModelPreprocessing, Profile, ViewGeometry

CONFIG = ServerConfig()
LIMITS = ImageLimits(CONFIG.max_image_bytes, CONFIG.max_image_pixels, CONFIG.max_non_jpeg_pixels)
MIB = 2**20

Encode = Callable[..., bytes]
# Name to content and verdict.
Files = dict[str, tuple[bytes, str]]


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 0) -> bytes:
    """A black PNG, with other chunks before its pixels; one of more than 200 megapixels has none."""
    size = height * (1 + (width * depth + 7) // 8)
    body = zlib.compress(bytes(size if size < 25_000_000 else 0), 9)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def claim_jpeg_size(jpeg: bytes, width: int, height: int) -> bytes:
    """The same file with another size in its baseline frame header (ITU-T T.81, B.2.2)."""
    start = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


def repeat_last_scan(jpeg: bytes, times: int) -> bytes:
    start, end = jpeg.rindex(b"\xff\xda"), jpeg.rindex(b"\xff\xd9")
    return jpeg[:start] + jpeg[start:end] * times + jpeg[end:]


def webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP that claims a canvas and holds no frame."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x02\x00\x00\x00" + size
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def drawing(mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (40, 60, 4), dtype=np.uint8)).convert("RGB").convert(mode)


def rotated(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def good_files(encode: Encode) -> Files:
    """Unusual, and yet images."""
    files = {f"png {mode}": encode(drawing(mode)) for mode in ("1", "L", "P", "RGB")}
    files |= {f"jpeg {mode}": encode(drawing(mode), "JPEG") for mode in ("L", "RGB", "CMYK")}
    files |= {f"bmp {mode}": encode(drawing(mode), "BMP") for mode in ("1", "P", "RGB")}
    files |= {f"png {mode}": encode(drawing().convert(mode)) for mode in ("LA", "RGBA")}
    files |= {f"jpeg orientation {n}": encode(drawing(), "JPEG", exif=rotated(n)) for n in (*range(1, 9), 77)}
    frames: dict[str, Any] = {"save_all": True, "append_images": [drawing().rotate(180)]}
    files |= {f"{name} of two frames": encode(drawing(), name, **frames) for name in ("GIF", "PNG", "WEBP")}
    files |= {
        "png 16 bit": encode(Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27)),
        "png with a transparent colour": encode(drawing("P"), transparency=0),
        "png of one pixel": png(1, 1),
        "png strip": png(1, 40_000),
        "png at the limit of pixels": png(4096, 4096, depth=1),
        "png after other bytes": encode(drawing()) + b"PK\x03\x04 and more",
        "jpeg progressive": encode(drawing(), "JPEG", progressive=True),
        "jpeg of the longest side": encode(Image.new("L", (65_500, 1)), "JPEG"),
        "jpeg with broken exif": encode(drawing(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff garbage"),
        "jpeg with a comment of 60 kB": encode(drawing(), "JPEG", comment=b"x" * 60_000),
        # It ends properly, so libjpeg fills the rest with grey.
        "jpeg that claims more rows than it has": claim_jpeg_size(encode(drawing(), "JPEG"), 60, 4000),
        "webp": encode(drawing(), "WEBP"),
        "webp lossless": encode(drawing().convert("RGBA"), "WEBP", lossless=True),
        "gif": encode(drawing(), "GIF"),
    }
    return {name: (content, "decoded") for name, content in files.items()}


def bad_files(encode: Encode) -> Files:
    jpeg = encode(drawing(), "JPEG")
    bomb = zlib.compress(bytes(64 * MIB), 9)
    whole = {name: encode(drawing(), name) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP")}
    files = {f"half a {name}": (content[: len(content) // 2], "any") for name, content in whole.items()}
    files |= {f"start of a {name}": (content[:12], "any") for name, content in whole.items()}
    too_many = {
        "png bomb of 13,000 x 13,000": png(13_000, 13_000, depth=1),
        "png just over the limit": png(4096, 4097, depth=1),
        "png of the largest size": png(2**31 - 1, 2**31 - 1),
        "jpeg just over the limit": claim_jpeg_size(jpeg, 10_000, 10_001),
        "jpeg of the largest size": claim_jpeg_size(jpeg, 65_500, 65_500),
        "webp of the largest size": webp_canvas(16_384, 16_384),
        "webp just over the limit": webp_canvas(4096, 4097),
        "gif of the largest size": b"GIF89a" + b"\xff" * 4 + bytes(3) + b"," + bytes(4) + b"\xff" * 4 + b"\0\x08\0;",
        "bmp of 40,000 x 40,000": b"BM"
        + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 40_000, 40_000, 1, 24, *[0] * 6),
    }
    no_image = {
        "empty": b"",
        "one byte": b"\xff",
        "html.jpg": b"<!DOCTYPE html><title>404 Not Found</title>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "zip": b"PK\x03\x04" + bytes(200),
        "pdf": b"%PDF-1.7\n" + bytes(200),
        **{name: encode(drawing(), name) for name in ("TIFF", "EPS", "ICO", "PPM", "TGA", "PCX", "JPEG2000")},
    }
    files |= {name: (content, "IMAGE_TOO_MANY_PIXELS") for name, content in too_many.items()}
    files |= {name: (content, "NOT_AN_IMAGE") for name, content in no_image.items()}
    files |= {
        "too many bytes": (jpeg + bytes(CONFIG.max_image_bytes), "IMAGE_TOO_MANY_BYTES"),
        "png with a text that inflates to 64 MiB": (png(8, 8, (b"zTXt", b"Comment\0\0" + bomb)), "any"),
        "png without a width": (png(0, 10), "any"),
        "jpeg without a height": (claim_jpeg_size(jpeg, 10, 0), "any"),
    }
    return files


@pytest.fixture(scope="module")
def nasty_files(encode: Encode) -> Files:
    return good_files(encode) | bad_files(encode)


def test_verdicts_and_neighbours(scorer: Any, nasty_files: Files) -> None:
    """The seven good images of each request are compared byte by byte by the scorer."""
    verdicts = dict(zip(nasty_files, scorer.verdicts(content for content, _ in nasty_files.values()), strict=True))
    for name, (_, expected) in nasty_files.items():
        if expected == "any":
            assert verdicts[name] != "decoded", name
        else:
            assert verdicts[name] == expected, name


def task(content: bytes) -> DecodeTask:
    return DecodeTask(ViewGeometry(Profile.PAPER, 640, 1, 32, ModelPreprocessing(64)))


def cost(pool: DecodePool, content: bytes) -> tuple[str, int, float]:
    """Verdict, bytes at the worker's peak and CPU seconds of decoding one image. Shared libraries are left out."""
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    [worker] = (child for child in children if "decode_worker" in " ".join(child.cmdline()))
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # The peak starts anew: proc(5).
    before = cpu_seconds(worker.pid)
    try:
        asyncio.run(pool.decode(task(content), content))
        verdict = "decoded"
    except ItemError as error:
        verdict = error.reason
    status = dict(line.split(":") for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines())
    peak, libraries = (int(status[name].split()[0]) * 1024 for name in ("VmHWM", "RssFile"))
    return verdict, peak - libraries, cpu_seconds(worker.pid) - before


def cpu_seconds(pid: int) -> float:
    """Of a process with one thread, to the nanosecond; its times in /proc/PID/stat go by ticks."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@pytest.fixture
def pool() -> Any:
    pool = DecodePool(WorkerSettings(LIMITS, CONFIG.decode_memory_bytes, CONFIG.decode_seconds), num_workers=1)
    asyncio.run(pool.start())
    yield pool
    pool.close()


def test_refusing_is_cheap(pool: DecodePool, nasty_files: Files) -> None:
    """64 MiB and 50 ms of CPU, the least of three: what else runs on a machine slows each second of CPU down."""
    _, idle, _ = cost(pool, b"")
    for name, (content, verdict) in nasty_files.items():
        if verdict != "decoded":
            costs = [cost(pool, content) for _ in range(3)]
            assert max(peak for _, peak, _ in costs) - idle <= 64 * MIB, name
            assert min(seconds for *_, seconds in costs) <= 0.05, name


def test_a_jpeg_of_endless_scans_is_cut_off(encode: Encode) -> None:
    """A few megabytes that decode for hours: each scan of a few bytes passes over all 16 megapixels."""
    scans = repeat_last_scan(encode(Image.new("L", (4096, 4096)), "JPEG", progressive=True), 20_000)
    pool = DecodePool(WorkerSettings(LIMITS, CONFIG.decode_memory_bytes, cpu_seconds=1), num_workers=1)
    asyncio.run(pool.start())
    with pytest.raises(ItemError) as caught:
        asyncio.run(pool.decode(task(scans), scans))
    pool.close()
    assert caught.value.reason == "DECODE_TIMEOUT"


@pytest.mark.slow
def test_the_largest_that_are_accepted(pool: DecodePool, encode: Encode) -> None:
    """300 MiB each in its worker, which a machine with many workers has to have, and so little CPU time (1 s here) that
    one of half the speed accepts them too."""
    noise = Image.effect_noise((8000, 4194), 60)
    square = Image.linear_gradient("L").resize((4096, 4096))
    files = {
        "png": encode(square.convert("RGBA"), exif=rotated(6)),
        "webp": encode(square.convert("RGB"), "WEBP", quality=5, method=0, exif=rotated(6)),
        "webp lossless": encode(Image.new("RGBA", (4096, 4096), (1, 2, 3, 99)), "WEBP", lossless=True, exif=rotated(6)),
        "gif": encode(square, "GIF"),
        "jpeg of 30 megapixels": encode(noise.crop((0, 0, 7200, 4194)).convert("CMYK"), "JPEG", exif=rotated(6)),
        "jpeg of 100 megapixels": encode(Image.new("RGB", (12_500, 8000)), "JPEG", exif=rotated(6)),
        "progressive 4:2:0": encode(noise.convert("RGB"), "JPEG", progressive=True, exif=rotated(6)),
        "progressive 4:4:4": encode(noise.convert("RGB"), "JPEG", progressive=True, subsampling="4:4:4"),
    }
    for name, content in files.items():
        verdict, peak, seconds = cost(pool, content)
        print(f"{name}: {peak / MIB:.0f} MiB, {seconds:.2f} s")
        assert verdict == "decoded", name
        assert peak <= 300 * MIB, name
        assert seconds <= CONFIG.decode_seconds / 2, name
