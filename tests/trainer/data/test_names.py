"""The spelling of file names: text, on one line, and reversible."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.names import path_of, spell, unspell

# What a file may be called on Linux: any bytes but NUL; "/" parts folders.
names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


@given(names)
def test_spelling_is_safe_and_reversible(name: bytes) -> None:
    """Would fail if a label could not be traced to its file, or a name could break a table's line or move a cursor."""
    spelling = spell(os.fsdecode(name))
    assert os.fsencode(unspell(spelling)) == name
    assert len(spelling.encode().splitlines()) == len(spelling.splitlines()) == 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in spelling)


@given(names, names)
def test_different_names_are_spelled_differently(one: bytes, other: bytes) -> None:
    assert (spell(os.fsdecode(one)) == spell(os.fsdecode(other))) == (one == other)


@pytest.mark.parametrize("name", ["a/b c.jpg", "Übersicht 日本 👩‍👧.png", "<script>'\"&;|$(x)`.jpg", "a\u00a0b.jpg"])
def test_readable_names_stay_as_they_are(name: str) -> None:
    """Ids are what people look their photographs up by."""
    assert spell(name) == name


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        (b"caf\xe9.jpg", r"caf\xe9.jpg"),
        (b"two\nlines.jpg", r"two\x0alines.jpg"),
        (b"\x1b[31mred.jpg", r"\x1b[31mred.jpg"),
        (rb"back\slash.jpg", r"back\x5cslash.jpg"),
        (rb"caf\xe9.jpg", r"caf\x5cxe9.jpg"),
        ("\u202egpj.exe".encode(), r"\xe2\x80\xaegpj.exe"),
    ],
)
def test_spelling_of_the_others(name: bytes, spelling: str) -> None:
    """These are in exported files: another spelling would make labels of old runs point at nothing."""
    assert spell(os.fsdecode(name)) == spelling


def test_files_that_are_named_after_images() -> None:
    """Would fail if activation maps of a long name could not be written, or one left its folder."""
    assert path_of("a/b.jpg", ".npz") == "a/b.jpg.npz"
    assert path_of("../../etc/x.jpg", ".npz") == r"\x2e\x2e/\x2e\x2e/etc/x.jpg.npz"
    long = [path_of("日" * 90 + end, ".npz") for end in (".jpg", ".png")]
    assert all(len(name.encode()) <= 255 and name.endswith(".npz") for name in long)
    assert long[0] != long[1]
