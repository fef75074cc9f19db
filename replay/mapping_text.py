"""A mapping as the TOML file that it could have been read from."""

from __future__ import annotations

import json
from typing import Any

from replay.mapping import Mapping


def as_toml(mapping: Mapping) -> str:
    """The text of a mapping file; what is as by default is left out, and `load_mapping` reads the same from it."""
    tables: dict[str, dict[str, Any]] = mapping.model_dump(exclude_defaults=True, exclude_none=True)
    lines: list[str] = []
    for name, table in tables.items():
        whens = table.pop("when", ())
        if table:
            lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items()), ""]
        for when in whens:
            lines += [f"[[{name}.when]]", *(f"{key} = {_value(value)}" for key, value in when.items()), ""]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_text(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A basic string of TOML: what JSON escapes, it reads, but DEL, which JSON leaves as it is."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
