"""Which column of a shop's CSV says what: a small TOML file that can be handed on.

    [columns]                    # our name = the file's column: its name, or its number from 1
    user = "CustomerID"          # product and time are required; the others if the file has them
    product = "StockCode"
    time = "InvoiceDate"
    text = ["Summary", "Text"]   # several are joined by line breaks
    [file]                       # recognised by content if left out
    header = true
    delimiter = ";"
    decimal = ","
    encoding = "cp1252"
    [time]
    format = "%d.%m.%Y %H:%M"    # or seconds, milliseconds, iso
    zone = "Europe/London"
    [user]
    missing = "guest"            # counts for trending only; or "reject"
    [kind]
    default = "purchase"         # if left out: a text is a review, stars are a rating
    values = { pv = "view", buy = "purchase" }   # of the column `kind`; others are left out, with their lines
    [[kind.when]]                # the first that matches wins, before the column
    column = "InvoiceNo"
    starts_with = "C"            # or equals, or below, which compares numbers
    kind = "return"

Empty, NULL, None, NaN and \\N are no values. An id such as "17850.0" is 17850: programs write the numbers of a column
with gaps so. The quantity of a return may be negative, and is made positive. A comma is a decimal comma where
`decimal` says so, or where it says nothing and the delimiter is `;`; else it parts thousands. A day without a time is a
whole day of UTC in any zone.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from shared.log.records import END_MS
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_UNSPECIFIED, EventKind
from shared.process.errors import Unusable

KINDS = {
    name.removeprefix("EVENT_KIND_").lower(): number
    for name, number in EventKind.items()
    if number not in (EVENT_KIND_UNSPECIFIED, EVENT_KIND_TICK)
}
DELIMITERS = (",", ";", "\t", "|")
SECONDS, MILLISECONDS, ISO = "seconds", "milliseconds", "iso"
_UNITS_MS = {SECONDS: 1000, MILLISECONDS: 1}
# Counted since 1970, a number below is seconds up to the year 5138, one from it on milliseconds from 1973 on.
_LEAST_MILLISECONDS = 1e11
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_DAY = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")  # 20111209: ISO has it too
_HOURS = re.compile(r"%[HIcX]")  # directives of strptime for a time of the day
_MOSTLY = 0.9  # real files are dirty
_CACHED = 2**16  # lines of one minute, or of one basket, share their time


def _kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"no kind of event is called {name!r}; there are {', '.join(KINDS)}")
    return name


def _zone(name: str) -> str:
    time_zone(name)
    return name


def _encoding(name: str) -> str:
    try:
        name = codecs.lookup(name).name
        fits = bytes(range(128)).decode(name) == "".join(map(chr, range(128)))
    except (LookupError, ValueError):
        raise ValueError(f"{name!r} is no encoding; common ones are utf-8, cp1252 and latin-1") from None
    if not fits:
        raise ValueError(
            f"{name} can't be read line by line; convert the file to UTF-8 first: iconv -f {name} -t UTF-8"
        )
    return name


def _column(given: object) -> object:
    is_number = isinstance(given, int) and not isinstance(given, bool) and given >= 1
    if not is_number and not (isinstance(given, str) and given):
        raise ValueError("must be a column's name, or its number from 1")
    return given


def _column_list(given: object) -> object:
    return tuple(_column(one) for one in given) if isinstance(given, list | tuple) else _column(given)


KindName = Annotated[str, AfterValidator(_kind)]
Column = Annotated[int | str, BeforeValidator(_column)]
ColumnList = Annotated[int | str | tuple[int | str, ...], BeforeValidator(_column_list)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Part):
    """What is read from which column."""

    user: Column | None = None
    product: Column
    time: Column | None = None
    kind: Column | None = None
    rating: Column | None = None
    text: ColumnList | None = None
    price: Column | None = None
    quantity: Column | None = None
    helpful: Column | None = None  # helpful votes
    total_votes: Column | None = None
    dwell_seconds: Column | None = None
    event_id: Column | None = None
    title: Column | None = None  # this and what follows say what a product is, not what happened
    category: ColumnList | None = None
    brand: Column | None = None


class FileRules(_Part):
    """How the file is written."""

    header: bool = True
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    decimal: Literal[".", ","] | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"


class TimeRules(_Part):
    """How times are written."""

    format: str | None = None
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"


class UserRules(_Part):
    """What a line without a user is."""

    missing: Literal["guest", "reject"] = "guest"


class KindCondition(_Part):
    """A condition on one column, and the kind of the events that meet it."""

    column: Column
    starts_with: str | None = None
    equals: str | None = None
    below: float | None = None
    kind: KindName

    @model_validator(mode="after")
    def _one_condition(self) -> KindCondition:
        if sum(condition is not None for condition in (self.starts_with, self.equals, self.below)) != 1:
            raise ValueError("name one condition: starts_with, equals or below")
        return self


class KindRules(_Part):
    """What happened."""

    default: KindName | None = None
    values: dict[str, KindName] = Field(default_factory=dict)
    when: tuple[KindCondition, ...] = ()


class ColumnMapping(_Part):
    """A mapping file."""

    columns: Columns
    file: FileRules = FileRules()
    time: TimeRules = TimeRules()
    user: UserRules = UserRules()
    kind: KindRules = KindRules()

    @model_validator(mode="after")
    def _columns_by_number(self) -> ColumnMapping:
        if not self.file.header and (named := [column for column in used_columns(self) if isinstance(column, str)]):
            raise ValueError(f"a file without header has columns by number, from 1: {named[0]!r} is none")
        if self.kind.values and self.columns.kind is None:
            raise ValueError("kind.values needs columns.kind: the column that holds them")
        return self


def used_columns(mapping: ColumnMapping) -> list[Column]:
    """Every column that a mapping names."""
    columns: list[Column] = []
    for column in mapping.columns.model_dump().values():
        columns += [] if column is None else column if isinstance(column, list | tuple) else [column]
    return columns + [when.column for when in mapping.kind.when]


def load_mapping(path: Path) -> ColumnMapping:
    """The mapping that a file holds.

    Raises:
        Unusable: it is none; the message names the key and what is allowed.
    """
    try:
        return ColumnMapping.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Unusable(f"the mapping {path} can't be read: {error.strerror}; check the name") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unusable(f"the mapping {path} is no TOML file: {error}") from error
    except ValidationError as error:
        raise Unusable(f"the mapping {path}: {'; '.join(_explained(problem) for problem in error.errors())}") from None


def _explained(problem: Any) -> str:
    """One error of pydantic, for people."""
    place = list(problem["loc"])
    key = ".".join(str(part) for part in place)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        allowed = _allowed(place[:-1])
        near = get_close_matches(str(place[-1]), allowed, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(allowed)}"
        return f"{key}: no such key; {hint}"
    if problem["type"] == "missing":
        return f"{key}: is required"
    return f"{key}: {message}" if key else message


def _allowed(place: list[Any]) -> list[str]:
    """The keys of the table at a place."""
    tables: dict[object, type[BaseModel]] = {
        "columns": Columns,
        "file": FileRules, "time": TimeRules, "user": UserRules, "kind": KindRules, "when": KindCondition,
    }  # fmt: skip
    names = [part for part in place if not isinstance(part, int)]
    return list((tables[names[-1]] if names else ColumnMapping).model_fields)


def as_toml(mapping: ColumnMapping) -> str:
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
        places = [place for place, name in enumerate(names) if name == column]
        if len(places) > 1:
            raise Unusable(f"the mapping's {key}: the file has several columns {column!r}; name one by its number")
        if not places:
            near = get_close_matches(column, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Unusable(f"the mapping's {key}: the file has no column {column!r}{hint}; it has {', '.join(names)}")
        return places[0]

    def places(self, key: str, columns: ColumnList | None) -> list[int]:
        """Where the columns are that a mapping's key names.

        Raises:
            Unusable: one is not there.
        """
        given = columns if isinstance(columns, tuple) else (columns,)
        return [place for column in given if (place := self.place(key, column)) is not None]


def plain_number(file: FileRules) -> Callable[[str], str]:
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


def time_reader(time_format: str, zone: str) -> Callable[[str], int]:
    """What reads times of one format.

    A time without a zone is one of `zone`; of one that occurs twice as clocks are set back the first is meant. A day
    without a time is a whole day of UTC, as SNAP's are, in any zone. The reader raises ValueError with what is wrong.

    Args:
        time_format: seconds, milliseconds, iso, or as strptime has it.
        zone: a name of the tz database.
    """
    if time_format in _UNITS_MS:
        unit_ms = _UNITS_MS[time_format]

        def numeric(text: str) -> int:
            try:
                time_ms = float(text) * unit_ms
            except ValueError:
                raise ValueError(f"must be {time_format} since 1970, got {ascii(text)[:80]}") from None
            return _plausible(time_ms, text)

        return numeric
    where = time_zone(zone)
    is_of_days = time_format != ISO and _HOURS.search(time_format) is None

    @functools.lru_cache(_CACHED)
    def written(text: str) -> int:
        try:
            when = datetime.fromisoformat(text) if time_format == ISO else _strptime(text, time_format)
            if when.tzinfo is None:
                when = when.replace(tzinfo=UTC if is_of_days or (time_format == ISO and len(text) <= 10) else where)
            return _plausible(when.timestamp() * 1000, text)
        except (ValueError, OverflowError) as error:
            if "2200" in str(error):
                raise
            wanted = "a date and time such as 2011-12-09 12:50:00" if time_format == ISO else f"as in {time_format}"
            raise ValueError(f"must be {wanted}, got {ascii(text)[:80]}") from None

    return written


def _strptime(text: str, time_format: str) -> datetime:
    return datetime.strptime(text, time_format)  # noqa: DTZ007  # the zone comes after, where the text has none


def _plausible(time_ms: float, text: str) -> int:
    if not 0 < time_ms < END_MS:
        raise ValueError(f"must be after 1970 and before 2200, got {ascii(text)[:80]}")
    return int(time_ms)


def time_zone(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; it must be a name such as UTC or Europe/London") from None


def time_format_of(values: Sequence[str], also: Iterable[str] = ()) -> str | None:
    """The format that nearly all of some values have, None where none is; `also`: formats beside the plain ones."""
    wanted = _MOSTLY * len(values)
    numbers = sorted(abs(float(value)) for value in values if _NUMBER.fullmatch(value))
    if len(numbers) >= wanted and sum(_DAY.fullmatch(value) is not None for value in values) < wanted:
        return MILLISECONDS if numbers[len(numbers) // 2] >= _LEAST_MILLISECONDS else SECONDS
    return next((candidate for candidate in (ISO, *also) if _fitting(candidate, values) >= wanted), None)


def _fitting(time_format: str, values: Iterable[str]) -> int:
    read = time_reader(time_format, "UTC")
    fitting = 0
    for value in values:
        with contextlib.suppress(ValueError):
            read(value)
            fitting += 1
    return fitting
