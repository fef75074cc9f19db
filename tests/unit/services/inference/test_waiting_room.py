"""Seats for calls that wait: so many on each connection, and free again however a wait ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from services.inference.calls.admission import Refusal, WaitingRoom


def on(connection: str) -> Any:
    return SimpleNamespace(peer=lambda: connection)


def test_each_connection_has_its_own_seats() -> None:
    room = WaitingRoom(2)
    with room.seat(on("a"), "x"), room.seat(on("a"), "x"):
        with pytest.raises(Refusal, match=r"2 calls of this connection wait for the broker") as refused:
            room.seat(on("a"), "the broker").__enter__()
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        with room.seat(on("b"), "x"):
            pass


def test_a_seat_is_free_again_when_the_wait_ends_or_fails() -> None:
    room = WaitingRoom(1)
    with pytest.raises(TimeoutError), room.seat(on("a"), "x"):
        raise TimeoutError
    with room.seat(on("a"), "x"):
        pass
    with room.seat(on("a"), "x"):
        pass
