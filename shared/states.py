"""Reading what lies in `freshet.states`."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from shared.errors import BadEvent
from shared.events import END_MS, check_id
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_UNSPECIFIED, EventKind, StateVector

# Field → the least and the most that features writes; a number beyond, or none at all, would spoil what learns from it.
BOUNDS = {
    "price_scaled": (0.0, 1.0),
    "helpfulness_scaled": (0.0, 1.0),
    "rating": (0.0, 5.0),
    "sentiment": (-1.0, 1.0),
    "reward": (-1.0, 1.0),
}

_KINDS = frozenset(EventKind.values()) - {EVENT_KIND_UNSPECIFIED}


def parse_state(value: bytes | None) -> StateVector:
    """The state vector in a record's value.

    Raises:
        BadEvent: it is none, or holds what features never writes.
    """
    if not value:
        raise BadEvent("undecodable", "a state without a value")
    try:
        state = StateVector.FromString(value)
    except DecodeError as error:
        raise BadEvent("undecodable", f"not a StateVector: {error}") from error
    if state.kind not in _KINDS:
        raise BadEvent("no_kind", f"kind {state.kind} is unknown")
    if not 0 < state.event_time_ms < END_MS:
        raise BadEvent("bad_time", f"event_time_ms {state.event_time_ms} is not between 1970 and 2200")
    if state.source_offset < 0 or state.source_partition < 0:
        raise BadEvent("bad_place", f"partition {state.source_partition}, offset {state.source_offset} is no place")
    if state.kind == EVENT_KIND_TICK:
        return state
    if not state.product_id:
        raise BadEvent("no_product", "a state without product_id")
    check_id("product_id", state.product_id)
    if state.user_id:
        check_id("user_id", state.user_id)
    for name, (least, most) in BOUNDS.items():
        if not least <= getattr(state, name) <= most:
            raise BadEvent("bad_number", f"{name}: {least:g} to {most:g}, got {getattr(state, name):g}")
    return state
