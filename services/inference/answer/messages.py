"""Turns a slate and its reasons into the products of a response, as bytes of the wire. Pure.

An answer with reasons holds hundreds of messages: made one by one in Python they took half of its time. A compiled
function writes them instead, from the last byte to the first, so that each message's length is known when it is due.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.answer.recommend import Slate, Viewer
from services.inference.knowledge.catalogue import NO_TEXTS, Catalogue, Texts
from services.inference.knowledge.knowledge import Knowledge
from shared.model.explained import NOTHING, Reasons
from shared.numeric.compiled import Vector, compiled
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, Product

# How a field begins: its number and how its value is written.
NUMBER, DOUBLE, BYTES = 0, 1, 2
_PRODUCT = pb.RecommendedProduct.DESCRIPTOR.fields_by_name
_REASON = pb.Reason.DESCRIPTOR.fields_by_name
_EVENT = pb.PastEvent.DESCRIPTOR.fields_by_name
PRODUCTS = pb.RecommendResponse.DESCRIPTOR.fields_by_name["products"].number << 3 | BYTES  # in each response
PRODUCT_ID, SCORE = _PRODUCT["product_id"].number << 3 | BYTES, _PRODUCT["score"].number << 3 | DOUBLE
EXPLORED, PROPENSITY = _PRODUCT["explored"].number << 3 | NUMBER, _PRODUCT["propensity"].number << 3 | DOUBLE
FIELDS, REASONS = _PRODUCT["product"].number << 3 | BYTES, _PRODUCT["reasons"].number << 3 | BYTES
PART, PART_SCORE = _REASON["part"].number << 3 | NUMBER, _REASON["score"].number << 3 | DOUBLE
EVENTS, TIMES = _REASON["events"].number << 3 | BYTES, _REASON["times"].number << 3 | NUMBER
EVENT_PRODUCT, EVENT_KIND = _EVENT["product_id"].number << 3 | BYTES, _EVENT["kind"].number << 3 | NUMBER
EVENT_TIME, EVENT_SCORE = _EVENT["event_time_ms"].number << 3 | NUMBER, _EVENT["score"].number << 3 | DOUBLE
ITSELF, VIEW = int(pb.PART_ITSELF), int(EVENT_KIND_VIEW)
_FIELD_BITS = {field.name: 1 << field.number for field in Product.DESCRIPTOR.fields}
# Bytes that a message takes at most, beside its texts and messages.
MOST_OF_MESSAGE = 64


class PastEvents(NamedTuple):
    """The events of a window, oldest first: those of the log, and those of the session, which have no time."""

    products: Vector[np.int32]  # (E,) rows
    logged: int  # how many of them are of the log
    first: int  # place of the first one in the rings
    kinds: Vector[np.uint8]  # (T,) of the user's events in the log, a ring
    times: Vector[np.int64]  # (T,) likewise, ms


class _Why(NamedTuple):
    """What made the scores of the slate."""

    reasons: Reasons
    events: PastEvents


@compiled
def _put_number(out: Vector[np.uint8], at: int, number: int) -> int:
    """Put a varint, not below 0, before `at`; where it begins. As all that follow."""
    if number < 128:  # as most are
        out[at - 1] = number
        return at - 1
    length = 2
    while number >> (7 * length):
        length += 1
    for n in range(length):
        more = 128 if n < length - 1 else 0
        out[at - length + n] = ((number >> (7 * n)) & 127) | more
    return at - length


@compiled
def _put_double(out: Vector[np.uint8], at: int, value: float, tag: int) -> int:
    bits = np.float64(value).view(np.uint64)
    for n in range(8):
        out[at - 8 + n] = (bits >> np.uint64(8 * n)) & np.uint64(255)
    return _put_number(out, at - 8, tag)


@compiled
def _length(texts: Texts, n: int) -> int:
    return int(texts.ends[n] - (texts.ends[n - 1] if n else 0))


@compiled
def _put_text(out: Vector[np.uint8], at: int, texts: Texts, n: int, tag: int) -> int:
    length = _length(texts, n)
    begin = texts.ends[n] - length
    for place in range(length):
        out[at - length + place] = texts.content[begin + place]
    return _put_number(out, _put_number(out, at - length, length), tag)


@compiled
def _number(content: Vector[np.uint8], at: int) -> tuple[int, int]:
    """The varint at a place, and where it ends."""
    number, shift = 0, 0
    while content[at] & 128:
        number |= (int(content[at]) & 127) << shift
        shift += 7
        at += 1
    return number | (int(content[at]) << shift), at + 1


@compiled
def _put_fields(out: Vector[np.uint8], at: int, records: Texts, n: int, fields: int) -> int:
    """Put those fields of a record that are wanted, as it has them, without the length of them all."""
    content, end = records.content, records.ends[n]
    size = 0
    for write in range(2):  # first their size, then they, from where they begin
        place, to = (records.ends[n - 1] if n else 0), at - size
        while place < end:
            begin = place
            tag, place = _number(content, place)
            kind = tag & 7
            if kind == NUMBER:
                _, place = _number(content, place)
            elif kind == BYTES:
                length, place = _number(content, place)
                place += length
            else:
                place += 8 if kind == DOUBLE else 4
            if tag >> 3 < 63 and (fields >> (tag >> 3)) & 1:
                if write:
                    for byte in range(place - begin):
                        out[to + byte] = content[begin + byte]
                    to += place - begin
                else:
                    size += place - begin
    return at - size


@compiled
def _kind(events: PastEvents, event: int) -> int:
    in_log = event < events.logged
    return int(events.kinds[(events.first + event) % len(events.kinds)]) if in_log else VIEW


@compiled
def _put_event(out: Vector[np.uint8], at: int, names: Texts, events: PastEvents, event: int, adds: float) -> int:
    end = at
    at = _put_double(out, at, adds, EVENT_SCORE)
    at_ms = events.times[(events.first + event) % len(events.times)] if event < events.logged else 0
    if at_ms:
        at = _put_number(out, _put_number(out, at, at_ms), EVENT_TIME)
    kind = _kind(events, event)
    if kind:
        at = _put_number(out, _put_number(out, at, kind), EVENT_KIND)
    at = _put_text(out, at, names, events.products[event], EVENT_PRODUCT)
    return _put_number(out, _put_number(out, at, end - at), EVENTS)


@compiled
def _times(events: PastEvents, event: int) -> int:
    """How many events are of one's product and kind."""
    times = 0
    for other in range(len(events.products)):
        times += events.products[other] == events.products[event] and _kind(events, other) == _kind(events, event)
    return times


@compiled
def _put_reasons(out: Vector[np.uint8], at: int, names: Texts, why: _Why, k: int) -> int:
    scores, counts, places, adds = why.reasons
    for part in range(len(scores) - 1, -1, -1):
        count = counts[part, k]
        if not count and not abs(scores[part, k]) > NOTHING:
            continue
        end = at
        if count and part == ITSELF:
            at = _put_number(out, _put_number(out, at, _times(why.events, places[part, k, 0])), TIMES)
        for n in range(count - 1, -1, -1):
            at = _put_event(out, at, names, why.events, places[part, k, n], adds[part, k, n])
        at = _put_double(out, at, scores[part, k], PART_SCORE)
        at = _put_number(out, _put_number(out, at, part), PART)
        at = _put_number(out, _put_number(out, at, end - at), REASONS)
    return at


@compiled
def _write(slate: Slate, names: Texts, records: Texts, fields: int, why: _Why) -> NDArray[np.uint8]:
    """All products, one after the other.

    Args:
        names: of all products.
        records: (K,) of the catalogue; all are empty where no fields are wanted.
        fields: bits of the fields that are wanted, by number; 0: none.
    """
    room = len(slate.rows) * MOST_OF_MESSAGE + len(records.content)
    for row in slate.rows:
        room += _length(names, row)
    longest = 0
    for row in why.events.products:
        longest = max(longest, _length(names, row))
    room += why.reasons.scores.size * MOST_OF_MESSAGE + why.reasons.counts.sum() * (MOST_OF_MESSAGE + longest)
    out = np.empty(room, np.uint8)
    at = room
    for k in range(len(slate.rows) - 1, -1, -1):
        end = at
        at = _put_reasons(out, at, names, why, k)
        if fields:
            before = at
            at = _put_fields(out, at, records, k, fields)
            at = _put_number(out, _put_number(out, at, before - at), FIELDS)
        at = _put_double(out, at, slate.propensities[k], PROPENSITY)
        if slate.explored[k]:
            at = _put_number(out, _put_number(out, at, 1), EXPLORED)
        at = _put_double(out, at, float(slate.scores[k]), SCORE)
        at = _put_text(out, at, names, slate.rows[k], PRODUCT_ID)
        at = _put_number(out, _put_number(out, at, end - at), PRODUCTS)
    return out[at:]


NO_EVENTS = PastEvents(np.zeros(0, np.int32), 0, 0, np.zeros(0, np.uint8), np.zeros(0, np.int64))


@lru_cache(16)  # never changed
def _nothing(count: int) -> Reasons:
    return Reasons.none(count)


def written(
    slate: Slate,
    wishes: pb.Wishes,
    catalogue: Catalogue,
    reasons: Reasons | None = None,
    events: PastEvents = NO_EVENTS,
) -> bytes:
    """The products of a response, with the requested fields of the catalogue: its field `products` on the wire.

    Args:
        reasons: of the slate's scores; None: they were not requested.
        events: of the window that the scores are for.
    """
    count = len(slate.rows)
    if not count:
        return b""
    paths = wishes.product_fields.paths
    records = Texts.of([_record(row, catalogue) for row in slate.rows.tolist()]) if paths else NO_TEXTS
    fields = sum({_FIELD_BITS[path] for path in paths})
    why = _Why(_nothing(count) if reasons is None else reasons, events)
    return _write.unchecked(slate, catalogue.names, records, fields, why).tobytes()


def _record(row: int, catalogue: Catalogue) -> bytes:
    record = catalogue.records[row]
    return catalogue.product(row).SerializeToString() if record is None else record


def past_events(user_id: str, viewer: Viewer, knowledge: Knowledge) -> PastEvents:
    """The events of the viewer's window."""
    if viewer.window is None:
        return NO_EVENTS
    histories, end = knowledge.histories, int(viewer.window.lengths[0])
    products, logged = viewer.window.products[0, :end], end - viewer.session
    row = histories.row(user_id) if logged else None
    if row is None:
        return NO_EVENTS._replace(products=products)
    _, times, kinds, _, counts = histories.rings
    return PastEvents(products, logged, int(counts[row]) - logged, kinds[row], times[row])
