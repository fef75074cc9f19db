"""The mappings of CSV files that many have, told by their header or, without one, by what their columns hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replay.reading.mapping import ColumnMapping, Columns, FileRules, KindCondition, KindRules, TimeRules, UserRules

# How often a column must look as it should for a file without header to be known; real files are dirty.
_MOSTLY = 0.6

_ASIN = re.compile(r"B[0-9A-Z]{9}|[0-9]{9}[0-9X]")
_STARS = re.compile(r"[1-5](?:\.[0-9]+)?")
_WHOLE = re.compile(r"[0-9]+")
_TIME = re.compile(r"[0-9]{8,13}")
_BEHAVIOURS = {"pv": "view", "cart": "cart", "fav": "favourite", "buy": "purchase"}

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of file, and how it is read.

    Attributes:
        name: what it is, for people.
        header: the columns it must have.
        time_formats: what its times may be written in, beside the plain formats.
    """

    name: str
    header: frozenset[str]
    mapping: ColumnMapping
    time_formats: tuple[str, ...] = ()


def _retail(invoice: str, price: str, customer: str) -> ColumnMapping:
    return ColumnMapping(
        columns=Columns(
            user=customer, product="StockCode", time="InvoiceDate", price=price, quantity="Quantity",
            title="Description",
        ),
        time=TimeRules(zone="Europe/London"),
        kind=KindRules(default="purchase", when=(KindCondition(column=invoice, starts_with="C", kind="return"),)),
    )  # fmt: skip


_HEADERS = (
    Shape(
        "reviews as Kaggle's Reviews.csv",
        frozenset(("ProductId", "UserId", "HelpfulnessNumerator", "HelpfulnessDenominator", "Score", "Time", "Text")),
        ColumnMapping(
            columns=Columns(
                user="UserId", product="ProductId", time="Time", rating="Score", text=("Summary", "Text"),
                helpful="HelpfulnessNumerator", total_votes="HelpfulnessDenominator",
            ),
            user=UserRules(missing="reject"),
        ),
    ),
    Shape(
        "ratings of 2023 with their header",
        frozenset(("user_id", "parent_asin", "rating", "timestamp")),
        ColumnMapping(
            columns=Columns(user="user_id", product="parent_asin", time="timestamp", rating="rating"),
            user=UserRules(missing="reject"),
        ),
    ),
    Shape(
        "sales as UCI's Online Retail",
        frozenset(("InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")),
        _retail("InvoiceNo", "UnitPrice", "CustomerID"),
        ("%m/%d/%Y %H:%M",),
    ),
    Shape(
        "sales as UCI's Online Retail II",
        frozenset(("Invoice", "StockCode", "Quantity", "InvoiceDate", "Price", "Customer ID")),
        _retail("Invoice", "Price", "Customer ID"),
        ("%m/%d/%Y %H:%M",),
    ),
)  # fmt: skip


def shape_of_header(names: Sequence[str]) -> Shape | None:
    """The shape of a file with this header."""
    return next((shape for shape in _HEADERS if shape.header.issubset(names)), None)


def shape_of_rows(rows: Rows) -> Shape | None:
    """The shape of a file without header that begins with these rows."""
    if _columns_fit(rows, (_any, _any, _any, _BEHAVIOURS.__contains__, _fits(_TIME))):
        columns = Columns(user=1, product=2, category=3, kind=4, time=5)
        kind = KindRules(values=_BEHAVIOURS)
        return Shape("behaviour as Alibaba's UserBehavior", frozenset(), _bare(columns, kind))
    if not _columns_fit(rows, (_any, _any, _fits(_STARS), _fits(_TIME))):
        return None
    first, second = (_share(rows, column, _fits(_ASIN)) >= _MOSTLY for column in (0, 1))
    if second and not first:
        columns = Columns(user=1, product=2, rating=3, time=4)
        return Shape("ratings: user, product, stars, time", frozenset(), _bare(columns))
    if first and not second:
        columns = Columns(user=2, product=1, rating=3, time=4)
        return Shape("ratings: product, user, stars, time", frozenset(), _bare(columns))
    return None


def looks_like_ratings(rows: Rows) -> bool:
    """Whether these are ratings of which nobody can tell the users from the products."""
    return _columns_fit(rows, (_any, _any, _fits(_STARS), _fits(_TIME)))


def _bare(columns: Columns, kind: KindRules | None = None) -> ColumnMapping:
    return ColumnMapping(
        columns=columns, file=FileRules(header=False), user=UserRules(missing="reject"), kind=kind or KindRules()
    )


def _any(value: str) -> bool:
    return bool(value)


def _fits(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: pattern.fullmatch(value) is not None


def _share(rows: Rows, column: int, fits: Callable[[str], bool]) -> float:
    return sum(fits(row[column].strip()) for row in rows if column < len(row)) / max(1, len(rows))


def _columns_fit(rows: Rows, columns: Sequence[Callable[[str], bool]]) -> bool:
    """Whether most rows have as many columns, and most values of each fit."""
    if not rows or sum(len(row) == len(columns) for row in rows) < _MOSTLY * len(rows):
        return False
    return all(_share(rows, place, fits) >= _MOSTLY for place, fits in enumerate(columns))
