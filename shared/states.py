"""Reading what lies in `freshet.states`."""

from __future__ import annotations

import math

from google.protobuf.message import DecodeError

from shared.errors import BadEvent
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_UNSPECIFIED, EventKind, StateVector


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
    if state.kind == EVENT_KIND_UNSPECIFIED or state.kind not in EventKind.values():
        raise BadEvent("no_kind", f"kind {state.kind} is unknown")
    if state.event_time_ms <= 0:
        raise BadEvent("bad_time", f"event_time_ms {state.event_time_ms} is not positive")
    if state.kind != EVENT_KIND_TICK:
        if not state.product_id:
            raise BadEvent("no_product", "a state without product_id")
        numbers = (state.price_scaled, state.helpfulness_scaled, state.rating, state.sentiment, state.reward)
        if not all(map(math.isfinite, numbers)):
            raise BadEvent("bad_number", f"a number of {state.user_id or 'a guest'}'s state is not finite")
    return state
