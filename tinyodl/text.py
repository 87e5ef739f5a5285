"""Text from outside (names in ONNX files, file names, run logs) where it is written to.

An ONNX name is any string: it may hold control characters, quotes, brackets or the end of a
comment. Inside tinyodl it stays as it is, because `export` and plan files refer to it. On its way
out it passes one of these filters, one for each kind of text; `codegen.literals.identifiers` makes
C identifiers. What a filter cannot let through is shown as an escape, such as `\\x1b`.
"""

from __future__ import annotations

import re
from html import escape

_LONGEST = 120  # characters of a name in a comment
_ENDS = re.compile(r"(?<=\*)(?=/)|(?<=/)(?=\*)")  # between the characters of `*/` and `/*`
_TOML = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def printable(text: str) -> str:
    """Text safe for a terminal: only printable characters, tabs and line feeds stay unescaped.

    Lone surrogates (no encoding can write them) and Unicode's invisible characters (they can turn
    the direction of the text around) are escaped, too.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def line(text: str) -> str:
    """`printable`, on one line: for a name in a table or a sentence."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def stored(text: str) -> str:
    """Text that a file can hold: lone surrogates, from file names that are no text, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def page(text: str) -> str:
    """For HTML and SVG, in an element or a quoted attribute."""
    return escape(printable(text))


def comment(text: str) -> str:
    """For a C comment: one line that neither ends the comment nor makes a compiler warn.

    A space parts `*/` and `/*`; backslashes (which may join lines) and the second of two question
    marks (which may begin a trigraph) are escaped. Long names are cut.
    """
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    shown = "\\x5c".join(map(line, shown.split("\\")))
    return _ENDS.sub(" ", shown.replace("??", "?\\x3f"))


def cell(text: str) -> str:
    """For a cell of a sheet: one line that no spreadsheet takes for a formula."""
    return "'" + line(text) if text[:1] in ("=", "+", "-", "@", "\t", "\r") else line(text)


def toml_string(text: str) -> str:
    """A quoted TOML string that reads back as `text`; lone surrogates do not exist in TOML."""
    return '"' + "".join(_TOML.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


def _shown(character: str) -> str:
    if character.isprintable() or character in "\t\n":
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else _code(character)


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
