"""What a line of metadata lists beside its product: what is also bought, what is also viewed.

| | 2014 (Python literals) | 2018 | 2023 |
|---|---|---|---|
| also bought | `related`: `also_bought`, `bought_together` | `also_buy` | `bought_together` |
| also viewed | `related`: `also_viewed`, `buy_after_viewing` | `also_view` | none |
"""

from __future__ import annotations

from typing import NamedTuple

from replay.records import Record

_BOUGHT = ("also_bought", "bought_together", "also_buy")
_VIEWED = ("also_viewed", "buy_after_viewing", "also_view")


class Related(NamedTuple):
    """Product ids, each once, in the order of the line."""

    also_bought: tuple[str, ...]
    also_viewed: tuple[str, ...]


def related_of(record: Record) -> Related:
    """The lists of a line; what is no list of names is as good as none."""
    nested = record.get("related")
    sources = (record, nested) if isinstance(nested, dict) else (record,)
    return Related(_ids(sources, _BOUGHT), _ids(sources, _VIEWED))


def _ids(sources: tuple[Record, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for source in sources:
        for name in names:
            value = source.get(name)
            if isinstance(value, list):
                found.update((entry, None) for entry in value if isinstance(entry, str) and entry)
    return tuple(found)
