"""Reads the user's class names: a file, or a list on the command line."""

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
