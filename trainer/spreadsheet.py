"""CSV that goes through a spreadsheet program and back: cells that it shows as text, values as people type them."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

# What makes a spreadsheet take a cell for a formula (OWASP, "CSV injection"), also behind what `path_cell` adds.
_FORMULA = re.compile(r"(\./)*[=+\-@\t\r]")

_TRUE, _FALSE = {"1", "1.0", "true", "yes", "x"}, {"0", "0.0", "false", "no"}
_UNKNOWN = {"", "-1", "-1.0"}


def path_cell(path: str) -> str:
    """A relative path as a cell: one that looks like a formula begins with ./, which names the same file."""
    return f"./{path}" if _FORMULA.match(path) else path


def cell_path(cell: str) -> str:
    """The path that `path_cell` made this cell of."""
    return cell[2:] if cell.startswith("./") and _FORMULA.match(cell[2:]) else cell


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, in UTF-8, separated by commas or, as spreadsheets of many countries save
    it, by semicolons.

    Raises ValueError, in one line, for a file that is no such table or has not these columns.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # read_text would change line breaks within names
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as 'CSV UTF-8'"
        ) from None
    header = text.partition("\n")[0]
    separator = ";" if header.count(";") > header.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{path} has no column '{missing[0]}'; expected {', '.join(columns)}")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ValueError(f"{path}, row {number} has not as many cells as the header")
    return rows


def truth(cell: str) -> bool | None:
    """1, true, yes or x; 0, false or no; in any case. None for an empty cell or -1. Raises ValueError for others."""
    word = cell.strip().casefold()
    if word in _UNKNOWN:
        return None
    if word not in _TRUE | _FALSE:
        raise ValueError(f"expected 1, 0 or nothing, got '{cell}'")
    return word in _TRUE
