"""Simulated users on the running system: each asks for a recommendation and answers it with events, again and again.

`Crowd` makes the calls and keeps the pace; `Visitor`, one user, decides what to do next and is pure.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, Counter

from services.lab.simulator.simulator import Simulator
from services.lab.simulator.visits import Visits
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.errors import Unusable
from shared.process.terminal import Stopped, Watch

COUNTED = ("visits", "recommendations", "empty", "clicks", "purchases", "events", "unanswered")

_MOST_WORKERS = 16  # calls under way at a time: they wait for the system, not for this machine
_CALL_SECONDS = 10.0
_RETRY_SECONDS = 0.5  # before a call is tried again
_PRODUCTS_A_CALL = 1_000
# The system is away or slow: try again. Any other status is a mistake of ours, and no repetition makes it right.
_AWAY = (
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)  # fmt: skip
_NOBODY_WANTS = -1e6  # log-popularity of a product that the simulator does not know

log = logging.getLogger("replay")


class CrowdMetrics:
    """The metrics of one crowd, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.crowd = Counter(
            "freshet_replay_crowd_total",
            "Of simulated users: visits made, recommendations seen, empty ones among them, clicks, purchases, events "
            "recorded, and calls that were not answered and made again.",
            ["what"],
            registry=registry,
        )
        for what in COUNTED:
            self.crowd.labels(what)


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """How many users come, how fast and for how long."""

    users: int  # at a time
    slate: int  # products a recommendation
    rate: float | None  # recommendations a second, of all users together; None: as fast as answers come
    visits: int | None  # in all; None: until stopped
    seed: int
    with_products: bool  # upsert the simulator's products first


class Crowd:
    """The users of a simulator, calling one address."""

    def __init__(
        self,
        simulator: Simulator,
        address: str,
        plan: CrowdPlan,
        metrics: CrowdMetrics,
        stop: threading.Event,
        watch: Watch,
    ) -> None:
        self._simulator = simulator
        self._address = address
        self._plan = plan
        self._metrics = metrics
        self._stop = stop
        self._watch = watch
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._ended = threading.Event()  # every visit was made, or a worker failed
        self._requested = 0  # recommendations that were requested or are due

    def run(self) -> None:
        """Let the users come until all visits were made, or until `stop`.

        Raises:
            Unusable: the system refuses a request.
        """
        plan = self._plan
        world, run = World.of(self._simulator), uuid.uuid4().hex[:12]
        chosen = np.random.default_rng(plan.seed).permutation(len(self._simulator.user_ids))[: plan.users]
        visitors = [Visitor(world, int(user), plan.seed + n, run) for n, user in enumerate(chosen)]
        if len(visitors) < plan.users:
            log.warning("the simulator knows only %s users; all of them come", f"{len(visitors):,}")
        workers = min(_MOST_WORKERS, len(visitors))
        started = time.monotonic()
        with grpc.insecure_channel(self._address) as channel:
            stub = RecommenderServiceStub(channel)
            if plan.with_products:
                self._upsert_products(stub)
            with ThreadPoolExecutor(workers) as pool:
                lives = [pool.submit(self._live, stub, visitors[n::workers], started) for n in range(workers)]
                try:
                    while not all(life.done() for life in lives):
                        self._watch.look(lambda: self._summary(time.monotonic() - started))
                        if any(life.done() and life.exception() for life in lives):
                            break
                        self._stop.wait(0.1)
                except Stopped:
                    pass
                finally:
                    self._ended.set()
            self._watch.clear()
            for life in lives:
                life.result()
        log.info("%s: %s", "stopped" if self._stop.is_set() else "done", self._summary(time.monotonic() - started))

    def _live(self, stub: Any, visitors: list[Visitor], started: float) -> None:
        """The life of some of the users: each in turn sees one slate."""
        positions: dict[str, ev.LogPosition] = {}
        here: set[str] = set()
        while not self._is_over():
            for visitor in visitors:
                user = visitor.user_id
                if user not in here:
                    if not self._may_come():
                        self._ended.wait(0.05)
                        if self._is_over():
                            return
                        continue
                    here.add(user)
                    self._record(stub, visitor.arrive(), positions)
                self._pace(started)
                if self._is_over():
                    return
                answer = self._call(
                    stub.Recommend,
                    pb.RecommendRequest(
                        user_id=user,
                        wishes=pb.Wishes(count=self._plan.slate),
                        after_position=positions.get(user),
                    ),
                )
                if answer is None:
                    return
                reaction = visitor.see([product.product_id for product in answer.products], answer.request_id)
                self._count("recommendations")
                if not answer.products:
                    self._count("empty")
                self._record(stub, reaction.events, positions)
                if reaction.clicked:
                    self._count("clicks")
                if reaction.purchased:
                    self._count("purchases")
                if reaction.left:
                    here.remove(user)
                    self._count("visits")

    def _may_come(self) -> bool:
        """Whether another visit is to begin; it is counted then."""
        with self._lock:
            if self._plan.visits is not None and self._counts["arrivals"] >= self._plan.visits:
                return False
            self._counts["arrivals"] += 1
            return True

    def _is_over(self) -> bool:
        with self._lock:
            made = self._plan.visits is not None and self._counts["visits"] >= self._plan.visits
        return made or self._stop.is_set() or self._ended.is_set()

    def _pace(self, started: float) -> None:
        """Wait until the next recommendation is due."""
        if self._plan.rate is None:
            return
        with self._lock:
            due = started + self._requested / self._plan.rate
            now = time.monotonic()
            # What the system could not take in time is not made up for: users don't click faster after an outage.
            self._requested = max(self._requested, int((now - started) * self._plan.rate) - 1) + 1
        while (left := due - time.monotonic()) > 0 and not self._is_over():
            self._stop.wait(min(left, 0.2))

    def _record(self, stub: Any, events: list[ev.Event], positions: dict[str, ev.LogPosition]) -> None:
        if not events:
            return
        recorded = self._call(stub.RecordEvents, pb.RecordEventsRequest(events=events))
        if recorded is not None:
            positions[events[-1].user_id] = recorded.events[-1].position
            self._count("events", len(events))

    def _upsert_products(self, stub: Any) -> None:
        s = self._simulator
        products = [ev.Product(product_id=product) for product in s.product_ids]
        for product, price in zip(products, s.prices, strict=True):
            if np.isfinite(price):
                product.price = float(price)
        for first in range(0, len(products), _PRODUCTS_A_CALL):
            self._call(
                stub.UpsertProducts, pb.UpsertProductsRequest(products=products[first : first + _PRODUCTS_A_CALL])
            )
        log.info("%s products upserted", f"{len(products):,}")

    def _call(self, method: Any, request: Any) -> Any:
        """The answer, tried for until it comes; None once the crowd is to end.

        Raises:
            Unusable: the request is refused.
        """
        is_reported = False
        while not (self._stop.is_set() or self._ended.is_set()):
            try:
                return method(request, timeout=_CALL_SECONDS, wait_for_ready=False)
            except grpc.RpcError as error:
                if error.code() not in _AWAY:
                    raise Unusable(f"{self._address} refuses: {error.code().name}, {error.details()}") from error
                self._count("unanswered")
                if not is_reported:
                    log.warning("%s does not answer (%s); trying again", self._address, error.code().name)
                is_reported = True
                self._stop.wait(_RETRY_SECONDS)
        return None

    def _count(self, what: str, more: int = 1) -> None:
        with self._lock:
            self._counts[what] += more
        self._metrics.crowd.labels(what).inc(more)

    def _summary(self, seconds: float) -> str:
        with self._lock:
            c = collections.Counter(self._counts)
        share = c["clicks"] / c["recommendations"] if c["recommendations"] else 0.0
        return (
            f"{c['visits']:,} visits, {c['recommendations']:,} recommendations, "
            f"{c['recommendations'] / seconds:.0f}/s, {c['clicks']:,} clicked ({share:.1%}), "
            f"{c['purchases']:,} purchases, {c['events']:,} events"
        )


@dataclass(frozen=True, slots=True)
class World:
    """A simulator with one product more, which stands for every product that it does not know."""

    simulator: Simulator
    rows: dict[str, int]  # product_id → row
    offset: float

    @classmethod
    def of(cls, simulator: Simulator) -> World:
        """The world of a fitted simulator."""
        wider = replace(
            simulator,
            product_ids=(*simulator.product_ids, ""),
            popularity=np.append(simulator.popularity, _NOBODY_WANTS),
            vectors=np.vstack([simulator.vectors, np.zeros(simulator.vectors.shape[1])]),
            prices=np.append(simulator.prices, np.nan),
        )
        return cls(wider, {product: row for row, product in enumerate(simulator.product_ids)}, simulator.offset)


@dataclass(frozen=True, slots=True)
class SlateReaction:
    """What a user did with a slate."""

    events: list[ev.Event]
    clicked: bool
    purchased: bool
    left: bool


class Visitor:
    """One user, visit after visit. Pure: calls and clocks are the crowd's."""

    def __init__(self, world: World, user: int, seed: int, run: str) -> None:
        """A user who is not here yet.

        Args:
            user: its row.
            run: begins the events' ids; no other stream of events may use it.
        """
        self._world = world
        self._user = user
        self._run = run
        self._events = 0
        self._visits = Visits(world.simulator, np.array([seed], np.uint64), world.offset)

    @property
    def user_id(self) -> str:
        """As in the dataset."""
        return self._world.simulator.user_ids[self._user]

    def arrive(self) -> list[ev.Event]:
        """Begin a visit: the user comes for what is needed, and views a product found without the shop's help."""
        self._visits.begin(np.zeros(1, np.int64), np.array([self._user]))
        s = self._world.simulator
        first, last = s.record_starts[self._user], s.record_starts[self._user + 1]
        likeness = s.vectors[s.record[first:last]] @ self._visits.need[0]
        product = s.record[first + int(likeness.argmax())]
        return [self._event(ev.EVENT_KIND_VIEW, s.product_ids[product], "")]

    def see(self, products: Sequence[str], request_id: str) -> SlateReaction:
        """React to a recommendation: click one of the products at most, and perhaps buy it."""
        unknown = len(self._world.rows)
        slate = np.array([[self._world.rows.get(product, unknown) for product in products] or [unknown]])
        reaction = self._visits.step(slate)
        place, purchased = int(reaction.place[0]), bool(reaction.purchased[0])
        events: list[ev.Event] = []
        if place >= 0:
            click = self._event(ev.EVENT_KIND_CLICK, products[place], request_id)
            click.dwell_seconds = float(reaction.dwell_seconds[0])
            events.append(click)
        if purchased:
            purchase = self._event(ev.EVENT_KIND_PURCHASE, products[place], request_id)
            price = self._world.simulator.prices[slate[0, place]]
            if np.isfinite(price):
                purchase.price = float(price)
            events.append(purchase)
        return SlateReaction(events, clicked=place >= 0, purchased=purchased, left=bool(reaction.left[0]))

    def _event(self, kind: ev.EventKind.ValueType, product_id: str, request_id: str) -> ev.Event:
        self._events += 1
        return ev.Event(
            event_id=f"{self._run}-{self._user}-{self._events}",
            kind=kind,
            user_id=self.user_id,
            product_id=product_id,
            request_id=request_id,
        )
