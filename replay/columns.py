"""Where a file's columns are, and how it writes numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from replay.mapping import Column, ColumnList, File
from shared.errors import Unusable


class Header:
    """The names of a file's columns, or their numbers from 1 where it has no header."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def place(self, key: str, column: Column | None) -> int | None:
        """Where the column is that a mapping's key names, from 0; None where it names none.

        Raises:
            Unusable: it is not there; the message lists those that are.
        """
        if column is None:
            return None
        names = self._names
        if isinstance(column, int):
            if column > len(names):
                raise Unusable(f"the mapping's {key}: the file has {len(names)} columns, there is no {column}")
            return column - 1
        found = [place for place, name in enumerate(names) if name == column]
        if len(found) > 1:
            raise Unusable(f"the mapping's {key}: the file has several columns {column!r}; name one by its number")
        if not found:
            near = get_close_matches(column, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Unusable(f"the mapping's {key}: the file has no column {column!r}{hint}; it has {', '.join(names)}")
        return found[0]

    def places(self, key: str, columns: ColumnList | None) -> list[int]:
        """Where the columns are that a mapping's key names.

        Raises:
            Unusable: one is not there.
        """
        given = columns if isinstance(columns, tuple) else (columns,)
        return [place for column in given if (place := self.place(key, column)) is not None]


def plain_number(file: File) -> Callable[[str], str]:
    """What turns a number as a file writes it into one as Python reads it."""
    if file.decimal == ",":
        return _with_comma
    if file.decimal is None and file.delimiter == ";":
        return _with_either
    return _with_point


def _with_point(value: str) -> str:
    return value.replace(",", "") if "," in value else value


def _with_comma(value: str) -> str:
    return value.replace(".", "").replace(",", ".")


def _with_either(value: str) -> str:
    """The last of comma and point is the decimal one; the other parts thousands."""
    return _with_comma(value) if value.rfind(",") > value.rfind(".") else _with_point(value)
