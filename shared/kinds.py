"""Kinds of events by their names, and those after which a product is not shown again."""

from __future__ import annotations

from collections.abc import Collection

from shared.pb.freshet.v1 import events_pb2 as pb

# Products with an event of these kinds are never recommended to the user again, unless settings say otherwise.
DEFAULT_MASKED_KINDS = ("review", "rating", "dislike")


def kinds_of(names: Collection[str]) -> frozenset[int]:
    """The `EventKind` numbers of names such as `review`.

    Raises:
        ValueError: a name is no kind.
    """
    known = {kind.removeprefix("EVENT_KIND_").lower(): number for kind, number in pb.EventKind.items() if number}
    unknown = [name for name in names if name.strip().lower() not in known]
    if unknown:
        raise ValueError(f"no kind of event is called {unknown[0].strip()!r}; there are {', '.join(known)}")
    return frozenset(known[name.strip().lower()] for name in names)


def masked_kinds_of(names: str) -> frozenset[int]:
    """The `EventKind` numbers of a list such as `review,rating`; an empty one masks nothing.

    Raises:
        ValueError: a name is no kind.
    """
    return kinds_of([name for name in names.split(",") if name.strip()])
