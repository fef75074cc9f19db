"""Which column of a shop's CSV says what: a small TOML file that can be handed on.

    [columns]                    # ours = the file's column: its name, or its number from 1
    user = "CustomerID"          # product and time must be told; the others where the file has them
    product = "StockCode"
    time = "InvoiceDate"
    text = ["Summary", "Text"]   # several are joined by line breaks
    [file]                       # told from the content where left out
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
    default = "purchase"         # where left out: a text is a review, stars are a rating
    values = { pv = "view", buy = "purchase" }   # of the column `kind`; others are left out, with their lines
    [[kind.when]]                # the first that matches wins, before the column
    column = "InvoiceNo"
    starts_with = "C"            # or equals, or below, which compares numbers
    kind = "return"

Empty, NULL, None, NaN and \\N say nothing. An id such as "17850.0" is 17850: so programs write the numbers of a column
that has gaps. The quantity of a return may be negative, and is made positive. A comma is a decimal comma where
`decimal` says so, or where it says nothing and the delimiter is `;`; else it parts thousands. A day without a time is a
whole day of UTC in any zone.
"""

from __future__ import annotations

import codecs
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from replay.times import zone_of
from shared.errors import Unusable
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_UNSPECIFIED, EventKind

KINDS = {
    name.removeprefix("EVENT_KIND_").lower(): number
    for name, number in EventKind.items()
    if number not in (EVENT_KIND_UNSPECIFIED, EVENT_KIND_TICK)
}

DELIMITERS = (",", ";", "\t", "|")


def _kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"no kind of event is called {name!r}; there are {', '.join(KINDS)}")
    return name


def _zone(name: str) -> str:
    zone_of(name)
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


class File(_Part):
    """How the file is written."""

    header: bool = True
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    decimal: Literal[".", ","] | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"


class Time(_Part):
    """How times are written."""

    format: str | None = None
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"


class User(_Part):
    """What a line without a user is."""

    missing: Literal["guest", "reject"] = "guest"


class When(_Part):
    """A condition on one column, and the kind of the events that meet it."""

    column: Column
    starts_with: str | None = None
    equals: str | None = None
    below: float | None = None
    kind: KindName

    @model_validator(mode="after")
    def _one_condition(self) -> When:
        if sum(condition is not None for condition in (self.starts_with, self.equals, self.below)) != 1:
            raise ValueError("name one condition: starts_with, equals or below")
        return self


class Kind(_Part):
    """What happened."""

    default: KindName | None = None
    values: dict[str, KindName] = Field(default_factory=dict)
    when: tuple[When, ...] = ()


class Mapping(_Part):
    """A mapping file."""

    columns: Columns
    file: File = File()
    time: Time = Time()
    user: User = User()
    kind: Kind = Kind()

    @model_validator(mode="after")
    def _columns_by_number(self) -> Mapping:
        if not self.file.header and (named := [column for column in used_columns(self) if isinstance(column, str)]):
            raise ValueError(f"a file without header has columns by number, from 1: {named[0]!r} is none")
        if self.kind.values and self.columns.kind is None:
            raise ValueError("kind.values needs columns.kind: the column that holds them")
        return self


def used_columns(mapping: Mapping) -> list[Column]:
    """Every column that a mapping names."""
    found: list[Column] = []
    for column in mapping.columns.model_dump().values():
        found += [] if column is None else column if isinstance(column, list | tuple) else [column]
    return found + [when.column for when in mapping.kind.when]


def load_mapping(path: Path) -> Mapping:
    """The mapping that a file holds.

    Raises:
        Unusable: it is none; the message names the key and what is allowed.
    """
    try:
        return Mapping.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Unusable(f"the mapping {path} can't be read: {error.strerror}; check the name") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unusable(f"the mapping {path} is no TOML file: {error}") from error
    except ValidationError as error:
        raise Unusable(f"the mapping {path}: {'; '.join(_told(found) for found in error.errors())}") from None


def _told(found: Any) -> str:
    """One error of pydantic, for people."""
    place = list(found["loc"])
    key = ".".join(str(part) for part in place)
    said = found["msg"].removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        allowed = _allowed(place[:-1])
        near = get_close_matches(str(place[-1]), allowed, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(allowed)}"
        return f"{key}: no such key; {hint}"
    if found["type"] == "missing":
        return f"{key}: must be told"
    return f"{key}: {said}" if key else said


def _allowed(place: list[Any]) -> list[str]:
    """The keys of the table at a place."""
    tables: dict[object, type[BaseModel]] = {
        "columns": Columns, "file": File, "time": Time, "user": User, "kind": Kind, "when": When,
    }  # fmt: skip
    names = [part for part in place if not isinstance(part, int)]
    return list((tables[names[-1]] if names else Mapping).model_fields)
