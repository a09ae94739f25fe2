"""How the name of a file is spelled in ids, tables, pages and on the terminal: as text that is safe and reversible.

A name on Linux is bytes. Most are UTF-8 and stay as they are. Of the others, and of characters that would break a line,
move a terminal's cursor or turn the direction of text, each byte becomes \\xNN, two lower-case hexadecimal digits. So
that nothing is ambiguous, a backslash becomes \\x5c. Every spelling is valid UTF-8 on one line, and no two names share
one.
"""

import hashlib
import os
import re

# Backslash; control characters (Unicode category Cc); line and paragraph separators and the marks that turn text
# around (https://www.unicode.org/reports/tr9/, the trick of CVE-2021-42574); bytes that are not UTF-8, as Python's
# surrogateescape decodes them (PEP 383).
_UNSAFE = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\udc80-\udcff]")
# Bytes that a name on Linux may have (NAME_MAX of limits.h).
_MAX_BYTES = 255
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def spell(name: str) -> str:
    """The spelling of a file's name or path, given as Python's file functions give it (os.fsdecode)."""
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    text = os.fsencode(name).decode("utf-8", "surrogateescape")  # the same in every locale
    return _UNSAFE.sub(lambda match: "".join(map(_escape, match[0].encode("utf-8", "surrogateescape"))), text)


def unspell(spelling: str) -> str:
    """The name that `spell` spelled: with it Python's file functions find the file."""
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), spelling.encode()))


def path_of(image_id: str, suffix: str) -> str:
    """A relative path to keep what belongs to an image at: its id and a suffix. Where a part of it is too long for a
    file system its end is a hash, and none of it leads upwards."""
    *folders, name = image_id.split("/")
    return "/".join([*(_part(folder, "") for folder in folders), _part(name, suffix)])


def _part(name: str, suffix: str) -> str:
    if name == "..":
        name = r"\x2e\x2e"
    if len((name + suffix).encode()) <= _MAX_BYTES:
        return name + suffix
    end = "~" + hashlib.sha256(name.encode()).hexdigest()[:16] + suffix
    return name.encode()[: _MAX_BYTES - len(end)].decode(errors="ignore") + end


def _escape(byte: int) -> str:
    return f"\\x{byte:02x}"
