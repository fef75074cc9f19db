"""When the client tries again: on a virtual clock, with a generator of its own."""

from __future__ import annotations

from random import Random

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.calling import Attempts, Retries
from freshet.errors import (
    DeadlineExceeded,
    FreshetError,
    InvalidRequest,
    NotFound,
    Unavailable,
    Undelivered,
    error_of,
    failure_of,
)
from freshet.events import view

AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
AWAY = error_of(grpc.StatusCode.UNAVAILABLE, "the broker is away")


def spent(retries: Retries, seconds: float, seed: int, call_seconds: float = 0.0) -> tuple[list[float], float]:
    """The time of each attempt of a call that always fails so, and when it gave up."""
    now, began = 100.0, []
    attempts = Attempts(retries, Random(seed), now + seconds)
    while True:
        began.append(now)
        left = attempts.begin(now)
        assert left == pytest.approx(100.0 + seconds - now)
        now += min(call_seconds, left)
        try:
            now += attempts.pause_after(AWAY, now)
        except Unavailable:
            return began, now


@given(st.integers(0, 2**32), st.floats(0.01, 60.0), st.floats(0.0, 3.0))
def test_no_attempt_begins_at_the_deadline_or_beyond(seed: int, seconds: float, call_seconds: float) -> None:
    began, gave_up = spent(Retries(), seconds, seed, call_seconds)
    assert all(at < 100.0 + seconds for at in began)
    assert gave_up <= 100.0 + seconds
    assert began == sorted(began)


def test_pauses_grow_to_their_bound_and_are_spread_evenly() -> None:
    retries, rng = Retries(first_seconds=0.1, factor=2.0, longest_seconds=0.5), Random(1)
    for attempts, bound in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (5_000, 0.5)):
        drawn = [retries.pause(attempts, rng) for _ in range(2_000)]
        assert 0 <= min(drawn) < bound * 0.01
        assert bound * 0.99 < max(drawn) <= bound
        assert sum(drawn) / len(drawn) == pytest.approx(bound / 2, rel=0.05)


def test_it_goes_on_as_long_as_the_deadline_allows() -> None:
    began, _ = spent(Retries(first_seconds=0.1, longest_seconds=1.0), 30.0, seed=3)
    assert len(began) > 40, "half a second apart on average, once the pauses have grown"
    assert began[-1] > 128.0


class Ended(grpc.RpcError):  # type: ignore[misc]
    """A call that ended so, as gRPC raises it."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        return "more calls come than can be answered in time"

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


@pytest.mark.parametrize(
    ("metadata", "least"),
    [
        ([("x", "y"), ("grpc-retry-pushback-ms", "1500")], 1.5),
        ([("grpc-retry-pushback-ms", "-1")], 0.0),
        ([("grpc-retry-pushback-ms", "soon")], 0.0),
        ([], 0.0),
    ],
)
def test_a_service_that_asks_to_be_left_alone_for_a_while_is(metadata: list[tuple[str, str]], least: float) -> None:
    failure = failure_of(Ended(*metadata))
    assert isinstance(failure, Unavailable)
    assert failure.retry_after == least
    attempts = Attempts(Retries(first_seconds=0.01), Random(1), 100.0)
    attempts.begin(0.0)
    assert least <= attempts.pause_after(failure, 0.0) <= max(least, 0.01)
    attempts.begin(99.0)
    if least:
        with pytest.raises(Unavailable, match="attempts: 2") as raised:
            attempts.pause_after(failure, 99.0)
        assert raised.value.retry_after == least


def test_the_attempts_may_be_bounded_and_the_error_says_how_many_there_were() -> None:
    attempts = Attempts(Retries(most_attempts=2), Random(1), 100.0)
    attempts.begin(0.0)
    attempts.pause_after(AWAY, 0.0)
    attempts.begin(1.0)
    with pytest.raises(Unavailable, match=r"UNAVAILABLE: the broker is away \(attempts: 2\)"):
        attempts.pause_after(AWAY, 1.0)


@pytest.mark.parametrize("code", sorted(set(grpc.StatusCode) - AGAIN, key=str))
def test_what_another_attempt_would_not_change_is_raised_at_once(code: grpc.StatusCode) -> None:
    attempts = Attempts(Retries(), Random(1), 100.0)
    attempts.begin(0.0)
    failure = error_of(code, "so it is")
    with pytest.raises(FreshetError) as raised:
        attempts.pause_after(failure, 0.0)
    assert raised.value is failure
    assert (raised.value.code, raised.value.message) == (code, "so it is")


def test_a_service_with_too_much_to_do_is_asked_again_and_a_message_too_large_is_not() -> None:
    busy = error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
    assert isinstance(busy, Unavailable)
    large = error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (17 vs. 16)")
    assert isinstance(large, InvalidRequest)
    assert (large.field, large.index) == ("", None)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Stream removed (RST_STREAM (Received RST_STREAM with error code 8))", Unavailable),
        ("Channel closed!", FreshetError),
        ("Stream removed (Channel closed!)", FreshetError),
        ("Locally cancelled by application!", FreshetError),
    ],
)
def test_a_cancelled_call_is_asked_again_unless_its_caller_ended_it(message: str, kind: type[FreshetError]) -> None:
    assert type(error_of(grpc.StatusCode.CANCELLED, message)) is kind


def test_where_the_time_ends_an_attempt_the_error_tells_what_went_wrong_before() -> None:
    attempts = Attempts(Retries(), Random(1), 5.0)
    attempts.begin(0.0)
    attempts.pause_after(AWAY, 0.0)
    with pytest.raises(DeadlineExceeded, match="before the call could be made; attempt 1: the broker is away"):
        attempts.begin(5.0)
    attempts.begin(4.9)
    with pytest.raises(DeadlineExceeded, match="Deadline Exceeded; attempt 1: the broker is away") as raised:
        attempts.pause_after(error_of(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), 5.0)
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_without_time_no_call_is_made() -> None:
    with pytest.raises(DeadlineExceeded, match="before the call"):
        Attempts(Retries(), Random(1), 5.0).begin(5.0)


@pytest.mark.parametrize(
    ("message", "field", "index"),
    [
        ("count: 0 to 1000, got 5000", "count", None),
        ("user_id: must not be empty", "user_id", None),
        ("events[3].rating: 1 to 5, got 9", "events[3].rating", 3),
        ("events[12]: at most 1000000 bytes, got 1000001", "events[12]", 12),
        ("after_position.partition: 0 to 2, got 7", "after_position.partition", None),
        ("Something else went wrong", "", None),
    ],
)
def test_an_invalid_request_names_its_field(message: str, field: str, index: int | None) -> None:
    error = error_of(grpc.StatusCode.INVALID_ARGUMENT, message)
    assert isinstance(error, InvalidRequest)
    assert (error.field, error.index) == (field, index)


def test_every_error_is_one_of_the_tree_and_tells_its_code() -> None:
    assert isinstance(error_of(grpc.StatusCode.NOT_FOUND, "user_id: nobody"), NotFound)
    assert isinstance(error_of(grpc.StatusCode.DEADLINE_EXCEEDED, "late"), DeadlineExceeded)
    assert type(error_of(grpc.StatusCode.INTERNAL, "a fault")) is FreshetError
    assert str(error_of(grpc.StatusCode.INTERNAL, "a fault")) == "INTERNAL: a fault"
    undelivered = Undelivered((view("ann", "p"),), (AWAY,))
    assert undelivered.code is grpc.StatusCode.UNAVAILABLE
