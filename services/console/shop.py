"""Calls the recommender as a shop would."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.errors import Unavailable
from shared.pb.freshet.v1 import events_pb2 as events
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub

CALL_SECONDS = 10.0
TOP = 10


@dataclass(frozen=True, slots=True)
class Change:
    """A user's recommendations before and after one more review, both without the reviewed product."""

    before: pb.RecommendResponse
    after: pb.RecommendResponse
    position: events.LogPosition  # of the review
    seconds: float  # from the call of RecordEvents to the first answer at its position


class Shop:
    """A client for the length of the block."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address)
        self._stub = RecommenderServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def is_serving(self) -> bool:
        """Whether health says SERVING."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def serving_version(self) -> events.ModelVersion | None:
        """The version that answers now; None: none does, or nobody answers."""
        try:
            listed = self._stub.ListModels(pb.ListModelsRequest(), timeout=2.0)
        except grpc.RpcError:
            return None
        return next((v for v in listed.versions if v.version_id == listed.serving_version), None)

    def user(self, user_id: str) -> pb.GetUserResponse:
        """What is known of a user.

        Raises:
            Unavailable: the call failed.
        """
        try:
            known: pb.GetUserResponse = self._stub.GetUser(pb.GetUserRequest(user_id=user_id), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._failed("GetUser", error) from error
        return known

    def recommend(
        self,
        user_id: str,
        exclude: Sequence[str] = (),
        after: events.LogPosition | None = None,
        *,
        explain: bool = False,
    ) -> pb.RecommendResponse:
        """The user's best products; with `explain` each with what made its score.

        Raises:
            Unavailable: the call failed.
        """
        wishes = pb.Wishes(count=TOP, exclude_product_ids=exclude, explain=explain)
        request = pb.RecommendRequest(user_id=user_id, wishes=wishes, after_position=after)
        try:
            answer: pb.RecommendResponse = self._stub.Recommend(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._failed("Recommend", error) from error
        return answer

    def review(self, review: events.Event) -> Change:
        """Send one review and see what it changes.

        Raises:
            Unavailable: a call failed.
        """
        exclude = [review.product_id]
        before = self.recommend(review.user_id, exclude)
        began = time.perf_counter()
        try:
            recorded = self._stub.RecordEvents(pb.RecordEventsRequest(events=[review]), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._failed("RecordEvents", error) from error
        position = recorded.events[0].position
        after = self.recommend(review.user_id, exclude, position)
        return Change(before, after, position, time.perf_counter() - began)

    def _failed(self, method: str, error: grpc.RpcError) -> Unavailable:
        code = error.code().name if isinstance(error, grpc.Call) else "UNKNOWN"
        details = error.details() if isinstance(error, grpc.Call) else str(error)
        return Unavailable(f"{method} at {self._address} failed: {code}: {details}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()
