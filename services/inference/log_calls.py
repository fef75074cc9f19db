"""The calls that write to the log."""

# ruff: noqa: N802  # gRPC gives the names

from __future__ import annotations

import time
from collections.abc import Sequence

from grpc import StatusCode

from services.inference import requests
from services.inference.calls import Calls, patience
from services.inference.log_writer import Record
from services.inference.refusals import Context, Refusal
from shared.errors import BadEvent, Unavailable
from shared.events import key_of
from shared.log.limits import check
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import LogPosition


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
