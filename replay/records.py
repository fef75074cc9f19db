"""One line of a dataset → its fields: JSON, or the Python literals of the looser SNAP files."""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from typing import Any

from shared.errors import BadEvent

Record = dict[str, Any]

# Python's parser takes many times a literal's size; no line of the loose files comes near.
MOST_LITERAL_BYTES = 256 * 1024

_decode = json.JSONDecoder(strict=False).decode  # made once: json.loads makes one a line

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def parse_record(line: bytes) -> Record:
    """The fields of a line.

    Raises:
        BadEvent: not_utf8, nul_bytes, not_json or not_object.
    """
    if b"\x00" in line:
        raise BadEvent("nul_bytes", "holds NUL bytes: a copy that went wrong, or UTF-16")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadEvent("not_utf8", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        value = _decode(text)
    except (ValueError, RecursionError) as error:
        value = _literal(text, error)
    if not isinstance(value, dict):
        raise BadEvent("not_object", f"is a {type(value).__name__}, not an object with fields")
    return value


def _literal(text: str, not_json: Exception) -> Any:
    """The value of a Python literal: nothing in it is ever run."""
    if not text.lstrip().startswith("{") or len(text) > MOST_LITERAL_BYTES:
        raise BadEvent("not_json", f"is not JSON: {not_json}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as "\d", which those files are full of
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadEvent("not_json", f"is neither JSON nor a Python literal: {not_json}") from None


def clean(text: str) -> str:
    """The text without lone halves of surrogate pairs, which UTF-8 can't hold."""
    return text if text.isascii() else _LONE_SURROGATES.sub("\ufffd", text)


def identifier(record: Record, name: str, missing: str) -> str:
    """A field that names a user or a product.

    Raises:
        BadEvent: `missing` when it is absent or empty, bad_id when it is no name.
    """
    value = record.get(name)
    if value is None or value == "":
        raise BadEvent(missing, f"{name}: missing")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadEvent("bad_id", f"{name}: must be a string, got {_shown(value)}")
    if isinstance(value, str) and _LONE_SURROGATES.search(value):
        raise BadEvent("bad_id", f"{name}: holds half a character, {_shown(value)}")
    return str(value)


def number(record: Record, name: str, reason: str) -> float | None:
    """A field that is a finite number, or says one such as "1,234"; None when it is absent or empty.

    Raises:
        BadEvent: `reason`.
    """
    value = record.get(name)
    if value is None or value == "":
        return None
    return as_number(value, name, reason)


def as_number(value: object, name: str, reason: str) -> float:
    """A finite number, also out of a string such as "1,234".

    Raises:
        BadEvent: `reason`.
    """
    if isinstance(value, str):
        value = value.replace(",", "")
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise BadEvent(reason, f"{name}: must be a number, got {_shown(value)}")
    if not math.isfinite(found):
        raise BadEvent(reason, f"{name}: must be finite, got {_shown(value)}")
    return found


def _shown(value: object) -> str:
    return ascii(value)[:80] if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
