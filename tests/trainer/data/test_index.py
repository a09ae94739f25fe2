"""The index of a folder with good and broken files."""

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainer.data import index as index_module
from trainer.data import inspection
from trainer.data.index import Index, build_index, write_index
from trainer.data.sample import ImageSet, Sample


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    """good, turned by EXIF, 16-bit, cut short, empty, no image, no file: in this order."""
    tmp_path /= "images"
    tmp_path.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(noise).save(tmp_path / "good.jpg")
    Image.fromarray(noise).save(tmp_path / "turned.jpg", exif=tags)
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:-500])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("hello")
    names = ("good.jpg", "turned.jpg", "deep.png", "cut.jpg", "empty.jpg", "text.png", "gone.jpg")
    return ImageSet("train", tuple(Sample(name, tmp_path / name) for name in names))


def test_index_tells_usable_from_broken(images: ImageSet) -> None:
    """A truncated file opens without complaint and fails only when decoded, hours later if nobody looks now."""
    counts: list[int] = []
    index = build_index(images, workers=2, progress=counts.append)
    assert index.ok.tolist() == [True, True, True, False, False, False, False]
    assert index.sizes[:4].tolist() == [[40, 30], [30, 40], [40, 30], [0, 0]]
    reasons = {row.image_id: row.reason for row in index.failures()}
    assert "truncated" in reasons["cut.jpg"].lower()
    assert "empty" in reasons["empty.jpg"]
    assert "not an image" in reasons["text.png"]
    assert "No such file" in reasons["gone.jpg"]
    assert sum(counts) == 7


def test_rows_hold_the_bytes_facts(images: ImageSet) -> None:
    """The hash is compared with the labeler's echo: one of other bytes would refuse every label."""
    good = build_index(images, workers=1, progress=lambda _: None).rows[0]
    data = images.samples[0].path.read_bytes()
    assert (good.sha256, good.num_bytes) == (hashlib.sha256(data).digest(), len(data))


def test_order_does_not_depend_on_workers(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if processes, which large sets are given to, saw other facts, or mixed rows up."""
    one, four = (build_index(images, workers=workers, progress=lambda _: None) for workers in (1, 4))
    monkeypatch.setattr(inspection, "PROCESSES_FROM", 1)
    processes = build_index(images, workers=2, progress=lambda _: None)
    assert one == four == processes
    assert [row.image_id for row in one.rows] == [sample.image_id for sample in images.samples]


def test_no_more_files_are_looked_at_at_a_time_than_workers(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if more decoded images were in memory at a time than was asked for."""
    looking: list[Sequence[str]] = []
    counts: list[int] = []

    def look(paths: Sequence[str]) -> list[inspection.Facts]:
        looking.append(paths)
        counts.append(len(looking))
        time.sleep(0.02)  # for the others to come
        looking.remove(paths)
        return inspect_files(paths)

    inspect_files = inspection.inspect_files
    monkeypatch.setattr(inspection, "inspect_files", look)
    assert len(build_index(images, workers=2, progress=lambda _: None)) == 7
    assert max(counts) == 2


def test_written_index_reads_back(images: ImageSet, tmp_path: Path) -> None:
    index = build_index(images, workers=1, progress=lambda _: None)
    index.write(tmp_path / "index.parquet")
    assert Index.read(tmp_path / "index.parquet", paths=True).rows == index.rows


def test_written_piece_by_piece_it_is_the_same(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if a row were lost between two pieces."""
    monkeypatch.setattr(index_module, "FILES_PER_GROUP", 3)
    write_index(tmp_path / "index.parquet", images, workers=2, progress=lambda _: None)
    index = Index.read(tmp_path / "index.parquet", paths=True)
    assert index.rows == build_index(images, workers=1, progress=lambda _: None).rows
    assert index.describes(images)
    assert not index.describes(images.subset([0, 1, 2, 3, 4, 6, 5]))
    assert not index.describes(images.subset(range(6)))
    assert index.hashes == tuple(hashlib.sha256(s.path.read_bytes()).digest() for s in images.samples[:3])


def test_no_process_is_left_when_it_ends_early(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if Ctrl-C did not end the processes, or a thread that still looks at files started one anew."""
    Image.new("L", (4000, 4000)).save(tmp_path / "slow.png")
    slow = Sample("slow.png", tmp_path / "slow.png")
    many = ImageSet("train", (images.samples[0], *[slow] * 10))
    monkeypatch.setattr(inspection, "PROCESSES_FROM", 1)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    before = psutil.Process().children()  # other tests' too
    with pytest.raises(KeyboardInterrupt):
        build_index(many, workers=2, progress=interrupt)  # after the first of them
    assert not set(psutil.Process().children()) - set(before)


@pytest.mark.timeout(60)
def test_a_file_that_kills_its_process_is_one_failed_file(images: ImageSet, tmp_path: Path) -> None:
    """Would fail if a decoder's crash ended the run, or took a good neighbour with it. Whoever opens a FIFO waits for
    its writer, which here kills the reader."""
    deadly = tmp_path / "deadly.jpg"
    os.mkfifo(deadly)
    good = str(images.samples[0].path)
    with inspection.InspectionProcess() as process:
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(process.inspect, [good, str(deadly)])
            for _ in range(2):  # among others, and alone
                pid = process.pid
                with deadly.open("wb"):
                    os.kill(pid, signal.SIGKILL)
                while process.pid == pid:
                    time.sleep(0.01)
            facts = looking.result(timeout=60)
        assert [bool(fact.reason) for fact in facts] == [False, True]
        assert "crashed" in facts[1].reason
        assert process.inspect([good]) == facts[:1], "it works on"


def test_a_file_that_cannot_be_in_memory_is_not_read(tmp_path: Path) -> None:
    """Would fail if one file of a terabyte, which takes no place on a disk, ended the run for want of memory."""
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**40)
    [facts] = inspection.inspect_files([str(tmp_path / "huge.jpg")])
    assert "limit" in facts.reason


def test_parquet_columns_are_the_documented_ones(images: ImageSet, tmp_path: Path) -> None:
    """Other programs read this file by its column names."""
    build_index(images, workers=1, progress=lambda _: None).write(tmp_path / "index.parquet")
    table = pq.read_table(tmp_path / "index.parquet")
    assert table.column_names == ["image_id", "path", "width", "height", "bytes", "sha256", "status", "reason"]
    assert table["status"].to_pylist() == ["ok"] * 3 + ["failed"] * 4
    assert str(table.schema.field("sha256").type) == "fixed_size_binary[32]"


def test_index_of_no_images(tmp_path: Path) -> None:
    index = build_index(ImageSet("train", ()), workers=1, progress=lambda _: None)
    index.write(tmp_path / "index.parquet")
    assert Index.read(tmp_path / "index.parquet", paths=True).rows == index.rows
    assert index.sizes.shape == (0, 2)
