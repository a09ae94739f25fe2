"""Atomic writes."""

import errno
import os
from pathlib import Path

import pytest

from trainer.files import read_json, write_atomically, write_json


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
