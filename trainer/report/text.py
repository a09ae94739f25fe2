"""Makes any text harmless to read: what would move, hide or break other text is shown as an escape instead."""

import unicodedata

from markupsafe import Markup

# Cc control characters, Cf invisible ones (bidirectional overrides among them), Cs lone surrogates (bytes of a file
# name that are no UTF-8), Zl and Zp line breaks. Joiners are kept: scripts and emoji need them.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
# Python's surrogateescape keeps byte b of a file name as this plus b.
_BYTE = 0xDC00


def visible(value: object) -> object:
    r"""The same text with hidden characters as \n, \x1b or \u202e; what is no text, or is our own markup, as it is."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(map(_visible, value))


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    if _BYTE + 0x80 <= ord(character) <= _BYTE + 0xFF:
        return f"\\x{ord(character) - _BYTE:02x}"
    return character.encode("unicode_escape").decode()
