"""Splits lists into calls, and goes on with a call for many users that broke off. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from freshet import messages
from freshet.answers import Recommendation
from shared.pb.freshet.v1 import recommender_pb2 as calls

MOST_EVENTS = 1_000  # the service accepts 10,000; fewer keep each call short
MOST_IDS = 1_000  # users or products
MOST_BYTES = 8 * 1024 * 1024  # half of what the service accepts by default
# What a message in a list takes beside itself: its tag and its length.
FRAME_BYTES = 6


class Message(Protocol):
    """A protocol's message."""

    def ByteSize(self) -> int:  # noqa: N802  # protobuf's name
        """Its size as it is sent."""


M = TypeVar("M", bound=Message)


def size_of(message: Message) -> int:
    """What a message adds to a call, in bytes."""
    return message.ByteSize() + FRAME_BYTES


def batches(values: Iterable[M], most: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> Iterator[list[M]]:
    """The messages in their order, in lists within both limits; one that is too large alone is a list of its own."""
    batch: list[M] = []
    held = 0
    for message in values:
        size = size_of(message)
        if batch and (len(batch) >= most or held + size > most_bytes):
            yield batch
            batch, held = [], 0
        batch.append(message)
        held += size
    if batch:
        yield batch


def id_batches(ids: Iterable[str], most: int = MOST_IDS) -> Iterator[list[str]]:
    """The ids in their order, in lists of at most `most`; each is short, so bytes need no limit."""
    left = iter(ids)
    while batch := list(islice(left, most)):
        yield batch


class PendingUsers:
    """The users of one call that were not answered yet."""

    def __init__(self, users: list[str], wishes: calls.Wishes) -> None:
        self._users = users
        self._wishes = wishes
        self._answered = 0

    @property
    def left(self) -> list[str]:
        """In their order."""
        return self._users[self._answered :]

    def request(self) -> calls.BatchRecommendRequest:
        """The call that asks for them."""
        return calls.BatchRecommendRequest(user_ids=self.left, wishes=self._wishes)

    def take(self, answer: calls.BatchRecommendResponse) -> tuple[str, Recommendation]:
        """The next user's answer; answers come in the order of the users."""
        self._answered += 1
        return answer.user_id, messages.recommendation(answer.response)
