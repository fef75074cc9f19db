"""The calls of `RecommenderService`, on the event loop: recommending, writing to the log, and looking things up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from secrets import token_hex
from typing import cast

import numpy as np
from grpc import StatusCode

from services.inference.answer import messages
from services.inference.answer.messages import NO_EVENTS, past_events
from services.inference.answer.recommend import SlateRequest, Viewer, choose, recommend, score, score_similar, viewer_of
from services.inference.calls import requests
from services.inference.calls.admission import AnswerTime, Context, Refusal, TurnQueue, WaitingRoom
from services.inference.calls.listing import CatalogueListing, last_of, token
from services.inference.calls.requests import check_wishes
from services.inference.knowledge.knowledge import Knowledge
from services.inference.log.model_watcher import ModelWatcher
from services.inference.log.writer import LogWriter, OutgoingRecord
from services.inference.metrics import InferenceMetrics
from services.inference.settings import InferenceSettings
from shared.log.limits import check
from shared.log.records import key_of
from shared.log.topics import Topics
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EventKind, LogPosition
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceServicer
from shared.process.errors import BadEvent, BadRequest, Unavailable
from shared.state.histories import EVENT_FEATURES, user_class

# ruff: noqa: N802, ARG002  # gRPC gives the names and the arguments

RATING, HAS_RATING, SENTIMENT, REWARD = map(EVENT_FEATURES.index, ("rating", "has_rating", "sentiment", "reward"))
NOBODY = Viewer(None, np.zeros(0, np.int32))


class Servicer(RecommenderServiceServicer):
    """Answers from `Knowledge` and the version that serves when the answer is computed.

    Where products are answered, the response is what goes over the wire: gRPC sends bytes as they are.

    `ready` is set once the log has been read to its end; before, half a history could recommend products to hide.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        topics: Topics,
        knowledge: Knowledge,
        watcher: ModelWatcher,
        writer: LogWriter,
        turns: TurnQueue,
        metrics: InferenceMetrics,
    ) -> None:
        self.ready = False
        self._settings = settings
        self._topics = topics
        self._knowledge = knowledge
        self._watcher = watcher
        self._writer = writer
        self._turns = turns
        self._metrics = metrics
        self._rng = np.random.default_rng(settings.seed) if settings.explore else None
        self._answer_time = AnswerTime()
        self._waiting_room = WaitingRoom(settings.calls_per_connection // 2)
        self._listing: CatalogueListing | None = None  # made by the first call that needs it

    async def Recommend(  # type: ignore[override]
        self, request: pb.RecommendRequest, context: Context
    ) -> bytes:
        """The best products for one user or session now."""
        wishes = requests.recommend_wishes(request, self._knowledge.positions.partitions)
        self._refuse_unless_ready()
        if request.HasField("after_position"):
            await self._wait_for(request.after_position, context)
        self._refuse_if_late(context)
        slate = SlateRequest(requests.wanted(wishes), wishes)
        return self._answer(request.user_id, request.session_product_ids, slate)

    async def BatchRecommend(
        self, request: pb.BatchRecommendRequest, context: Context
    ) -> AsyncGenerator[pb.BatchRecommendResponse, None]:
        """The same for many users; other calls take turns in between."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        slate = SlateRequest(requests.wanted(request.wishes), request.wishes)
        for user_id in request.user_ids:
            await self._turns.take()
            response = pb.RecommendResponse.FromString(self._answer(user_id, (), slate))
            yield pb.BatchRecommendResponse(user_id=user_id, response=response)
            await asyncio.sleep(0)

    async def Trending(  # type: ignore[override]
        self, request: pb.TrendingRequest, context: Context
    ) -> bytes:
        """What is popular now."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        self._refuse_if_late(context)
        knowledge, wishes = self._knowledge, requests.trending_wishes(request)
        wanted = SlateRequest(requests.wanted(wishes), wishes)
        slate, reasons = choose(score(None, None, wishes, knowledge, None), NOBODY, wanted, knowledge, None)
        return messages.written(slate, wishes, knowledge.catalogue, reasons)

    async def SimilarProducts(  # type: ignore[override]
        self, request: pb.SimilarProductsRequest, context: Context
    ) -> bytes:
        """The products that go with a product, for any user."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        self._refuse_if_late(context)
        row, knowledge, wishes = self._row_of(request.product_id), self._knowledge, request.wishes
        serving = self._watcher.serving
        version = serving.scorer if serving else None
        wanted = SlateRequest(requests.wanted(wishes), wishes)
        viewer = viewer_of("", [request.product_id], knowledge)
        assert viewer.window is not None, "the product has a row"  # noqa: S101
        scored = score_similar(row, version, viewer.window, wishes, knowledge)
        slate, reasons = choose(scored, viewer, wanted, knowledge, version)
        events = NO_EVENTS if reasons is None else past_events("", viewer, knowledge)
        response = pb.SimilarProductsResponse(model_version=version.manifest.version_id if version is not None else "")
        return response.SerializeToString() + messages.written(slate, wishes, knowledge.catalogue, reasons, events)

    def _answer(self, user_id: str, session: Sequence[str], wanted: SlateRequest) -> bytes:
        """A `RecommendResponse` on the wire."""
        start = time.perf_counter()
        knowledge, serving = self._knowledge, self._watcher.serving  # read once: a swap must not mix two versions
        viewer = viewer_of(user_id, session, knowledge)
        answer = recommend(
            viewer,
            wanted,
            knowledge=knowledge,
            version=serving.scorer if serving else None,
            rng=self._rng,
        )
        self._metrics.recommendations(answer.strategy, answer.fallback).inc()
        events = NO_EVENTS if answer.reasons is None else past_events(user_id, viewer, knowledge)
        response = pb.RecommendResponse(
            model_version=answer.model_version,
            strategy=answer.strategy,
            fallback=answer.fallback,
            position=knowledge.positions.newest_of(user_id) if user_id else None,
            request_id=token_hex(16),
        )
        products = messages.written(answer.slate, wanted.wishes, knowledge.catalogue, answer.reasons, events)
        self._answer_time.took(time.perf_counter() - start)
        return response.SerializeToString() + products

    async def RecordEvents(self, request: pb.RecordEventsRequest, context: Context) -> pb.RecordEventsResponse:
        """Append events to the log."""
        events = requests.completed_events(request, time.time_ns() // 1_000_000)
        records = [OutgoingRecord(self._topics.events, key_of(e), e.SerializeToString()) for e in events]
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
        check(request)
        records = [
            OutgoingRecord(self._topics.products, p.product_id.encode(), p.SerializeToString())
            for p in request.products
        ]
        done = await self._write("products", records, context, advice="retry: the same products change nothing")
        return pb.UpsertProductsResponse(upserted=len(done))

    async def RemoveProducts(self, request: pb.RemoveProductsRequest, context: Context) -> pb.RemoveProductsResponse:
        """Remove products."""
        check(request)
        records = [OutgoingRecord(self._topics.products, product.encode(), None) for product in request.product_ids]
        done = await self._write("product_ids", records, context, advice="retry: removing again changes nothing")
        return pb.RemoveProductsResponse(removed=len(done))

    async def _write(
        self, field: str, records: Sequence[OutgoingRecord], context: Context, *, advice: str
    ) -> list[LogPosition]:
        try:
            with self._waiting_room.seat(context, "the broker"):
                return await self._writer.write(records, patience(context, self._settings.record_seconds))
        except BadEvent as error:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"{field}{error}") from error
        except Unavailable as error:
            raise Refusal(StatusCode.UNAVAILABLE, f"{error}; {advice}") from error

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        """A user's history."""
        check(request)
        self._refuse_unless_ready()
        histories, ids = self._knowledge.histories, self._knowledge.catalogue.ids
        row = histories.row(request.user_id)
        if row is None:
            raise Refusal(StatusCode.NOT_FOUND, f"user_id: no event of {request.user_id!r} has been applied yet")
        return pb.GetUserResponse(
            user_id=request.user_id,
            history=[
                pb.HistoryEvent(
                    product_id=ids[product],
                    kind=cast("EventKind.ValueType", kind),
                    event_time_ms=event_time_ms,
                    # Stored in 32 bits: rounding removes the digits that this added.
                    rating=round(float(f[RATING]) * 2.0 + 3.0, 6) if f[HAS_RATING] else 0.0,
                    sentiment=round(float(f[SENTIMENT]), 6),
                    reward=round(float(f[REWARD]), 6),
                )
                for product, kind, event_time_ms, f in histories.recent(row)
            ],
            events=histories.events(row),
            masked_products=len(np.unique(histories.masked(row))),
            position=self._knowledge.positions.newest_of(request.user_id),
            user_class=self._class_of(row),
        )

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        """The users, in the order of their first events."""
        size = requests.page_size(request)
        self._refuse_unless_ready()
        histories = self._knowledge.histories
        last = last_of(request.page_token, b"users")
        before = histories.row(last) if last else -1
        if before is None:
            raise BadRequest("page_token", "names an unknown user; leave it empty for the first page")
        rows = range(before + 1, min(before + 1 + size, len(histories.users)))
        return pb.ListUsersResponse(
            users=[
                pb.KnownUser(
                    user_id=histories.users[row],
                    events=histories.events(row),
                    newest_ms=histories.newest_ms(row),
                    user_class=self._class_of(row),
                )
                for row in rows
            ],
            next_page_token=token(histories.users[rows[-1]] if rows.stop < len(histories.users) else None, b"users"),
            total=len(histories.users),
        )

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        """A product and its popularity."""
        check(request)
        self._refuse_unless_ready()
        row = self._row_of(request.product_id)
        catalogue, shares = self._knowledge.catalogue, self._knowledge.shares()
        hidden = catalogue.hidden(len(shares))
        return pb.GetProductResponse(
            product=catalogue.product(row),
            events=int(catalogue.events(len(shares))[row]),
            share=float(shares[row]),
            popularity_rank=0 if hidden[row] else 1 + int(np.count_nonzero(shares[~hidden] > shares[row])),
            first_event_ms=int(catalogue.first_event_ms(len(shares))[row]),
        )

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        """The catalogue, in the order of the products' ids."""
        size = requests.page_size(request)
        self._refuse_unless_ready()
        listed = request.query.encode() + b"\0" + request.filter.SerializeToString(deterministic=True)
        after = last_of(request.page_token, listed)
        knowledge, catalogue = self._knowledge, self._knowledge.catalogue
        rows = len(catalogue)
        if request.HasField("filter"):
            met = knowledge.masks.met(request.filter, rows, knowledge.now_ms()).copy()
        else:
            met = np.ones(rows, np.bool_)
        if self._listing is None:
            self._listing = CatalogueListing(catalogue)
        page = await self._listing.page(after, size, request.query, met)
        return pb.ListProductsResponse(
            products=[catalogue.product(row) for row in page.rows],
            next_page_token=token(page.last, listed),
            total=page.total,
        )

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """The published versions, newest first."""
        listing, serving = self._watcher.listing, self._watcher.serving
        return pb.ListModelsResponse(
            versions=listing.versions,
            serving_version=serving.announced.version_id if serving else "",
            pinned_version=listing.pinned,
        )

    def _class_of(self, row: int) -> pb.UserClass.ValueType:
        histories = self._knowledge.histories
        known_as = user_class(histories.events(row), histories.newest_ms(row), self._knowledge.now_ms())
        return pb.UserClass.Value(f"USER_CLASS_{known_as.name}")

    def _row_of(self, product_id: str) -> int:
        """The row of a product in the catalogue.

        Raises:
            Refusal: it has none.
        """
        row = self._knowledge.catalogue.find(product_id)
        if row is None or row in self._knowledge.catalogue.removed:
            raise Refusal(StatusCode.NOT_FOUND, f"product_id: {product_id!r} is not in the catalogue")
        return row

    def _refuse_unless_ready(self) -> None:
        if not self.ready:
            raise Refusal(
                StatusCode.UNAVAILABLE,
                "the log has not been read to its end yet: try again when the health service says SERVING",
            )

    def _refuse_if_late(self, context: Context) -> None:
        """An answer after its deadline would only take time from others."""
        left: float | None = context.time_remaining()
        if self._answer_time.too_late(left):
            raise Refusal(
                StatusCode.DEADLINE_EXCEEDED,
                f"deadline: {max(0.0, left or 0.0) * 1000:.1f} ms are left, but an answer takes about "
                f"{self._answer_time.seconds * 1000:.1f} ms: set a later one",
            )

    async def _wait_for(self, position: LogPosition, context: Context) -> None:
        if self._knowledge.positions.has_reached(position.partition, position.offset):
            return
        seconds = patience(context, self._settings.wait_seconds)
        try:
            with self._waiting_room.seat(context, "after_position"):
                await asyncio.wait_for(self._knowledge.positions.reached(position.partition, position.offset), seconds)
        except TimeoutError:
            raise Refusal(
                StatusCode.DEADLINE_EXCEEDED,
                f"after_position: partition {position.partition} was not applied up to offset {position.offset} within "
                f"{seconds:.1f} s; set a later deadline, or check whether features lags behind",
            ) from None
        except Unavailable as error:
            raise Refusal(StatusCode.UNAVAILABLE, f"after_position: {error}") from error


def patience(context: Context, most_seconds: float) -> float:
    """How long to wait, so that any answer is sent before the deadline."""
    left: float | None = context.time_remaining()
    if left is None:
        return most_seconds
    return max(0.0, min(left - min(0.1, left / 10), 86_400.0))
