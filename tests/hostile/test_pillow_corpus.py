"""Pillow's own test images, a thousand of them, many made from past crashes: each one's verdict is written down.

pillow_verdicts.csv holds name, sha256 and verdict. Another version of Pillow may change some: the failing test writes
the new list and says where; look at each difference before it is committed.
"""

import csv
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

# The version in constraints.txt. Its wheel has no images, its source distribution has.
SDIST = "pillow==13.0.0"
FOLDER = "/Tests/images/"
VERDICTS = Path(__file__).with_name("pillow_verdicts.csv")
DECODED = "decoded"

# https://github.com/python-pillow/Pillow/tree/13.0.0/Tests/images: what was reported as a hole, a hang or a crash.
MUST_BE_REFUSED = [
    "truncated_jpeg.jpg",
    "truncated_image.png",
    "truncated_end_chunk.png",
    "broken.png",
    "broken_data_stream.png",
    "png_decompression_dos.png",
    "unknown_compression_method.png",
    "apng/chunk_no_fctl.png",
    "apng/syntax_num_frames_zero.png",
    "decompression_bomb.gif",
    "zero_width.gif",
    "bmp/b/badwidth.bmp",
    "bmp/b/reallybig.bmp",
    "bmp/b/badbitcount.bmp",
    "bmp/b/badheadersize.bmp",
    "bmp/b/badpalettesize.bmp",
    "bmp/b/shortfile.bmp",
    "l2rgb_read.bmp",
    "tiff_overflow_rows_per_strip.tif",
    "libtiff_segfault.tif",
    "seek_too_large.tif",
]
# Damage that says nothing about the pixels.
MUST_BE_DECODED = [
    "invalid-exif.jpg",
    "invalid-exif-without-x-resolution.jpg",
    "hopper_bad_exif.jpg",
    "broken_exif_dpi.jpg",
    "exif-dpi-zerodivision.jpg",
    "truncated_app14.jpg",
    "photoshop-200dpi-broken.jpg",
    "multiple_exif.jpg",
    "sugarshack_bad_mpo_header.jpg",
    "decompression_bomb_extents.gif",
    "badrle.bmp",
    "pal8badindex.bmp",
]


def committed() -> dict[str, tuple[str, str]]:
    """Name to sha256 and verdict."""
    with VERDICTS.open(newline="") as file:
        return {row["file"]: (row["sha256"], row["verdict"]) for row in csv.DictReader(file)}


def verdict_of(name: str) -> str:
    [verdict] = {verdict for file, (_, verdict) in committed().items() if file.endswith(name)}
    return verdict


@pytest.mark.parametrize("name", MUST_BE_REFUSED)
def test_known_attacks_are_refused(name: str) -> None:
    """The list is a record: it could be made anew with a hole in it, and nobody would see it among a thousand lines."""
    assert verdict_of(name) != DECODED


@pytest.mark.parametrize("name", MUST_BE_DECODED)
def test_images_with_damage_beside_their_pixels_are_decoded(name: str) -> None:
    assert verdict_of(name) == DECODED


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Name within the folder to content."""
    folder = tmp_path_factory.mktemp("pillow")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps", SDIST]
    if subprocess.run(pip, cwd=folder, check=False).returncode != 0:
        pytest.skip(f"the source distribution of {SDIST} cannot be downloaded here")
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = (member for member in archive if member.isfile() and FOLDER in member.name)
        files = {member.name.partition(FOLDER)[2]: archive.extractfile(member) for member in members}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_verdicts_are_stable(corpus: dict[str, bytes], scorer: Any, tmp_path: Path) -> None:
    """And no file disturbs the seven good images of its request, which the scorer compares."""
    verdicts = scorer.verdicts(corpus.values())
    actual = {name: (hashlib.sha256(data).hexdigest(), next(verdicts)) for name, data in corpus.items()}
    new = tmp_path / VERDICTS.name
    with new.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "sha256", "verdict"))
        writer.writerows((name, *facts) for name, facts in sorted(actual.items()))
    differences = sorted(actual.items() ^ committed().items())
    assert not differences, f"{len(differences)} lines differ; the new list is {new}"
