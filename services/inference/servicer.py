"""The six calls of `RecommenderService`, on the event loop."""

# ruff: noqa: N802, ARG002  # gRPC gives the names and the arguments

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import cast
from uuid import uuid4

import numpy as np
from grpc import StatusCode

from services.inference import metrics, requests
from services.inference.knowledge import Knowledge
from services.inference.log_writer import LogWriter, Record
from services.inference.model_watcher import ModelWatcher
from services.inference.recommend import recommend
from services.inference.refusals import Context, Refusal
from services.inference.settings import InferenceSettings
from shared.errors import BadEvent, Unavailable
from shared.events import key_of
from shared.history import EVENT_FEATURES, Histories, user_class
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EventKind, LogPosition
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceServicer
from shared.topics import Topics

RATING, HAS_RATING, SENTIMENT, REWARD = map(EVENT_FEATURES.index, ("rating", "has_rating", "sentiment", "reward"))


class Servicer(RecommenderServiceServicer):
    """Answers from `Knowledge` and the version that is served when the answer is made.

    `ready` is set by whoever follows the log; before, half a history could recommend what must not be recommended.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        topics: Topics,
        knowledge: Knowledge,
        watcher: ModelWatcher,
        writer: LogWriter,
    ) -> None:
        self.ready = False
        self._settings = settings
        self._topics = topics
        self._knowledge = knowledge
        self._watcher = watcher
        self._writer = writer
        self._rng = np.random.default_rng(settings.seed) if settings.explore else None

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        """The best products for one user now."""
        count = requests.check_recommend(request, self._knowledge.partitions)
        self._refuse_unless_ready()
        if request.HasField("after_position"):
            await self._wait_for(request.after_position, context)
        serving = self._watcher.serving  # once: a swap in the middle must not mix two versions
        answer = recommend(
            request.user_id,
            count,
            request.exclude_product_ids,
            knowledge=self._knowledge,
            version=serving.scorer if serving else None,
            rng=self._rng,
        )
        metrics.recommendations(answer.strategy, answer.fallback).inc()
        ids = self._knowledge.catalogue.ids
        return pb.RecommendResponse(
            products=[
                pb.RecommendedProduct(
                    product_id=ids[placed.row],
                    score=placed.score,
                    explored=placed.explored,
                    propensity=placed.propensity,
                )
                for placed in answer.places
            ],
            model_version=answer.model_version,
            strategy=answer.strategy,
            fallback=answer.fallback,
            position=self._knowledge.position(request.user_id),
            request_id=uuid4().hex,
        )

    async def RecordEvents(self, request: pb.RecordEventsRequest, context: Context) -> pb.RecordEventsResponse:
        """Append events to the log."""
        events = requests.completed_events(request.events, time.time_ns() // 1_000_000)
        records = [Record(self._topics.events, key_of(e), e.SerializeToString()) for e in events]
        positions = await self._write(
            "events", records, context, advice="retry with the same event_ids: what was stored counts once"
        )
        return pb.RecordEventsResponse(
            events=[
                pb.RecordedEvent(event_id=event.event_id, position=position)
                for event, position in zip(events, positions, strict=True)
            ]
        )

    async def UpsertProducts(self, request: pb.UpsertProductsRequest, context: Context) -> pb.UpsertProductsResponse:
        """Add products or replace them whole."""
        requests.check_products(request.products)
        records = [
            Record(self._topics.products, p.product_id.encode(), p.SerializeToString()) for p in request.products
        ]
        done = await self._write("products", records, context, advice="retry: the same products change nothing")
        return pb.UpsertProductsResponse(upserted=len(done))

    async def RemoveProducts(self, request: pb.RemoveProductsRequest, context: Context) -> pb.RemoveProductsResponse:
        """Remove products."""
        requests.check_product_ids(request.product_ids)
        records = [Record(self._topics.products, product.encode(), None) for product in request.product_ids]
        done = await self._write("product_ids", records, context, advice="retry: removing again changes nothing")
        return pb.RemoveProductsResponse(removed=len(done))

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        """What is known of a user."""
        requests.check_user(request)
        self._refuse_unless_ready()
        histories, ids = self._knowledge.histories, self._knowledge.catalogue.ids
        row = histories.row(request.user_id)
        if row is None:
            raise Refusal(StatusCode.NOT_FOUND, f"user_id: no event of {request.user_id!r} was applied yet")
        return pb.GetUserResponse(
            user_id=request.user_id,
            history=[
                pb.HistoryEvent(
                    product_id=ids[product],
                    kind=cast("EventKind.ValueType", kind),
                    event_time_ms=event_time_ms,
                    # Kept in 32 bits: rounding takes off the digits that storing them added.
                    rating=round(float(f[RATING]) * 2.0 + 3.0, 6) if f[HAS_RATING] else 0.0,
                    sentiment=round(float(f[SENTIMENT]), 6),
                    reward=round(float(f[REWARD]), 6),
                )
                for product, kind, event_time_ms, f in histories.recent(row)
            ],
            events=histories.events(row),
            masked_products=len(np.unique(histories.masked(row))),
            position=self._knowledge.position(request.user_id),
            user_class=_class_of(histories, row),
        )

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """The published versions, newest first."""
        listing, serving = self._watcher.listing, self._watcher.serving
        return pb.ListModelsResponse(
            versions=listing.versions,
            serving_version=serving.announced.version_id if serving else "",
            pinned_version=listing.pinned,
        )

    def _refuse_unless_ready(self) -> None:
        if not self.ready:
            raise Refusal(
                StatusCode.UNAVAILABLE,
                "the log has not been read to its end yet: ask again when the health service says SERVING",
            )

    async def _wait_for(self, position: LogPosition, context: Context) -> None:
        seconds = _patience(context, self._settings.wait_seconds)
        try:
            await asyncio.wait_for(self._knowledge.reached(position.partition, position.offset), seconds)
        except TimeoutError:
            raise Refusal(
                StatusCode.DEADLINE_EXCEEDED,
                f"after_position: partition {position.partition} was not applied up to offset {position.offset} within "
                f"{seconds:.1f} s; allow a later deadline, or look whether features is behind",
            ) from None
        except Unavailable as error:
            raise Refusal(StatusCode.UNAVAILABLE, f"after_position: {error}") from error

    async def _write(
        self, field: str, records: Sequence[Record], context: Context, *, advice: str
    ) -> list[LogPosition]:
        try:
            return await self._writer.write(records, _patience(context, self._settings.record_seconds))
        except BadEvent as error:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"{field}{error}") from error
        except Unavailable as error:
            raise Refusal(StatusCode.UNAVAILABLE, f"{error}; {advice}") from error


def _class_of(histories: Histories, row: int) -> pb.UserClass.ValueType:
    """The user's class at the latest event time that was applied; one that lies ahead of the clock is not believed."""
    now_ms = min(histories.latest_ms, time.time_ns() // 1_000_000)
    return pb.UserClass.Value(f"USER_CLASS_{user_class(histories.events(row), histories.newest_ms(row), now_ms).name}")


def _patience(context: Context, most_seconds: float) -> float:
    """How long to wait so that the answer, whatever it is, is out before the caller gives up."""
    left: float | None = context.time_remaining()
    if left is None:
        return most_seconds
    return max(0.0, min(left - min(0.1, left / 10), 86_400.0))
