"""A shop that records views one at a time, whatever becomes of the brokers behind the service."""

from __future__ import annotations

import threading
from itertools import count

import grpc

from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, Event
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub

PAUSE_SECONDS = 0.02
CALL_SECONDS = 3.0


class Shop(threading.Thread):
    """Calls `RecordEvents` without a pause, with each view and its id again until that is acknowledged."""

    def __init__(self, address: str) -> None:
        super().__init__(name="shop", daemon=True)
        self._address = address
        self._stopping = threading.Event()
        self.acknowledged: dict[str, tuple[int, int]] = {}  # event_id → partition, offset

    def stop(self) -> None:
        """End once the view in hand is acknowledged."""
        self._stopping.set()
        self.join(120)
        assert not self.is_alive()

    def run(self) -> None:
        """Record until told to stop."""
        with grpc.insecure_channel(self._address) as channel:
            stub = RecommenderServiceStub(channel)
            for n in count():
                if self._stopping.wait(PAUSE_SECONDS):
                    return
                self._record(
                    stub, Event(event_id=f"view-{n}", kind=EVENT_KIND_VIEW, user_id=f"live-{n % 50}", product_id="p")
                )

    def _record(self, stub: RecommenderServiceStub, event: Event) -> None:
        while True:
            try:
                answer = stub.RecordEvents(pb.RecordEventsRequest(events=[event]), timeout=CALL_SECONDS)
            except grpc.RpcError:
                continue
            position = answer.events[0].position
            self.acknowledged[event.event_id] = (position.partition, position.offset)
            return
