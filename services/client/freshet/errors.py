"""What a call can end with. Each error keeps the gRPC code and the service's message."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from freshet.events import Event

# Where a message begins with the field it is about: `count: …`, `events[3].rating: …`.
_FIELD = re.compile(r"([a-z_]+(?:\[([0-9]+)\])?(?:\.[a-z_]+)*)[ :,]")
# gRPC's own words for a message above the receiver's limit: the same status as a service that has too much to do.
_TOO_LARGE = "larger than max"
# gRPC's own words for a call that its caller ended; any other that was cancelled was ended over there.
_ENDED_BY_CALLER = ("Channel closed!", "Locally cancelled by application!")
# Of gRPC's retry design (A6): when a service that has too much to do wants to be asked again, ms.
_PUSHBACK = "grpc-retry-pushback-ms"


class FreshetError(Exception):
    """Base of every error that this client raises.

    Attributes:
        code: the call's gRPC status; None where no call was made.
        message: what the service said.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(f"{code.name}: {message}" if code is not None else message)
        self.code = code
        self.message = message


class InvalidRequest(FreshetError):
    """The request must be changed; trying again changes nothing.

    Attributes:
        field: the field that is wrong, as in `events[3].rating`; empty where the service names none.
        index: which of several is wrong, counted from 0; None where the service names none.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message, code)
        named = _FIELD.match(message)
        self.field = named[1] if named else ""
        self.index = int(named[2]) if named and named[2] else None


class NotFound(FreshetError):
    """Nothing is known of what was asked for."""


class Unavailable(FreshetError):
    """The service was away, not ready or had too much to do, as long as the deadline allowed to try.

    Attributes:
        retry_after: seconds that the service asks to be left alone; 0 where it asks nothing.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after


class DeadlineExceeded(FreshetError):
    """No answer came in time. What was to be recorded may have been: the same events sent again count once."""


class Full(FreshetError):
    """A recorder's memory is full, and it was asked not to wait."""


class Undelivered(FreshetError):
    """Events that a recorder could not deliver.

    Attributes:
        events: those events, in the order they were added; recorded again they count once.
        causes: the error of each, in the same order.
    """

    def __init__(self, events: tuple[Event, ...], causes: tuple[FreshetError, ...]) -> None:
        super().__init__(f"{len(events)} events were not delivered; the first because of {causes[0]}", causes[0].code)
        self.events = events
        self.causes = causes


_ERRORS = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def error_of(code: grpc.StatusCode, message: str) -> FreshetError:
    """The error for a call that ended so."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in message:
        return InvalidRequest(message, code)
    if code is grpc.StatusCode.CANCELLED and any(words in message for words in _ENDED_BY_CALLER):
        return FreshetError(message, code)
    return _ERRORS.get(code, FreshetError)(message, code)


def failure_of(error: grpc.RpcError) -> FreshetError:
    """The error for what gRPC raised."""
    failure = error_of(error.code(), error.details() or "no reason given")
    if isinstance(failure, Unavailable):
        failure.retry_after = _pushback_seconds(error.trailing_metadata() or ())
    return failure


def _pushback_seconds(metadata: Iterable[tuple[str, str | bytes]]) -> float:
    pushback = next((value for key, value in metadata if key == _PUSHBACK), "")
    return int(pushback) / 1000 if isinstance(pushback, str) and pushback.isdecimal() else 0.0
