"""A mapping proposed for a CSV that is in no known format, from its column names and from what the columns hold.

Each guess comes with its reason, for somebody who knows the shop to review.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from replay.reading.formats import Head
from replay.reading.lines import Dialect
from replay.reading.mapping import (
    KINDS,
    MILLISECONDS,
    SECONDS,
    Column,
    ColumnMapping,
    Columns,
    FileRules,
    KindCondition,
    KindRules,
    TimeRules,
    as_toml,
    plain_number,
    time_format_of,
    time_reader,
)
from shared.process.errors import Unusable

# How times are written beside the plain formats; of two that fit, the one first here is proposed and the other told.
TIME_FORMATS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y",
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y",
    "%d/%m/%y %H:%M", "%m/%d/%y %H:%M", "%d/%m/%y", "%m/%d/%y",
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d %b %Y %H:%M:%S", "%d %b %Y", "%b %d, %Y", "%d-%b-%Y",
)  # fmt: skip

# Words of a column's name, the most telling first; a column goes to the key it fits best.
_WORDS: dict[str, tuple[str, ...]] = {
    "user": ("user", "customer", "client", "visitor", "buyer", "member", "shopper", "reviewer", "account", "uid"),
    "product": ("product", "item", "sku", "asin", "article", "stock", "goods", "ean", "isbn", "pid"),
    "time": ("timestamp", "time", "datetime", "date", "when", "ts", "created", "at", "day"),
    "kind": ("behavior", "behaviour", "event", "action", "kind", "type", "activity"),
    "rating": ("rating", "stars", "star", "score", "overall", "grade"),
    "text": ("text", "review", "comment", "body", "content", "feedback", "summary"),
    "price": ("price", "cost", "amount", "unitprice"),
    "quantity": ("quantity", "qty", "units", "pieces", "count"),
    "helpful": ("helpful", "upvotes", "likes"),
    "dwell_seconds": ("dwell", "duration"),
    "title": ("title", "name", "description", "label"),
    "category": ("category", "categories", "department"),
    "brand": ("brand", "manufacturer", "vendor"),
}
_ID_WORDS = ("id", "code", "no", "number", "key", "nr", "sku")
_MEANT = {
    "view": ("view", "pv", "pageview", "detail", "impression", "visit", "browse", "page view", "view item"),
    "click": ("click", "clk"),
    "cart": ("cart", "addtocart", "add to cart", "basket", "add to basket"),
    "favourite": ("fav", "favorite", "favourite", "wishlist", "like", "add to wishlist"),
    "purchase": ("purchase", "buy", "order", "transaction", "sale", "sold", "checkout", "paid"),
    "return": ("return", "refund", "cancel", "cancelled", "cancellation", "returned"),
    "review": ("review",),
    "rating": ("rating", "rate"),
    "dislike": ("dislike",),
}  # fmt: skip
_KIND_OF = {value: kind for kind, values in _MEANT.items() for value in values}

_NOTHING = frozenset(("", "null", "none", "nan", "\\n"))
_MOSTLY = 0.9
_MOST_KINDS = 20
_LEAST_TEXT = 25  # characters, on average
_LEAST_SECONDS, _MOST_MILLISECONDS = 3e8, 4.1e12  # 1979 to 2099: other numbers are no times, unless a name says so


@dataclass(frozen=True, slots=True)
class Guess:
    """A mapping, what each part of it was guessed from, and the doubts to review."""

    mapping: ColumnMapping
    reasons: dict[str, str]
    doubts: list[str] = field(default_factory=list)

    def as_toml(self) -> str:
        """The mapping file, with the reasons as comments."""
        head = ["# Proposed by `freshet data inspect`; look it through."]
        head += [f"# To be looked at: {doubt}" for doubt in self.doubts]
        head += [f"# {name}: {reason}" for name, reason in self.reasons.items()]
        return "\n".join([*head, as_toml(self.mapping)])


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the head."""

    ours: Column  # as a mapping names it
    words: list[str]  # of its name; none where the file has no header
    values: list[str]  # those that say something
    numbers: list[float]  # those of them that are numbers

    @property
    def shown(self) -> str:
        """Its name in messages."""
        return f"{self.ours!r}" if isinstance(self.ours, str) else f"column {self.ours}"

    @property
    def is_numeric(self) -> bool:
        """Whether nearly all values are numbers."""
        return bool(self.values) and len(self.numbers) >= _MOSTLY * len(self.values)

    def share(self, fits: Callable[[str], bool]) -> float:
        """The share of its values that fit."""
        return sum(map(fits, self.values)) / max(1, len(self.values))


def guess(head: Head) -> Guess:
    """The mapping that a file's first lines suggest.

    Raises:
        Unusable: no column looks like a time, or none like a product; the message shows what there is.
    """
    delimiter = head.delimiter("utf-8")
    rows = head.rows(Dialect(delimiter))
    width = max((len(row) for row in rows), key=[len(row) for row in rows].count, default=0)
    if width < 2:
        raise Unusable(f"{head.path} has no columns: no delimiter parts its lines")
    rows = [row for row in rows if len(row) == width]
    has_header = _is_header(rows[0])
    file = FileRules.model_validate({"header": has_header, "delimiter": delimiter})
    columns = _columns(rows, file)
    return _Guesser(columns, file).guess(head)


class _Guesser:
    """Gives columns to keys, the surest first; a column is given once."""

    def __init__(self, columns: list[_Column], file: FileRules) -> None:
        self._free = columns
        self._all = columns
        self._file = file
        self._mapped: dict[str, Column] = {}
        self._reasons: dict[str, str] = {}
        self._doubts: list[str] = []

    def guess(self, head: Head) -> Guess:
        """The guess.

        Raises:
            Unusable: no time, or no product.
        """
        time = self._time()
        kind = self._kind()
        self._take("product", self._named("product", _is_id, ids_first=True))
        self._take("user", self._named("user", _is_id, ids_first=True))
        for key, fits in (
            ("rating", _is_rating), ("price", _is_amount), ("quantity", _is_number), ("helpful", _is_count),
            ("dwell_seconds", _is_amount), ("brand", _is_word), ("category", _is_word), ("title", _is_word),
            ("text", _is_text),
        ):  # fmt: skip
            self._take(key, self._named(key, fits))
        self._take_unnamed()
        missing = [key for key in ("time", "product") if key not in self._mapped]
        if missing:
            raise Unusable(
                f"{head.path} is a CSV, but no column looks like the {' or the '.join(missing)}. "
                f"Its columns, and what they begin with:\n{_listed(self._all)}\nSay which is which in a mapping "
                "file (python -m replay run --help shows one) and hand it on with --mapping FILE"
            )
        if "user" not in self._mapped:
            self._doubts.append("no column looks like the user: all events would be guests', for trending only")
        default, when = self._default_kind(kind)
        mapping = ColumnMapping(
            columns=Columns.model_validate(self._mapped),
            file=self._file,
            time=time,
            kind=KindRules(default=default, values=kind, when=when),
        )
        return Guess(mapping, self._reasons, self._doubts)

    def _take(self, key: str, choice: tuple[_Column, str] | None) -> None:
        if choice is None:
            return
        column, reason = choice
        self._mapped[key] = column.ours
        self._reasons[key] = f"{column.shown}, {reason}"
        self._free = [other for other in self._free if other is not column]

    def _named(
        self, key: str, fits: Callable[[_Column], bool], *, ids_first: bool = False
    ) -> tuple[_Column, str] | None:
        """The free column whose name speaks most for a key, of those whose values allow it."""
        best: tuple[float, _Column] | None = None
        for column in self._free:
            places = [place for place, word in enumerate(_WORDS[key]) if word in column.words]
            if not places or not fits(column):
                continue
            strength = 100.0 - places[0] + (50 if ids_first and set(column.words) & set(_ID_WORDS) else 0)
            if best is None or strength > best[0]:
                best = (strength, column)
        return None if best is None else (best[1], "by its name")

    def _time(self) -> TimeRules:
        candidates = []
        for column in self._all:
            written = _time_format(column)
            named = bool(set(column.words) & set(_WORDS["time"]))
            if written is not None and (named or not column.is_numeric or _is_plausible_time(column)):
                candidates.append((named, column, written))
        if not candidates:
            return TimeRules()
        named, column, written = max(candidates, key=lambda candidate: candidate[0])
        self._take("time", (column, "by its name and its values" if named else "its values are times"))
        also = [other for other in TIME_FORMATS if other != written and _fits_time(column, other)]
        if also and written in TIME_FORMATS:
            self._doubts.append(
                f"times such as {column.values[0]} are read as {written} and could also be {also[0]}: see [time]"
            )
        if written not in (SECONDS, MILLISECONDS):
            self._doubts.append("times are taken to be UTC: where they are the shop's own, name its zone under [time]")
        return TimeRules(format=written)

    def _kind(self) -> dict[str, str]:
        for column in self._free:
            named = bool(set(column.words) & set(_WORDS["kind"]))
            values = list(dict.fromkeys(column.values))
            known = {value: kind for value in values if (kind := _kind_of(value)) is not None}
            if 0 < len(values) <= _MOST_KINDS and known and (named or len(known) == len(values)):
                self._take("kind", (column, f"it holds {', '.join(values[:5])}"))
                if unknown := [value for value in values if value not in known]:
                    self._doubts.append(
                        f"it is not known what {', '.join(unknown)} in {column.shown} means: kind.values"
                    )
                return known
        return {}

    def _take_unnamed(self) -> None:
        """Where there are no names: the columns that could be ids, in their order."""
        if self._file.header:
            return
        candidates = [column for column in self._free if _is_id(column) and not _is_rating(column)]
        for key in ("user", "product"):
            if key not in self._mapped and candidates:
                self._take(key, (candidates.pop(0), "by its place alone"))
                self._doubts.append(f"which column is the {key} was guessed by its place")
        if "rating" not in self._mapped:
            stars = [column for column in self._free if _is_rating(column)]
            self._take("rating", (stars[0], "its values are 1 to 5") if stars else None)

    def _default_kind(self, kind: dict[str, str]) -> tuple[str | None, tuple[KindCondition, ...]]:
        when: list[KindCondition] = []
        for column in self._all:
            if {"invoice", "order"} & set(column.words) and column.share(lambda value: value[:1] in "Cc") > 0:
                rest = column.share(lambda value: value[:1].isdigit())
                if rest >= 0.5 and rest < 1:
                    when.append(KindCondition(column=column.ours, starts_with="C", kind="return"))
                    self._reasons["kind.when"] = f"some of {column.shown} begin with C, as cancellations do"
        quantity = next((c for c in self._all if c.ours == self._mapped.get("quantity")), None)
        if not when and quantity is not None and any(number < 0 for number in quantity.numbers):
            when.append(KindCondition(column=quantity.ours, below=0, kind="return"))
            self._reasons["kind.when"] = f"some of {quantity.shown} are negative"
        if kind or "text" in self._mapped or "rating" in self._mapped:
            return None, tuple(when)
        bought = {"price", "quantity"} & set(self._mapped)
        self._reasons["kind.default"] = "there is a price or a quantity" if bought else "nothing says what happened"
        if not bought:
            self._doubts.append("what happened is not said: all events are taken as views, see kind.default")
        return ("purchase" if bought else "view"), tuple(when)


def _columns(rows: Sequence[Sequence[str]], file: FileRules) -> list[_Column]:
    names = [name.strip() for name in rows[0]] if file.header else []
    plain = plain_number(file)
    columns = []
    for place in range(len(rows[0])):
        cells = [row[place].strip() for row in rows[int(file.header) :]]
        values = [value for value in cells if value.lower() not in _NOTHING]
        unique = bool(names) and names.count(names[place]) == 1 and names[place]
        key: Column = names[place] if unique else place + 1
        columns.append(_Column(key, _words(names[place]) if names else [], values, _numbers(values, plain)))
    return columns


def _is_header(row: Sequence[str]) -> bool:
    """Whether a first row names columns: no number, no time, nothing twice."""
    cells = [cell.strip() for cell in row]
    if len(set(cells)) < len(cells) or not all(cells):
        return False
    return not any(_numbers([cell], str) or time_format_of([cell], TIME_FORMATS) for cell in cells)


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = re.findall(r"[a-z]+", parted.lower())
    return words + [word.removesuffix("id") for word in words if word.endswith("id") and len(word) > 4]


def _numbers(values: Iterable[str], plain: Callable[[str], str]) -> list[float]:
    numbers = []
    for value in values:
        try:
            numbers.append(float(plain(value)))
        except ValueError:
            continue
    return numbers


def _time_format(column: _Column) -> str | None:
    return time_format_of(column.values, TIME_FORMATS) if column.values else None


def _fits_time(column: _Column, written: str) -> bool:
    read = time_reader(written, "UTC")

    def fits(value: str) -> bool:
        try:
            read(value)
        except ValueError:
            return False
        return True

    return column.share(fits) >= _MOSTLY


def _is_plausible_time(column: _Column) -> bool:
    plausible = sum(_LEAST_SECONDS <= number <= _MOST_MILLISECONDS for number in column.numbers)
    return plausible >= _MOSTLY * len(column.values)


def _kind_of(value: str) -> str | None:
    plain = re.sub(r"[^a-z]+", " ", value.lower()).strip()
    return plain if plain in KINDS else _KIND_OF.get(plain)


def _is_id(column: _Column) -> bool:
    return bool(column.values) and column.share(lambda value: len(value) <= 64 and value.count(" ") < 2) >= _MOSTLY


def _is_number(column: _Column) -> bool:
    return column.is_numeric


def _is_amount(column: _Column) -> bool:
    return column.is_numeric and sum(number >= 0 for number in column.numbers) >= _MOSTLY * len(column.numbers)


def _is_count(column: _Column) -> bool:
    return _is_amount(column) and all(number == int(number) for number in column.numbers)


def _is_rating(column: _Column) -> bool:
    return column.is_numeric and sum(1 <= number <= 5 for number in column.numbers) >= _MOSTLY * len(column.numbers)


def _is_word(column: _Column) -> bool:
    return bool(column.values) and not column.is_numeric


def _is_text(column: _Column) -> bool:
    return _is_word(column) and sum(map(len, column.values)) >= _LEAST_TEXT * len(column.values)


def _listed(columns: Iterable[_Column]) -> str:
    return "\n".join(f"  {column.shown:<24} {', '.join(column.values[:3])[:60]}" for column in columns)
