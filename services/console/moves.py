"""How places change from one ranking to the next. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def moves(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """For each product of `after`, how far it moved: `▲2`, `▼1`, `=` or `new`."""
    places = {product: place for place, product in enumerate(before)}
    return [_move(places.get(product), place) for place, product in enumerate(after)]


def left(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The products of `before` that `after` no longer has, in their order."""
    return [product for product in before if product not in set(after)]


def _move(before: int | None, after: int) -> str:
    if before is None:
        return "new"
    if before == after:
        return "="
    return f"▲{before - after}" if after < before else f"▼{after - before}"
