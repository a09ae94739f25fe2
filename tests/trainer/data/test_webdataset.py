"""WebDataset shards: labels in every form, unpacked once, and nothing written outside the cache."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from trainer.data.webdataset import read_webdataset

CLASSES = ("cat", "dog", "cow")


def jpeg(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def write_shard(file: Path, members: dict[str, bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    write_shard(
        folder / "000.tar",
        {
            "a.jpg": jpeg(1), "a.cls": b"1\n", "b.cls": b"[1, 0, -1]", "b.JPG": jpeg(2),
            "deep/a.jpeg": jpeg(3), "deep/a.json": b'{"labels": [0, 1, 1], "url": "x"}',
        },
    )  # fmt: skip
    write_shard(folder / "001.tar", {"a.jpg": jpeg(4), "a.txt": b"a caption", "c.png": jpeg(5), "c.json": b"{}"})
    return folder


def read(pattern: Path, tmp_path: Path):
    return read_webdataset(str(pattern), class_names=CLASSES, cache=tmp_path / "cache")


def refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write_shard(tmp_path / "odd.tar", members), tmp_path)
    assert not list((tmp_path / "cache").glob(".*")), "no draft may stay behind"


def test_labels_in_every_form(shards, tmp_path) -> None:
    """Samples of one key in two shards are two samples; one without a label is unknown, not negative."""
    train = read(shards, tmp_path).train
    assert [sample.image_id for sample in train.samples] == ["000/a", "000/b", "000/deep/a", "001/a", "001/c"]
    assert train.targets.tolist() == [[0, 1, 0], [1, 0, -1], [0, 1, 1], [-1, -1, -1], [-1, -1, -1]]
    assert [sample.path.read_bytes() for sample in train.samples] == [jpeg(shade) for shade in range(1, 6)]


def test_pattern_names_the_shards(shards, tmp_path) -> None:
    both, one = read(shards / "{000..001}.tar", tmp_path), read(shards / "001.tar", tmp_path)
    assert both.train.samples == read(shards, tmp_path).train.samples
    assert len(one.train) == 2
    assert one.train.targets is None
    with pytest.raises(ValueError, match=r"expected shard .*/002\.tar, which does not exist"):
        read(shards / "{000..002}.tar", tmp_path)
    with pytest.raises(ValueError, match="holds no shard"):
        read(tmp_path / "cache", tmp_path)


def test_shards_are_unpacked_once_until_they_change(shards, tmp_path) -> None:
    """Unpacking a large set again at every start would take hours; never again, would train on yesterday's images."""
    first = read(shards, tmp_path).train
    first.samples[0].path.write_bytes(b"touched")
    assert read(shards, tmp_path).train.samples[0].path.read_bytes() == b"touched"
    os.utime(shards / "000.tar", ns=(1, 1))
    assert read(shards, tmp_path).train.samples[0].path.read_bytes() == jpeg(1)


def test_member_names_are_no_file_names(tmp_path) -> None:
    """A downloaded shard must not write over the user's files."""
    shard = tmp_path / "evil.tar"
    write_shard(shard, {"../../../escape.jpg": jpeg(), "/tmp/absolute.jpg": jpeg(), "x\x1b\n.jpg": jpeg()})
    with tarfile.open(shard, "a") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    cache = tmp_path / "cache"
    samples = read(shard, tmp_path).train.samples
    assert len(samples) == 3
    assert all(cache in sample.path.resolve().parents for sample in samples)
    assert {path.name for path in tmp_path.iterdir()} == {"evil.tar", "cache"}
    assert {path.name for path in cache.rglob("*.jpg")} == {f"{number:07d}.jpg" for number in range(3)}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.cls": b"1"}, r"odd\.tar is no usable shard: sample 'a' has 0 images, expected one: it has \.cls"),
        ({"a.jpg": b"", "a.png": b""}, r"sample 'a' has 2 images, expected one: it has \.jpg, \.png"),
        ({"a.jpg": b"", "a.cls": b"cat"}, "sample 'a': its .cls or .json is not JSON"),
        ({"a.jpg": b"", "a.cls": b"3"}, "sample odd/a: expected its label to be a position below 3 .*, got 3"),
        ({"a.jpg": b"", "a.cls": b"[1, 0]"}, r"a list of 3 entries 1, 0 or -1, got \[1, 0\]"),
        ({"a.jpg": b"", "a.json": b'{"labels": [[1], 0, 2]}'}, r"got \[\[1\], 0, 2\]"),
        ({"a.jpg": b"", "b.jpg": b"", "./a.jpg": b""}, "2 samples of the shards have the name odd/a"),
        ({".hidden": b""}, "none of 1 shards holds an image"),
    ],
)
def test_what_is_odd_is_named(tmp_path, members, message) -> None:
    refused(tmp_path, members, message)


def test_shard_cut_short_is_named_and_leaves_nothing(shards, tmp_path) -> None:
    """An unfinished download; half of a data set must not pass for all of it."""
    shard = shards / "001.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"001\.tar is no usable shard: unexpected end of data"):
        read(shards, tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


def test_classes_must_be_given(shards, tmp_path) -> None:
    with pytest.raises(ValueError, match="--classes"):
        read_webdataset(str(shards), class_names=None, cache=tmp_path)
