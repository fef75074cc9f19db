"""The calls of `RecommenderService`, on the event loop: those that recommend, and with them all others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import cast
from uuid import uuid4

import numpy as np
from grpc import StatusCode

from services.inference.answer import messages
from services.inference.answer.messages import past_events
from services.inference.answer.recommend import Asked, Viewer, choose, recommend, score, score_similar, viewer_of
from services.inference.calls import requests
from services.inference.calls.admission import Context, Pace, Refusal, Turns, WaitingRoom
from services.inference.calls.listing import Listing, last_of, token
from services.inference.calls.requests import check_wishes
from services.inference.knowledge.knowledge import Knowledge
from services.inference.log.model_watcher import ModelWatcher
from services.inference.log.writer import LogWriter, Record
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

# What the calls of `RecommenderService` have in common.


class Calls:
    """What they answer from, and when they refuse to.

    `ready` is set by whoever follows the log; before, half a history could recommend what must not be recommended.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        topics: Topics,
        knowledge: Knowledge,
        watcher: ModelWatcher,
        writer: LogWriter,
        turns: Turns,
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
        self._pace = Pace()
        self._waiting = WaitingRoom(settings.calls_per_connection // 2)

    def _refuse_unless_ready(self) -> None:
        if not self.ready:
            raise Refusal(
                StatusCode.UNAVAILABLE,
                "the log has not been read to its end yet: ask again when the health service says SERVING",
            )

    def _refuse_if_late(self, context: Context) -> None:
        """An answer that nobody waits for any longer takes time from the others."""
        left: float | None = context.time_remaining()
        if self._pace.too_late(left):
            raise Refusal(
                StatusCode.DEADLINE_EXCEEDED,
                f"deadline: {max(0.0, left or 0.0) * 1000:.1f} ms are left, and an answer takes about "
                f"{self._pace.seconds * 1000:.1f} ms: allow a later one",
            )

    async def _wait_for(self, position: LogPosition, context: Context) -> None:
        if self._knowledge.positions.has_reached(position.partition, position.offset):
            return
        seconds = patience(context, self._settings.wait_seconds)
        try:
            with self._waiting.seat(context, "after_position"):
                await asyncio.wait_for(self._knowledge.positions.reached(position.partition, position.offset), seconds)
        except TimeoutError:
            raise Refusal(
                StatusCode.DEADLINE_EXCEEDED,
                f"after_position: partition {position.partition} was not applied up to offset {position.offset} within "
                f"{seconds:.1f} s; allow a later deadline, or look whether features is behind",
            ) from None
        except Unavailable as error:
            raise Refusal(StatusCode.UNAVAILABLE, f"after_position: {error}") from error


def patience(context: Context, most_seconds: float) -> float:
    """How long to wait so that the answer, whatever it is, is out before the caller gives up."""
    left: float | None = context.time_remaining()
    if left is None:
        return most_seconds
    return max(0.0, min(left - min(0.1, left / 10), 86_400.0))


# The calls that write to the log.

# ruff: noqa: N802  # gRPC gives the names


class LogCalls(Calls):
    """Each answers once the broker has acknowledged all of its records."""

    async def RecordEvents(self, request: pb.RecordEventsRequest, context: Context) -> pb.RecordEventsResponse:
        """Append events to the log."""
        events = requests.completed_events(request, time.time_ns() // 1_000_000)
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
        check(request)
        records = [
            Record(self._topics.products, p.product_id.encode(), p.SerializeToString()) for p in request.products
        ]
        done = await self._write("products", records, context, advice="retry: the same products change nothing")
        return pb.UpsertProductsResponse(upserted=len(done))

    async def RemoveProducts(self, request: pb.RemoveProductsRequest, context: Context) -> pb.RemoveProductsResponse:
        """Remove products."""
        check(request)
        records = [Record(self._topics.products, product.encode(), None) for product in request.product_ids]
        done = await self._write("product_ids", records, context, advice="retry: removing again changes nothing")
        return pb.RemoveProductsResponse(removed=len(done))

    async def _write(
        self, field: str, records: Sequence[Record], context: Context, *, advice: str
    ) -> list[LogPosition]:
        try:
            with self._waiting.seat(context, "the broker"):
                return await self._writer.write(records, patience(context, self._settings.record_seconds))
        except BadEvent as error:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"{field}{error}") from error
        except Unavailable as error:
            raise Refusal(StatusCode.UNAVAILABLE, f"{error}; {advice}") from error


# The calls that say what is known.

# ruff: noqa: N802, ARG002  # gRPC gives the names and the arguments


RATING, HAS_RATING, SENTIMENT, REWARD = map(EVENT_FEATURES.index, ("rating", "has_rating", "sentiment", "reward"))


class LookUpCalls(Calls):
    """Users, products, model versions."""

    _listing: Listing | None = None

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        """What is known of a user."""
        check(request)
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
            position=self._knowledge.positions.newest_of(request.user_id),
            user_class=self._class_of(row),
        )

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        """The users, in the order in which they became known."""
        size = requests.page_size(request)
        self._refuse_unless_ready()
        histories = self._knowledge.histories
        last = last_of(request.page_token, b"users")
        before = histories.row(last) if last else -1
        if before is None:
            raise BadRequest("page_token", "names a user of whom nothing is known; leave it empty for the first page")
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
        """What is known of a product."""
        check(request)
        self._refuse_unless_ready()
        row = self.known_row(request.product_id)
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
        asked = request.query.encode() + b"\0" + request.filter.SerializeToString(deterministic=True)
        after = last_of(request.page_token, asked)
        knowledge, catalogue = self._knowledge, self._knowledge.catalogue
        rows = len(catalogue)
        if request.HasField("filter"):
            met = knowledge.masks.met(request.filter, rows, knowledge.now_ms()).copy()
        else:
            met = np.ones(rows, np.bool_)
        if self._listing is None:
            self._listing = Listing(catalogue)
        page = await self._listing.page(after, size, request.query, met)
        return pb.ListProductsResponse(
            products=[catalogue.product(row) for row in page.rows],
            next_page_token=token(page.last, asked),
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

    def known_row(self, product_id: str) -> int:
        """The row of a product of the catalogue.

        Raises:
            Refusal: there is none.
        """
        row = self._knowledge.catalogue.find(product_id)
        if row is None or row in self._knowledge.catalogue.removed:
            raise Refusal(StatusCode.NOT_FOUND, f"product_id: {product_id!r} is not in the catalogue")
        return row

    def _class_of(self, row: int) -> pb.UserClass.ValueType:
        histories = self._knowledge.histories
        found = user_class(histories.events(row), histories.newest_ms(row), self._knowledge.now_ms())
        return pb.UserClass.Value(f"USER_CLASS_{found.name}")


# ruff: noqa: N802, ARG002  # gRPC gives the names and the arguments


NOBODY = Viewer(None, np.zeros(0, np.int32))


class Servicer(LogCalls, LookUpCalls, RecommenderServiceServicer):
    """Answers from `Knowledge` and the version that is served when the answer is made."""

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        """The best products for one user or session now."""
        wishes = requests.recommend_wishes(request, self._knowledge.positions.partitions)
        self._refuse_unless_ready()
        if request.HasField("after_position"):
            await self._wait_for(request.after_position, context)
        self._refuse_if_late(context)
        asked = Asked(requests.wanted(wishes), wishes)
        return self._answer(request.user_id, request.session_product_ids, asked)

    async def BatchRecommend(
        self, request: pb.BatchRecommendRequest, context: Context
    ) -> AsyncGenerator[pb.BatchRecommendResponse, None]:
        """The same for many users, other calls answered in between."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        asked = Asked(requests.wanted(request.wishes), request.wishes)
        for user_id in request.user_ids:
            await self._turns.take()
            yield pb.BatchRecommendResponse(user_id=user_id, response=self._answer(user_id, (), asked))
            await asyncio.sleep(0)

    async def Trending(self, request: pb.TrendingRequest, context: Context) -> pb.TrendingResponse:
        """What is popular now."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        self._refuse_if_late(context)
        knowledge, wishes = self._knowledge, requests.trending_wishes(request)
        asked = Asked(requests.wanted(wishes), wishes)
        places, reasons = choose(score(None, None, wishes, knowledge, None), NOBODY, asked, knowledge, None)
        return pb.TrendingResponse(products=messages.recommended(places, wishes, knowledge.catalogue, reasons))

    async def SimilarProducts(self, request: pb.SimilarProductsRequest, context: Context) -> pb.SimilarProductsResponse:
        """What goes with a product, whoever asks."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        self._refuse_if_late(context)
        row, knowledge, wishes = self.known_row(request.product_id), self._knowledge, request.wishes
        serving = self._watcher.serving
        version, asked = serving.scorer if serving else None, Asked(requests.wanted(wishes), wishes)
        viewer = viewer_of("", [request.product_id], knowledge)
        assert viewer.window is not None, "the product has a row"  # noqa: S101
        scored = score_similar(row, version, viewer.window, wishes, knowledge)
        places, reasons = choose(scored, viewer, asked, knowledge, version)
        events = past_events("", viewer, knowledge) if reasons else []
        return pb.SimilarProductsResponse(
            products=messages.recommended(places, wishes, knowledge.catalogue, reasons, events),
            model_version=version.manifest.version_id if version is not None else "",
        )

    def _answer(self, user_id: str, session: Sequence[str], asked: Asked) -> pb.RecommendResponse:
        start = time.perf_counter()
        knowledge, serving = self._knowledge, self._watcher.serving  # once: a swap must not mix two versions
        viewer = viewer_of(user_id, session, knowledge)
        answer = recommend(
            viewer,
            asked,
            knowledge=knowledge,
            version=serving.scorer if serving else None,
            rng=self._rng,
        )
        self._metrics.recommendations(answer.strategy, answer.fallback).inc()
        events = past_events(user_id, viewer, knowledge) if answer.reasons else []
        response = pb.RecommendResponse(
            products=messages.recommended(answer.places, asked.wishes, knowledge.catalogue, answer.reasons, events),
            model_version=answer.model_version,
            strategy=answer.strategy,
            fallback=answer.fallback,
            position=knowledge.positions.newest_of(user_id) if user_id else None,
            request_id=uuid4().hex,
        )
        self._pace.took(time.perf_counter() - start)
        return response
