"""Class names from a file and from the command line, and every way to get them wrong."""

from pathlib import Path

import pytest

from trainer.data.classes import columns_of, parse_classes


def test_list() -> None:
    assert parse_classes("cat, dining table ,dog") == ("cat", "dining table", "dog")


def test_single_name_is_a_list() -> None:
    assert parse_classes("cat") == ("cat",)


def test_file_with_comments_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    """Windows editors write a BOM, which would become part of the first prompt."""
    file = tmp_path / "classes.txt"
    file.write_bytes("\ufeffcat\r\n\r\n# not this\r\n  tv monitor \r\n".encode())
    assert parse_classes(str(file)) == ("cat", "tv monitor")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no class"),
        (" , ", "names no class"),
        ("cat,,dog", "blank name"),
        ("cat, dog,", "blank name"),
        ("cat, dog, Cat", "names 'Cat' twice"),
        ("clases.txt", "does not exist"),
        ("data/classes", "does not exist"),
    ],
)
def test_mistake_is_named_in_one_line(text: str, message: str) -> None:
    """A misspelt path that became the one class "clases.txt" would train for hours before anyone sees it."""
    with pytest.raises(ValueError, match=message) as error:
        parse_classes(text)
    assert "\n" not in str(error.value)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("# only a comment\n")
    with pytest.raises(ValueError, match="names no class"):
        parse_classes(str(tmp_path / "classes.txt"))


def test_names_are_found_in_any_spelling() -> None:
    """CLIP is asked for "tv monitor", files say "tvmonitor" or "TV_Monitor"; all are one column."""
    assert columns_of(("TV_Monitor", "cat"), ("cat", "dog", "tvmonitor"), "it") == [2, 0]


def test_name_that_the_data_do_not_have_is_named() -> None:
    """A column of zeros for a misspelt class would count as a class that nobody recognises."""
    with pytest.raises(ValueError, match=r"^labels has no class 'hen'; it has 2: cat, dog$"):
        columns_of(("cat", "hen"), ("cat", "dog"), "labels")
