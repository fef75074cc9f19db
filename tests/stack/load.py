"""A shop that calls the stack from outside without a pause, through whatever is killed."""

from __future__ import annotations

import threading
import time
import urllib.request
from itertools import count

import grpc

from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, Event
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub

PAUSE_SECONDS = 0.02


class Load(threading.Thread):
    """Records views one at a time, each until it is acknowledged; asks for recommendations in between, by both ways."""

    def __init__(self, address: str, page_url: str, products: list[str]) -> None:
        super().__init__(name="load", daemon=True)
        self._address = address
        self._page_url = page_url
        self._products = products
        self._stopping = threading.Event()
        self.recorded = 0
        self.retried = 0
        self.recommended = 0
        self.refused = 0

    def stop(self) -> None:
        """End once the view in hand is acknowledged."""
        self._stopping.set()
        self.join(120)
        assert not self.is_alive()

    def run(self) -> None:
        """Call until stopped."""
        # A channel each: the kernel spreads connections, not calls, over the processes.
        channels = [grpc.insecure_channel(self._address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)]
        shops = [RecommenderServiceStub(channel) for channel in channels]
        for number in count():
            if self._stopping.is_set():
                break
            shop = shops[number % len(shops)]
            user, product = f"live-{number % 50}", self._products[number % len(self._products)]
            self._record(shop, Event(event_id=f"view-{number}", kind=EVENT_KIND_VIEW, user_id=user, product_id=product))
            try:
                shop.Recommend(pb.RecommendRequest(user_id=user, wishes=pb.Wishes(count=10)), timeout=2)
                self.recommended += 1
            except grpc.RpcError:
                self.refused += 1
            self._ask_over_http(user)
            time.sleep(PAUSE_SECONDS)
        for channel in channels:
            channel.close()

    def _ask_over_http(self, user: str) -> None:
        """The same from the gateway."""
        try:
            with urllib.request.urlopen(f"{self._page_url}v1/users/{user}/recommendations", timeout=2) as answer:  # noqa: S310
                answer.read()
                self.recommended += 1
        except OSError:  # 503 and the like, too
            self.refused += 1

    def _record(self, shop: RecommenderServiceStub, event: Event) -> None:
        """Record one event, again and again with its id until the broker has it."""
        while True:
            try:
                shop.RecordEvents(pb.RecordEventsRequest(events=[event]), timeout=5)
            except grpc.RpcError:
                self.retried += 1
                time.sleep(0.1)
            else:
                self.recorded += 1
                return
