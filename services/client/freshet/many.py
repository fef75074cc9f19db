"""Many users in one call, and going on with it when it breaks off. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from freshet import messages
from freshet.answers import Recommendation
from shared.pb.freshet.v1 import recommender_pb2 as calls

USERS = 1000  # of one call


def user_batches(users: Iterable[str]) -> Iterator[list[str]]:
    """The users in their order, `USERS` at a time."""
    left = iter(users)
    while batch := list(itertools.islice(left, USERS)):
        yield batch


class Asked:
    """The users of one call that were not answered yet."""

    def __init__(self, users: list[str], wishes: calls.Wishes) -> None:
        self._users = users
        self._wishes = wishes
        self._done = 0

    @property
    def left(self) -> list[str]:
        """In their order."""
        return self._users[self._done :]

    def request(self) -> calls.BatchRecommendRequest:
        """What is to be asked."""
        return calls.BatchRecommendRequest(user_ids=self.left, wishes=self._wishes)

    def answered(self, answer: calls.BatchRecommendResponse) -> tuple[str, Recommendation]:
        """Take up an answer, which come in the order of the users."""
        self._done += 1
        return answer.user_id, messages.recommendation(answer.response)
