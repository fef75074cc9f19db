"""Turns a slate and its reasons into the products of a response, as bytes of the wire. Pure.

An answer with reasons holds hundreds of messages: made one by one in Python they took half of its time. A compiled
function writes them instead, from the last byte to the first, so that each message's length is known when it is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.answer.recommend import Slate, Viewer
from services.inference.knowledge.catalogue import NO_TEXTS, Catalogue, Texts
from services.inference.knowledge.knowledge import Knowledge
from shared.model.explained import MOST_EVENTS, NOTHING, Reasons
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, EventKind, Product
from shared.process.compiled import Matrix, Vector, compiled
from shared.state.tally import Float32Cube, Int64Cube

PastEvent = tuple[str, EventKind.ValueType, int]  # product_id, kind, event time in ms

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
ITSELF = int(pb.PART_ITSELF)
# Bytes that a message takes at most, beside its texts and messages.
MOST_OF_MESSAGE = 64


class _Why(NamedTuple):
    """P parts of K scores, and the E events they refer to."""

    parts: Vector[np.int64]
    scores: Matrix[np.float64]  # (P, K)
    counts: Matrix[np.int64]  # (P, K)
    places: Int64Cube  # (P, K, M)
    adds: Float32Cube  # (P, K, M)
    ids: Texts
    kinds: Vector[np.int64]  # (E,)
    times: Vector[np.int64]  # (E,) ms


@compiled
def _put_number(out: Vector[np.uint8], at: int, number: int) -> int:
    """Put a varint, not below 0, before `at`; where it begins. As all that follow."""
    length = 1
    while number >> (7 * length):
        length += 1
    for n in range(length):
        more = 128 if n < length - 1 else 0
        out[at - length + n] = ((number >> (7 * n)) & 127) | more
    return at - length


@compiled
def _put_double(out: Vector[np.uint8], at: int, value: float, tag: int) -> int:
    bits = np.array([value], np.float64).view(np.uint8)
    for n in range(8):
        out[at - 8 + n] = bits[n]
    return _put_number(out, at - 8, tag)


@compiled
def _put_text(out: Vector[np.uint8], at: int, texts: Texts, n: int, tag: int) -> int:
    begin = texts.ends[n - 1] if n else 0
    length = texts.ends[n] - begin
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
def _put_event(out: Vector[np.uint8], at: int, why: _Why, event: int, adds: float) -> int:
    end = at
    at = _put_double(out, at, adds, EVENT_SCORE)
    if why.times[event]:
        at = _put_number(out, _put_number(out, at, why.times[event]), EVENT_TIME)
    if why.kinds[event]:
        at = _put_number(out, _put_number(out, at, why.kinds[event]), EVENT_KIND)
    at = _put_text(out, at, why.ids, event, EVENT_PRODUCT)
    return _put_number(out, _put_number(out, at, end - at), EVENTS)


@compiled
def _times(why: _Why, event: int) -> int:
    """How many events are of one's product and kind."""
    ends = why.ids.ends
    begin = ends[event - 1] if event else 0
    times = 0
    for other in range(len(why.kinds)):
        start = ends[other - 1] if other else 0
        same = why.kinds[other] == why.kinds[event] and ends[other] - start == ends[event] - begin
        for n in range(ends[event] - begin):
            same = same and why.ids.content[start + n] == why.ids.content[begin + n]
        times += same
    return times


@compiled
def _put_reasons(out: Vector[np.uint8], at: int, why: _Why, k: int) -> int:
    for part in range(len(why.parts) - 1, -1, -1):
        count = why.counts[part, k]
        if not count and not abs(why.scores[part, k]) > NOTHING:
            continue
        end = at
        if count and why.parts[part] == ITSELF:
            at = _put_number(out, _put_number(out, at, _times(why, why.places[part, k, 0])), TIMES)
        for n in range(count - 1, -1, -1):
            at = _put_event(out, at, why, why.places[part, k, n], why.adds[part, k, n])
        at = _put_double(out, at, why.scores[part, k], PART_SCORE)
        at = _put_number(out, _put_number(out, at, why.parts[part]), PART)
        at = _put_number(out, _put_number(out, at, end - at), REASONS)
    return at


@compiled
def _write(slate: Slate, names: Texts, records: Texts, fields: int, why: _Why, of_reason: int) -> NDArray[np.uint8]:
    """All products, one after the other.

    Args:
        names: of all products.
        records: (K,) of the catalogue; all are empty where no fields are wanted.
        fields: bits of the fields that are wanted, by number; 0: none.
        of_reason: bytes that a reason takes at most.
    """
    room = len(slate.rows) * MOST_OF_MESSAGE + len(records.content) + why.scores.size * of_reason
    for row in slate.rows:
        room += names.ends[row] - (names.ends[row - 1] if row else 0)
    out = np.empty(room, np.uint8)
    at = room
    for k in range(len(slate.rows) - 1, -1, -1):
        end = at
        at = _put_reasons(out, at, why, k)
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


_NONE: NDArray[np.int64] = np.zeros(0, np.int64)


@lru_cache(16)  # never changed
def _no_reasons(count: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    nothing = np.zeros((0, count), np.int64)
    of_events = np.zeros((0, count, MOST_EVENTS), np.int64)
    return nothing.astype(np.float64), nothing, of_events, of_events.astype(np.float32)


def written(
    slate: Slate,
    wishes: pb.Wishes,
    catalogue: Catalogue,
    reasons: Sequence[Reasons] = (),
    events: Sequence[PastEvent] = (),
) -> bytes:
    """The products of a response, with the requested fields of the catalogue: its field `products` on the wire.

    Args:
        reasons: of the slate's scores.
        events: of the window; reasons refer to them by index.
    """
    count = len(slate.rows)
    if not count:
        return b""
    paths = wishes.product_fields.paths
    records = Texts.of([_record(row, catalogue) for row in slate.rows.tolist()]) if paths else NO_TEXTS
    fields = sum({1 << Product.DESCRIPTOR.fields_by_name[path].number for path in paths})
    why = _why(reasons, events, count)
    longest = max((len(product_id) for product_id, _, _ in events), default=0) * 4  # of UTF-8
    of_reason = MOST_OF_MESSAGE + why.adds.shape[2] * (MOST_OF_MESSAGE + longest)
    return _write(slate, catalogue.names, records, fields, why, of_reason).tobytes()


def _record(row: int, catalogue: Catalogue) -> bytes:
    record = catalogue.records[row]
    return catalogue.product(row).SerializeToString() if record is None else record


def _why(reasons: Sequence[Reasons], events: Sequence[PastEvent], count: int) -> _Why:
    if not reasons:
        return _Why(_NONE, *_no_reasons(count), Texts.of([]), _NONE, _NONE)
    ids, kinds, times = zip(*events, strict=True) if events else ((), (), ())
    return _Why(
        np.array([of_part.part for of_part in reasons], np.int64),
        np.array([of_part.scores for of_part in reasons], np.float64),
        np.array([of_part.counts for of_part in reasons], np.int64),
        np.array([of_part.places for of_part in reasons], np.int64),
        np.array([of_part.adds for of_part in reasons], np.float32),
        Texts.of([product_id.encode() for product_id in ids]),
        np.array(kinds, np.int64),
        np.array(times, np.int64),
    )


def past_events(user_id: str, viewer: Viewer, knowledge: Knowledge) -> list[PastEvent]:
    """The events of the viewer's window, oldest first; those of the session have no time."""
    if viewer.window is None:
        return []
    ids, histories, end = knowledge.catalogue.ids, knowledge.histories, int(viewer.window.lengths[0])
    logged = end - viewer.session
    row = histories.row(user_id) if logged else None
    events: list[PastEvent] = []
    if row is not None:
        products, times, kinds, _, counts = histories.rings
        slots = np.arange(counts[row] - logged, counts[row]) % histories.length
        kept = (column[row].take(slots).tolist() for column in (products, kinds, times))
        events = [(ids[product], kind, at_ms) for product, kind, at_ms in zip(*kept, strict=True)]
    viewed = viewer.window.products[0, logged:end].tolist() if viewer.session else ()
    return events + [(ids[product], EVENT_KIND_VIEW, 0) for product in viewed]
