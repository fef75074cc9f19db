"""One row of a CSV, by its mapping → one `Event`, or what it says of a product."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from replay.reading.mapping import ISO, KINDS, ColumnMapping, Header, KindCondition, plain_number, time_reader
from replay.reading.snap import checked, product_of, readable, votes
from shared.pb.freshet.v1.events_pb2 import (
    EVENT_KIND_RATING,
    EVENT_KIND_RETURN,
    EVENT_KIND_REVIEW,
    Event,
    Product,
)
from shared.process.errors import BadEvent

_NOTHING = frozenset(("", "null", "none", "nan", "\\n"))
_FLOAT_ID = re.compile(r"([0-9]+)\.0")

Fields = list[str]


class MappedRows:
    """Turns the rows of one file into events, or into products."""

    def __init__(self, mapping: ColumnMapping, names: Sequence[str]) -> None:
        """Look the columns up; `names` are those of the header, or the numbers from 1 where there is none.

        Raises:
            Unusable: a column is not there; the message lists those that are.
        """
        self._names = names
        header = Header(names)
        columns, kind = mapping.columns, mapping.kind
        self._user = header.place("columns.user", columns.user)
        self._guests = mapping.user.missing == "guest"
        self._product = header.place("columns.product", columns.product)
        self._time = header.place("columns.time", columns.time)
        self._time_ms = time_reader(mapping.time.format or ISO, mapping.time.zone)
        self._texts = header.places("columns.text", columns.text)
        self._rating = header.place("columns.rating", columns.rating)
        self._price = header.place("columns.price", columns.price)
        self._quantity = header.place("columns.quantity", columns.quantity)
        self._helpful = header.place("columns.helpful", columns.helpful)
        self._total_votes = header.place("columns.total_votes", columns.total_votes)
        self._dwell = header.place("columns.dwell_seconds", columns.dwell_seconds)
        self._event_id = header.place("columns.event_id", columns.event_id)
        self._kind = header.place("columns.kind", columns.kind)
        self._kinds: Mapping[str, int] = {value: KINDS[name] for value, name in kind.values.items()} or KINDS
        self._default_kind = None if kind.default is None else KINDS[kind.default]
        self._whens = [self._condition(header, when) for when in kind.when]
        self._title = header.place("columns.title", columns.title)
        self._categories = header.places("columns.category", columns.category)
        self._brand = header.place("columns.brand", columns.brand)
        self._plain = plain_number(mapping.file)

    def to_event(self, fields: Fields) -> Event:
        """The event, without the source and sequence that its place in the order will give it.

        Raises:
            BadEvent: no product or time, or a field is not what it should be.
        """
        self._check_width(fields)
        user_id = self._id(fields, self._user)
        if not user_id and not self._guests:
            raise BadEvent("no_user", f"{self._named(self._user)}: missing")
        product_id = self._product_id(fields)
        text = self._text(fields)
        rating = self._number(fields, self._rating, "bad_rating")
        event = Event(
            kind=self._kind_of(fields, text, rating),  # type: ignore[arg-type]  # an enum's number
            user_id=user_id,
            product_id=product_id,
            event_time_ms=self._when(fields),
            text=text,
        )
        if rating is not None:
            event.rating = rating
        if (price := self._number(fields, self._price, "bad_price")) is not None:
            event.price = price
        if (quantity := self._number(fields, self._quantity, "bad_quantity")) is not None:
            event.quantity = abs(quantity) if event.kind == EVENT_KIND_RETURN else quantity
        if (helpful := self._number(fields, self._helpful, "bad_votes")) is not None:
            event.helpful_votes = votes(helpful, self._named(self._helpful))
        if (all_votes := self._number(fields, self._total_votes, "bad_votes")) is not None:
            event.total_votes = votes(all_votes, self._named(self._total_votes))
        if (dwell := self._number(fields, self._dwell, "bad_dwell")) is not None:
            event.dwell_seconds = dwell
        if self._event_id is not None:
            event.event_id = self._id(fields, self._event_id)
        return checked(event)

    def to_product(self, fields: Fields) -> Product:
        """What the row says of its product. A row about an event must be a usable one to say anything.

        Raises:
            BadEvent: it names no product, or is not what it should be.
        """
        if self._time is not None:
            self.to_event(fields)
        self._check_width(fields)
        return product_of(
            self._product_id(fields),
            title="" if self._title is None else fields[self._title],
            categories=[fields[place] for place in self._categories if fields[place].strip().lower() not in _NOTHING],
            brand="" if self._brand is None else fields[self._brand],
            price=None if self._price is None else self._plain(fields[self._price].strip()),
        )

    def times(self, rows: Iterable[Fields]) -> list[str]:
        """What some rows say of their time, as written."""
        place = self._time
        if place is None:
            return []
        values = [fields[place].strip() for fields in rows if len(fields) == len(self._names)]
        return [value for value in values if value.lower() not in _NOTHING]

    def _check_width(self, fields: Fields) -> None:
        if len(fields) != len(self._names):
            raise BadEvent("bad_fields", f"has {len(fields)} fields where the file has {len(self._names)}")

    def _named(self, place: int | None) -> str:
        return "user" if place is None else self._names[place]

    def _id(self, fields: Fields, place: int | None) -> str:
        """An id, empty where there is none."""
        if place is None:
            return ""
        value = fields[place].strip()
        if value.lower() in _NOTHING:
            return ""
        match = _FLOAT_ID.fullmatch(value) if value.endswith(".0") else None
        return match[1] if match else value

    def _product_id(self, fields: Fields) -> str:
        product_id = self._id(fields, self._product)
        if not product_id:
            raise BadEvent("no_product", f"{self._named(self._product)}: missing")
        return product_id

    def _when(self, fields: Fields) -> int:
        if self._time is None:
            raise BadEvent("no_time", "the mapping names no column for the time")
        value = fields[self._time].strip()
        if value.lower() in _NOTHING:
            raise BadEvent("no_time", f"{self._names[self._time]}: missing")
        try:
            return self._time_ms(value)
        except ValueError as error:
            raise BadEvent("bad_time", f"{self._names[self._time]}: {error}") from None

    def _text(self, fields: Fields) -> str:
        return "\n".join([part for place in self._texts if (part := readable(fields[place]))])

    def _number(self, fields: Fields, place: int | None, reason: str) -> float | None:
        if place is None:
            return None
        value = fields[place].strip()
        if value.lower() in _NOTHING:
            return None
        try:
            number = float(self._plain(value))
        except ValueError:
            raise BadEvent(reason, f"{self._names[place]}: must be a number, got {ascii(value)[:80]}") from None
        if not math.isfinite(number):
            raise BadEvent(reason, f"{self._names[place]}: must be finite, got {ascii(value)[:80]}")
        return number

    def _kind_of(self, fields: Fields, text: str, rating: float | None) -> int:
        for matches, kind in self._whens:
            if matches(fields):
                return kind
        if self._kind is not None:
            value = fields[self._kind].strip()
            if value.lower() not in _NOTHING:
                return self._kind_called(value)
        if self._default_kind is not None:
            return self._default_kind
        if text:
            return EVENT_KIND_REVIEW
        if rating is not None:
            return EVENT_KIND_RATING
        raise BadEvent("nothing_said", "neither a kind (default, under [kind]) nor stars nor a text")

    def _kind_called(self, value: str) -> int:
        kind = self._kinds.get(value)
        if kind is None:
            kind = self._kinds.get(value.lower())
        if kind is None:
            raise BadEvent(
                "bad_kind",
                f"{self._named(self._kind)}: {ascii(value)[:80]} is none of {', '.join(self._kinds)}",
            )
        return kind

    def _condition(self, header: Header, when: KindCondition) -> tuple[Callable[[Fields], bool], int]:
        place = header.place("kind.when.column", when.column) or 0
        kind = KINDS[when.kind]
        if when.starts_with is not None:
            beginning = when.starts_with
            return lambda fields: fields[place].startswith(beginning), kind
        if when.equals is not None:
            value = when.equals
            return lambda fields: fields[place].strip() == value, kind
        limit = 0.0 if when.below is None else when.below

        def is_below(fields: Fields) -> bool:
            number = self._number(fields, place, "bad_fields")
            return number is not None and number < limit

        return is_below, kind
