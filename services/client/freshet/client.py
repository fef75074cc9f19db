# Written by `make client` from async_client.py: change that one.
"""The client: `AsyncClient` for asyncio, and `Client`, which `make client` writes from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from random import Random
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from freshet import messages
from freshet.answers import (
    KnownProduct,
    KnownUser,
    Models,
    Position,
    Recommendation,
    Recommended,
    Recorded,
    User,
)
from freshet.batches import PendingUsers, batches, id_batches
from freshet.calling import ADDRESS, TIMEOUT_SECONDS, Attempts, Retries
from freshet.errors import failure_of
from freshet.events import Event, Product
from freshet.filters import Filter
from freshet.messages import Wishes, wishes_message
from freshet.recorder import Recorder
from freshet.runtimes import channel, sleep
from freshet.waiting import Limits, OnFailure
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as calls
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub


class Client:
    """Calls the recommender. Any number of threads may share a `Client`; an `AsyncClient` belongs to one event loop.

    A call that can't be answered now is tried again until its deadline; every call may be, since events carry their ids
    and products are replaced whole. Make it after a server forks its workers, not before: gRPC's connections don't
    survive a fork.

    Args:
        address: `host:port`.
        credentials: for TLS, as `grpc.ssl_channel_credentials()` gives them; without, nothing is encrypted.
        timeout: deadline of each call that names none, with all its attempts, seconds.
        retries: the pauses between attempts.
        options: gRPC's channel arguments beside, or instead of, this client's own.
    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = Retries(),
        options: Iterable[tuple[str, Any]] = (),
    ) -> None:
        self._channel = channel(address, credentials, options)
        self._stub = RecommenderServiceStub(self._channel)
        self._timeout = timeout
        self._retries = retries
        self._rng = Random()  # spreads callers, hides nothing

    def recommend(
        self,
        user: str | None,
        *,
        session: Iterable[str] = (),
        after: Position | None = None,
        timeout: float | None = None,
        **wishes: Unpack[Wishes],
    ) -> Recommendation:
        """The best products for a user, or for a guest (None or empty), now.

        Args:
            session: products viewed lately, oldest first, that are not in the log (yet); a guest without any gets
                what is trending.
            after: answer from a state that includes this record; waits for it until the deadline.
            wishes: what the answer should be like.

        Raises:
            FreshetError: there is no answer.
        """
        request = messages.recommend_request(user, session, after, wishes)
        return messages.recommendation(self._call(self._stub.Recommend, request, self._until(timeout)))

    def recommend_many(
        self, users: Iterable[str], *, timeout: float | None = None, **wishes: Unpack[Wishes]
    ) -> Iterator[tuple[str, Recommendation]]:
        """The best products for many users, one after the other as they are ready.

        A call that breaks off is resumed: users that were answered are not requested again.

        Args:
            timeout: seconds for each thousand users.

        Raises:
            FreshetError: the answers broke off, and the call could not be resumed in time.
        """
        for batch in id_batches(users):
            pending = PendingUsers(batch, wishes_message(wishes))
            attempts = Attempts(self._retries, self._rng, self._until(timeout))
            while pending.left:
                try:
                    answers = self._stub.BatchRecommend(pending.request(), timeout=attempts.begin(time.monotonic()))
                    for answer in answers:
                        yield pending.take(answer)
                except grpc.RpcError as error:
                    pause = attempts.pause_after(failure_of(error), time.monotonic())
                    sleep(pause)

    def similar(
        self, product_id: str, *, timeout: float | None = None, **wishes: Unpack[Wishes]
    ) -> tuple[Recommended, ...]:
        """Products that go with a product, for anybody.

        Raises:
            NotFound: the product is not known.
            FreshetError: there is no answer.
        """
        request = calls.SimilarProductsRequest(product_id=product_id, wishes=wishes_message(wishes))
        answer = self._call(self._stub.SimilarProducts, request, self._until(timeout))
        return messages.recommended(answer.products)

    def trending(
        self, category: str = "", *, timeout: float | None = None, **wishes: Unpack[Wishes]
    ) -> tuple[Recommended, ...]:
        """What is popular now, in the whole shop or in a category.

        Raises:
            FreshetError: there is no answer.
        """
        request = calls.TrendingRequest(category=category, wishes=wishes_message(wishes))
        answer = self._call(self._stub.Trending, request, self._until(timeout))
        return messages.recommended(answer.products)

    def record(self, events: Iterable[Event], *, timeout: float | None = None) -> list[Recorded]:
        """Append events to the log, in their order; on return the broker has acknowledged all of them.

        Many events take several calls, one after another. After an error some may be stored; sent again, the same
        events count once.

        Raises:
            FreshetError: not all were recorded.
        """
        until = self._until(timeout)
        recorded: list[Recorded] = []
        for batch in batches(map(messages.event_message, events)):
            recorded += messages.recorded(self._record(batch, until))
        return recorded

    def record_one(self, event: Event, *, timeout: float | None = None) -> Recorded:
        """Append one event to the log.

        Raises:
            FreshetError: it was not recorded, as far as is known.
        """
        (recorded,) = self.record([event], timeout=timeout)
        return recorded

    def recorder(
        self,
        *,
        limits: Limits = Limits(),
        on_failure: OnFailure | None = None,
    ) -> Recorder:
        """A context manager that records events in batches, in the background, until it is closed."""
        return Recorder(self._record_within, limits=limits, on_failure=on_failure)

    def upsert_products(self, products: Iterable[Product], *, timeout: float | None = None) -> int:
        """Add or replace whole products; returns how many the broker has acknowledged.

        Raises:
            FreshetError: it did not acknowledge all.
        """
        until = self._until(timeout)
        upserted = 0
        for batch in batches(map(messages.product_message, products)):
            request = calls.UpsertProductsRequest(products=batch)
            answer = self._call(self._stub.UpsertProducts, request, until)
            upserted += answer.upserted
        return upserted

    def remove_products(self, product_ids: Iterable[str], *, timeout: float | None = None) -> int:
        """Remove products: they are not recommended until upserted again. Returns how many removals were acknowledged.

        Raises:
            FreshetError: the broker did not acknowledge all.
        """
        until = self._until(timeout)
        removed = 0
        for ids in id_batches(product_ids):
            request = calls.RemoveProductsRequest(product_ids=ids)
            answer = self._call(self._stub.RemoveProducts, request, until)
            removed += answer.removed
        return removed

    def products(
        self, query: str = "", *, filter: Filter | None = None, timeout: float | None = None
    ) -> Iterator[Product]:
        """The catalogue, page by page as it is read, in the order of the products' ids.

        Args:
            query: words in the title, brand, categories or id.
            timeout: seconds for each page.

        Raises:
            FreshetError: there is no answer.
        """
        request = calls.ListProductsRequest(query=query, filter=None if filter is None else filter.message)
        for page in self._pages(self._stub.ListProducts, request, timeout):
            for message in page.products:
                yield messages.product(message)

    def product(self, product_id: str, *, timeout: float | None = None) -> KnownProduct:
        """What is known of a product.

        Raises:
            NotFound: it is not in the catalogue.
            FreshetError: there is no answer.
        """
        request = calls.GetProductRequest(product_id=product_id)
        return messages.known_product(self._call(self._stub.GetProduct, request, self._until(timeout)))

    def users(self, *, timeout: float | None = None) -> Iterator[KnownUser]:
        """The users of whom events were applied, page by page as they are read.

        Args:
            timeout: for each page, seconds.

        Raises:
            FreshetError: there is no answer.
        """
        request = calls.ListUsersRequest()
        for page in self._pages(self._stub.ListUsers, request, timeout):
            for message in page.users:
                yield messages.known_user(message)

    def user(self, user_id: str, *, timeout: float | None = None) -> User:
        """What is known of a user.

        Raises:
            NotFound: no event of the user was applied yet.
            FreshetError: there is no answer.
        """
        request = calls.GetUserRequest(user_id=user_id)
        return messages.user(self._call(self._stub.GetUser, request, self._until(timeout)))

    def models(self, *, timeout: float | None = None) -> Models:
        """The published model versions, and which one answers now.

        Raises:
            FreshetError: there is no answer.
        """
        return messages.models(self._call(self._stub.ListModels, calls.ListModelsRequest(), self._until(timeout)))

    def close(self) -> None:
        """Close the connection; calls in flight end."""
        self._channel.close()

    def _until(self, timeout: float | None) -> float:
        return time.monotonic() + (self._timeout if timeout is None else timeout)

    def _record(self, batch: list[pb.Event], until: float) -> calls.RecordEventsResponse:
        answer: calls.RecordEventsResponse = self._call(
            self._stub.RecordEvents, calls.RecordEventsRequest(events=batch), until
        )
        return answer

    def _record_within(self, batch: list[pb.Event], seconds: float) -> None:
        self._record(batch, self._until(seconds))

    def _pages(self, method: Callable[..., Any], request: Any, timeout: float | None) -> Iterator[Any]:
        while True:
            page = self._call(method, request, self._until(timeout))
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _call(self, method: Callable[..., Any], request: Any, until: float) -> Any:
        attempts = Attempts(self._retries, self._rng, until)
        while True:
            try:
                return method(request, timeout=attempts.begin(time.monotonic()))
            except grpc.RpcError as error:
                pause = attempts.pause_after(failure_of(error), time.monotonic())
            sleep(pause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
