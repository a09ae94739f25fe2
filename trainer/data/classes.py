"""The user's class names: read from a file or a list on the command line, and found among a data set's own."""

import re
from collections.abc import Sequence
from pathlib import Path


def parse_classes(text: str) -> tuple[str, ...]:
    """Class names from a file (one a line; blank lines and lines that start with # are skipped) or from "cat, dog".

    Raises ValueError, in one line, for no name, a blank or a repeated name, or a file that does not exist.
    """
    path = Path(text)
    if path.is_file():
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
        names = [line for line in lines if line and not line.startswith("#")]
        source = f"class file {text}"
    elif "," not in text and (path.suffix or path.name != text):
        raise ValueError(f"class file {text} does not exist; give a file with one name per line, or a list 'cat, dog'")
    else:
        names = [name.strip() for name in text.split(",")]
        source = f"class list '{text}'"

    if not any(names):
        raise ValueError(f"{source} names no class")
    if "" in names:
        raise ValueError(f"{source} has a blank name: two commas in a row, or one at an end")
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"{source} names '{name}' twice")
        seen.add(name.casefold())
    return tuple(names)


def spelling_key(name: str) -> str:
    """The same for spellings of a class name that differ in case, spaces, "_" and "-" alone."""
    return re.sub(r"[\s_-]", "", name).casefold()


def columns_of(class_names: Sequence[str], known: Sequence[str], source: str) -> list[int]:
    """The position of every class name among the known ones, in any spelling of `spelling_key`.

    Raises ValueError, in one line, for a name that `source` does not know.
    """
    position_of = {spelling_key(name): position for position, name in enumerate(known)}
    for name in class_names:
        if spelling_key(name) not in position_of:
            few = ", ".join(known[:3])
            raise ValueError(f"{source} has no class '{name}'; it has {len(known)}: {few}{', ...' * (len(known) > 3)}")
    return [position_of[spelling_key(name)] for name in class_names]
