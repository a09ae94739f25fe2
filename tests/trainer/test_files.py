"""Files and folders that are whole or absent."""

import errno
import os
from pathlib import Path

import pytest

from trainer.files import read_json, whole_folder, write_atomically, write_json


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if a failing write could destroy what was there. A full disk cannot be provoked, so fsync fails."""
    path = tmp_path / "state.json"
    write_json(path, {"epoch": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"{")
    assert read_json(path) == {"epoch": 1}


def test_folders_are_made(tmp_path: Path) -> None:
    """Would fail if a first write into a new run folder needed the folder to be there."""
    write_atomically(tmp_path / "a" / "b" / "c.txt", b"text")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"text"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Would fail if shards that could not be unpacked to the end passed for unpacked at the next start."""
    folder = tmp_path / "cache" / "unpacked"

    def write(name: str, *, fails: bool) -> None:
        with whole_folder(folder) as draft:
            (draft / name).write_text(name)
            assert not folder.exists()
            if fails:
                raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        write("a", fails=True)
    assert list(folder.parent.iterdir()) == []
    write("b", fails=False)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == []
    assert [path.name for path in folder.iterdir()] == ["b"]


def test_a_folder_that_another_process_made_first_stays(tmp_path: Path) -> None:
    """Would fail if one of two runs that start together died, or swapped the files that the other already reads."""
    with whole_folder(tmp_path / "unpacked") as draft:
        (draft / "mine").touch()
        (tmp_path / "unpacked").mkdir()
        (tmp_path / "unpacked" / "theirs").touch()
    assert [path.name for path in (tmp_path / "unpacked").iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["unpacked"]
