"""Plain folders: what is found, in which order, under which ids."""

from pathlib import Path

import pytest

from trainer.data.folder import read_folder


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
