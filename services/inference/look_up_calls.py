"""The calls that say what is known."""

# ruff: noqa: N802, ARG002  # gRPC gives the names and the arguments

from __future__ import annotations

from typing import cast

import numpy as np
from grpc import StatusCode

from services.inference import requests
from services.inference.calls import Calls
from services.inference.listing import Listing, last_of, token
from services.inference.refusals import Context, Refusal
from shared.errors import BadRequest
from shared.event_features import EVENT_FEATURES
from shared.log.limits import check
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EventKind
from shared.user_class import user_class

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
