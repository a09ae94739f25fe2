"""Plain folders: what is found, in which order, under which ids."""

import os
from pathlib import Path

import numpy as np
import pytest

from trainer.data.folder import read_folder
from trainer.data.sample import FolderSamples


def test_finds_images_in_all_levels_in_order(tmp_path: Path) -> None:
    """Ids are the rows of every label file: another order on another machine would shift all labels."""
    for name in ("b.JPG", "a/z.png", "a.jpg", "a/b/c.webp", "notes.txt", ".hidden.jpg", ".git/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    splits = read_folder(tmp_path, ("cat",))
    assert [sample.image_id for sample in splits.train.samples] == ["a.jpg", "a/b/c.webp", "a/z.png", "b.JPG"]
    assert all(sample.path.is_file() for sample in splits.train.samples)
    assert splits.validation is None
    assert splits.train.targets is None
    assert (splits.class_names, splits.prompt) == (("cat",), "a photo of the {}")


def test_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(read_folder(tmp_path, ("cat",)).train) == 1


def test_folder_without_images_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no image"):
        read_folder(tmp_path, ("cat",))
    with pytest.raises(ValueError, match="there is no folder"):
        read_folder(tmp_path / "nothing", ("cat",))


def skipped(folder: Path) -> dict[str, str]:
    (folder / "good.jpg").touch()
    splits = read_folder(folder, ("cat",))
    assert [sample.image_id for sample in splits.train.samples] == ["good.jpg"]
    return dict(splits.skipped)


@pytest.mark.timeout(20)
def test_what_only_looks_like_an_image_is_listed_with_its_reason(tmp_path: Path) -> None:
    """Would fail if a photograph vanished without a word, or a FIFO, which nobody writes to, were waited for."""
    (tmp_path / "gone.jpg").symlink_to("nothing")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "album").symlink_to("..")
    os.mkfifo(tmp_path / "fifo.webp")
    (tmp_path / "endless.gif").symlink_to("/dev/zero")
    (tmp_path / "IMG_1").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    (tmp_path / "scan.tif").write_bytes(b"II*\0 and so on")
    (tmp_path / "notes.txt").write_text("BM is how a bitmap begins, too")
    os.mkfifo(tmp_path / "fifo.txt")
    reasons = skipped(tmp_path)
    assert "No such file" in reasons.pop("gone.jpg")
    assert "symbolic links" in reasons.pop("circle.png")
    assert "link to a folder" in reasons.pop("album")
    assert "FIFO" in reasons.pop("fifo.webp")
    assert "device" in reasons.pop("endless.gif")
    assert "rename" in reasons.pop("IMG_1")
    assert "TIFF" in reasons.pop("scan.tif")
    assert not reasons


def test_links_to_files_and_folders_that_look_like_files(tmp_path: Path) -> None:
    """Would fail if images in such a folder were lost, or the folder taken for one."""
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "album.jpg" / "inside.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("album.jpg/inside.jpg")
    splits = read_folder(tmp_path, ("cat",))
    assert [sample.image_id for sample in splits.train.samples] == ["album.jpg/inside.jpg", "link.jpg"]
    assert splits.skipped == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_listed(tmp_path: Path) -> None:
    """Would fail if one folder without permission ended the run."""
    (tmp_path / "private").mkdir(mode=0)
    assert "Permission denied" in skipped(tmp_path)["private"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Would fail if a name of another encoding, or one of two lines, ended the run or broke a table."""
    for name in (b"caf\xe9.jpg", b"two\nlines.jpg", b"\xff/\xfe.jpg"):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    samples = read_folder(tmp_path, ("cat",)).train.samples
    assert [sample.image_id for sample in samples] == [r"caf\xe9.jpg", r"two\x0alines.jpg", r"\xff/\xfe.jpg"]
    assert all(sample.path.is_file() for sample in samples)


def test_files_are_those_of_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if the index, which asks for them alone, had other ids than training, or paths that depend on where a
    command was begun."""
    for name in (b"b.jpg", b"a\xe9.jpg", b"deep/c.jpg"):
        path = os.path.join(os.fsencode(tmp_path), b"photos", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    monkeypatch.chdir(tmp_path)
    samples = read_folder(Path("photos"), ("cat",)).train.samples
    assert isinstance(samples, FolderSamples)
    some = samples.take(np.array([2, 0]))
    assert some.files() == [(sample.image_id, str(tmp_path / sample.path)) for sample in some]


def test_a_part_of_the_images_is_the_same_images(tmp_path: Path) -> None:
    """Would fail if leaving broken images out gave the others their labels."""
    for number in range(5):
        (tmp_path / f"{number}.jpg").touch()
    images = read_folder(tmp_path, ("cat",)).train
    part = images.subset([4, 1, 1]).subset([2, 0])
    assert [sample.image_id for sample in part.samples] == ["1.jpg", "4.jpg"]
    assert part.samples == images.subset([1, 4]).samples != images.subset([4, 1]).samples
    assert hash(part.samples) == hash(images.subset([1, 4]).samples)
    assert [sample.image_id for sample in images.samples[3:]] == ["3.jpg", "4.jpg"]
    assert images.samples[-1].path == tmp_path / "4.jpg"
