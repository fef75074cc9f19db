"""The client against the real service, and against a gRPC server that fails on demand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import freshet
from freshet import filters
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import Event, LogPosition
from shared.pb.freshet.v1.recommender_pb2_grpc import (
    RecommenderServiceServicer,
    add_RecommenderServiceServicer_to_server,
)
from shared.process.settings import KafkaSettings
from tests.support import inference
from tests.support.inference import eventually
from tests.support.processes import kafka_environment, running
from tests.support.resetting import CANCEL, REFUSED_STREAM, resetting

UNAVAILABLE, SHED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT
QUICK = freshet.Retries(first_seconds=0.01, longest_seconds=0.05)


class Fickle(RecommenderServiceServicer):
    """Fails its next calls with `statuses`, then answers; keeps the events and batches it was sent."""

    def __init__(self) -> None:
        self.statuses: list[tuple[grpc.StatusCode, str]] = []
        self.always: tuple[grpc.StatusCode, str] | None = None
        self.refused_products: set[str] = set()
        self.calls: list[list[Event]] = []
        self.recorded: list[Event] = []
        self.batches: list[list[str]] = []
        self.breaks: list[int] = []  # after how many answers the next batches break off
        self.open = threading.Event()
        self.open.set()
        self.asking = threading.Event()

    def RecordEvents(self, request: pb.RecordEventsRequest, context: Any) -> pb.RecordEventsResponse:
        self.asking.set()
        self.open.wait(30)
        events = list(request.events)
        self.calls.append(events)
        self._fail(context)
        for n, event in enumerate(events):
            if event.product_id in self.refused_products:
                context.abort(INVALID, f"events[{n}].rating: 1 to 5, got 9")
        self.recorded += events
        return pb.RecordEventsResponse(
            events=[
                pb.RecordedEvent(event_id=event.event_id, position=LogPosition(partition=0, offset=n))
                for n, event in enumerate(events)
            ]
        )

    def Recommend(self, _: pb.RecommendRequest, context: Any) -> pb.RecommendResponse:
        self._fail(context)
        return pb.RecommendResponse(strategy=pb.STRATEGY_TRENDING, fallback=pb.FALLBACK_NO_MODEL, request_id="r")

    def BatchRecommend(self, request: pb.BatchRecommendRequest, context: Any) -> Iterator[pb.BatchRecommendResponse]:
        self.batches.append(list(request.user_ids))
        broken = self.breaks.pop(0) if self.breaks else len(request.user_ids)
        for user in request.user_ids[:broken]:
            yield pb.BatchRecommendResponse(user_id=user, response=pb.RecommendResponse(request_id="r"))
        if broken < len(request.user_ids):
            context.abort(UNAVAILABLE, "away")

    def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        self._fail(context)
        page = int(request.page_token or 0)
        more = str(page + 1) if page < 2 else ""
        return pb.ListUsersResponse(users=[pb.KnownUser(user_id=f"u{page}")], next_page_token=more)

    def _fail(self, context: Any) -> None:
        if self.statuses:
            context.abort(*self.statuses.pop(0))
        if self.always:
            context.abort(*self.always)


def serve(servicer: RecommenderServiceServicer, address: str = "127.0.0.1:0") -> tuple[grpc.Server, str]:
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    add_RecommenderServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    server.start()
    return server, f"127.0.0.1:{port}"


@pytest.fixture
def fickle() -> Iterator[tuple[Fickle, str]]:
    servicer = Fickle()
    server, address = serve(servicer)
    yield servicer, address
    servicer.open.set()
    server.stop(None).wait(10)


Call = Callable[..., Any]


@pytest.fixture(params=["sync", "asyncio"])
def calling(request: pytest.FixtureRequest) -> Iterator[Callable[..., Call]]:
    """Gives, for an address, a function that calls a method of the one client or the other by name."""
    ends: list[Callable[[], object]] = []
    runner = asyncio.Runner()

    def of(address: str, **arguments: Any) -> Call:
        if request.param == "sync":
            client = freshet.Client(address, **arguments)
            ends.append(client.close)

            def call_sync(name: str, *given: Any, **named: Any) -> Any:
                answer = getattr(client, name)(*given, **named)
                return list(answer) if isinstance(answer, Iterator) else answer

            return call_sync

        async def made() -> freshet.AsyncClient:
            return freshet.AsyncClient(address, **arguments)

        aio = runner.run(made())
        ends.append(lambda: runner.run(aio.close()))

        async def listed(answers: AsyncIterator[Any]) -> list[Any]:
            return [answer async for answer in answers]

        def call(name: str, *given: Any, **named: Any) -> Any:
            answer = getattr(aio, name)(*given, **named)
            return runner.run(listed(answer) if isinstance(answer, AsyncIterator) else answer)

        return call

    yield of
    for end in ends:
        end()
    runner.close()


def test_the_service_answers_each_call(kafka: KafkaSettings, tmp_path: Path, calling: Callable[..., Call]) -> None:
    with (
        running("services.features", kafka_environment(kafka), tmp_path / "features.log"),
        inference.running(kafka, tmp_path) as service,
    ):
        shop = calling(service.address, timeout=30.0)
        lamps = [freshet.Product(f"lamp-{n}", title=f"Lamp {n}", price=9.5) for n in range(3)]
        assert shop("upsert_products", lamps) == 3
        eventually(lambda: len(shop("recommend", None)) == 3)

        viewed = freshet.view("ann", "lamp-1")
        first, again, guest = shop("record", [viewed, viewed, freshet.purchase(None, "lamp-2", price=9.5)])
        assert (first.event_id, again.event_id) == (viewed.event_id, viewed.event_id)
        shown = shop("recommend", "ann", count=2, exclude=["lamp-0"], after=again.position)
        assert shown.position.partition == again.position.partition
        assert shown.position.offset >= again.position.offset
        assert set(shown.product_ids) == {"lamp-1", "lamp-2"}
        assert (shown.strategy, shown.fallback, shown.model_version) == ("counted", "no_model", "")
        shop("recommend", "ann", after=guest.position)

        answered = shop(
            "record_one", freshet.review("ann", "lamp-2", text="I love it", rating=5, request_id=shown.request_id)
        )
        shown = shop("recommend", "ann", after=answered.position)
        assert set(shown.product_ids) == {"lamp-0", "lamp-1"}, "what was reviewed is masked"
        known = shop("user", "ann")
        assert [(past.product_id, past.kind, past.rating) for past in known.history] == [
            ("lamp-1", freshet.Kind.VIEW, None),
            ("lamp-2", freshet.Kind.REVIEW, 5.0),
        ]
        assert (known.events, known.masked_products, known.position) == (2, 1, answered.position)
        assert known.history[0].at == viewed.at.replace(microsecond=viewed.at.microsecond // 1000 * 1000)
        assert shop("models") == freshet.Models(versions=(), serving="", pinned="")

        assert shop("remove_products", ["lamp-0"]) == 1
        eventually(lambda: shop("recommend", None).product_ids in (["lamp-1", "lamp-2"], ["lamp-2", "lamp-1"]))
        with pytest.raises(freshet.NotFound, match="nobody"):
            shop("user", "nobody")
        with pytest.raises(freshet.InvalidRequest) as refused:
            shop("record", [viewed, freshet.rating("ann", "lamp-1", 9)])
        assert (refused.value.field, refused.value.index) == ("events[1].rating", 1)
        assert refused.value.code is INVALID
        with pytest.raises(freshet.InvalidRequest) as refused:
            shop("recommend", "ann", count=5_000)
        assert refused.value.field == "wishes.count"
        with pytest.raises(freshet.DeadlineExceeded):
            shop("recommend", "ann", after=freshet.Position(0, 10**9), timeout=0.3)


def test_the_service_is_told_what_an_answer_is_to_be_like(
    kafka: KafkaSettings, tmp_path: Path, calling: Callable[..., Call]
) -> None:
    with (
        running("services.features", kafka_environment(kafka), tmp_path / "features.log"),
        inference.running(kafka, tmp_path) as service,
    ):
        shop = calling(service.address, timeout=30.0)
        lamps = [freshet.Product(f"lamp-{n}", f"Lamp {n}", ("Home", f"Room {n % 2}"), "L", 10.0 * n) for n in range(4)]
        assert shop("upsert_products", lamps) == 4
        eventually(lambda: len(shop("recommend", None)) == 4)
        seen = shop("record", [freshet.view(user, "lamp-1") for user in ("ann", "bob")])
        for recorded in seen:
            shop("recommend", "ann", after=recorded.position)

        cheap = filters.price(at_most=20) & ~filters.category("room 1")
        shown = shop("recommend", "ann", filter=cheap, fields=["title"], explain=True, boosts={filters.brand("l"): 2.0})
        assert set(shown.product_ids) == {"lamp-0", "lamp-2"}
        assert {results.product.title for results in shown} == {"Lamp 0", "Lamp 2"}
        assert freshet.Part.BOOST in {reason.part for results in shown for reason in results.reasons}
        assert "lamp-3" not in shop("recommend", None, session=["lamp-3"]).product_ids
        assert [results.product_id for results in shop("trending", count=1)] == ["lamp-1"]
        assert [results.product_id for results in shop("trending", "room 0", count=9, exclude=["lamp-0"])] == ["lamp-2"]
        assert "lamp-1" not in [results.product_id for results in shop("similar", "lamp-1")]
        many = shop("recommend_many", ["ann", "nobody", "bob"], count=1)
        assert [user for user, _ in many] == ["ann", "nobody", "bob"]
        assert [answer.fallback for _, answer in many][1] in ("no_model", "unknown_user")
        assert shop("products") == lamps
        assert shop("products", "lamp 2") == [lamps[2]]
        known = shop("product", "lamp-1")
        assert (known.product, known.events, known.rank) == (lamps[1], 2, 1)
        assert {(user.user_id, user.events) for user in shop("users")} == {("ann", 1), ("bob", 1)}
        with pytest.raises(freshet.InvalidRequest, match=r"price\.at_most"):
            shop("recommend", "ann", filter=filters.price(at_least=2, at_most=1))
        with pytest.raises(freshet.NotFound, match="nothing"):
            shop("similar", "nothing")


def test_many_users_are_gone_on_with_where_it_broke_off(
    fickle: tuple[Fickle, str], calling: Callable[..., Call]
) -> None:
    servicer, address = fickle
    users = [f"u{n}" for n in range(2_005)]
    servicer.breaks = [3, 0]
    answered = calling(address, retries=QUICK)("recommend_many", users)
    assert [user for user, _ in answered] == users
    assert servicer.batches == [users[:1000], users[3:1000], users[3:1000], users[1000:2000], users[2000:]]
    servicer.breaks = [2] * 1000
    with pytest.raises(freshet.Unavailable):
        calling(address, retries=freshet.Retries(first_seconds=0.01, most_attempts=5))("recommend_many", users)


def test_pages_are_read_to_the_last_one(fickle: tuple[Fickle, str], calling: Callable[..., Call]) -> None:
    servicer, address = fickle
    servicer.statuses = [(UNAVAILABLE, "away")]
    assert [user.user_id for user in calling(address, retries=QUICK)("users")] == ["u0", "u1", "u2"]


def test_what_fails_for_now_is_tried_again_with_the_same_ids(
    fickle: tuple[Fickle, str], calling: Callable[..., Call]
) -> None:
    servicer, address = fickle
    shop = calling(address, retries=QUICK, timeout=20.0)
    servicer.statuses = [(UNAVAILABLE, "the broker is away"), (SHED, "Concurrent RPC limit exceeded!")]
    events = [freshet.view("ann", "a"), freshet.view("ann", "b")]
    recorded = shop("record", events)
    assert [one.event_id for one in recorded] == [event.event_id for event in events]
    assert [[event.event_id for event in call] for call in servicer.calls] == [[e.event_id for e in events]] * 3
    servicer.statuses = [(UNAVAILABLE, "not read yet")]
    assert shop("recommend", "ann").request_id == "r"


def test_nothing_is_tried_beyond_the_deadline(fickle: tuple[Fickle, str], calling: Callable[..., Call]) -> None:
    servicer, address = fickle
    servicer.always = (UNAVAILABLE, "the broker is away")
    shop = calling(address, retries=QUICK)
    # On a slow machine the time may be over within an attempt.
    with pytest.raises((freshet.Unavailable, freshet.DeadlineExceeded), match="the broker is away"):
        shop("record_one", freshet.view("ann", "a"), timeout=1.0)
    made = len(servicer.calls)
    assert made >= 2
    with pytest.raises(freshet.Unavailable):
        calling(address, retries=freshet.Retries(most_attempts=1))("record_one", freshet.view("ann", "a"))
    assert len(servicer.calls) == made + 1
    servicer.always = (INVALID, "events[0].rating: 1 to 5, got 9")
    with pytest.raises(freshet.InvalidRequest):
        shop("record_one", freshet.view("ann", "a"))
    assert len(servicer.calls) == made + 2


def test_a_service_that_comes_up_late_is_waited_for(calling: Callable[..., Call]) -> None:
    taken, address = serve(Fickle())
    taken.stop(None).wait(10)
    shop = calling(address, timeout=60.0)
    with pytest.raises(freshet.Unavailable):
        shop("recommend", "ann", timeout=0.3)
    late: list[grpc.Server] = []
    timer = threading.Timer(0.5, lambda: late.append(serve(Fickle(), address)[0]))
    timer.start()
    try:
        assert shop("recommend", "ann").request_id == "r"
    finally:
        timer.join()
        late[0].stop(None).wait(10)


def test_many_events_go_in_calls_that_the_service_takes(
    kafka: KafkaSettings, tmp_path: Path, calling: Callable[..., Call]
) -> None:
    with inference.running(kafka, tmp_path) as service:
        shop = calling(service.address, timeout=60.0)
        long = [freshet.review("ann", "p", text="x" * 900_000) for _ in range(20)]
        short = [freshet.view("ann", "p") for _ in range(2_500)]
        recorded = shop("record", [*long, *short])
        assert [one.event_id for one in recorded] == [event.event_id for event in [*long, *short]]
        offsets = [one.position.offset for one in recorded]
        assert offsets == sorted(offsets), "in their order"
        with pytest.raises(freshet.InvalidRequest, match="at most 1000000 bytes"):
            shop("record_one", freshet.review("ann", "p", text="x" * 1_000_001))


def views(count: int) -> list[freshet.Event]:
    return [freshet.view("ann", f"p{n}") for n in range(count)]


def products(events: list[Event]) -> list[str]:
    return [event.product_id for event in events]


def test_a_recorder_sends_everything_in_order_in_batches(fickle: tuple[Fickle, str]) -> None:
    servicer, address = fickle
    events = views(1_005)
    with freshet.Client(address) as shop, shop.recorder(limits=freshet.Limits(most_events=100)) as recorder:
        for event in events:
            recorder.add(event)
        recorder.flush()
        assert products(servicer.recorded) == [event.product for event in events]
        assert max(len(call) for call in servicer.calls) == 100
        recorder.add(freshet.view("ann", "late"))
        eventually(lambda: servicer.recorded[-1].product_id == "late")  # by its time, without a flush
        recorder.add(freshet.view("ann", "last"))
    assert servicer.recorded[-1].product_id == "last", "close waits"
    with pytest.raises(ValueError, match="closed"):
        recorder.add(freshet.view("ann", "p"))
    recorder.close()


def test_of_a_batch_with_a_bad_event_the_others_are_recorded_and_the_bad_one_is_told_of(
    fickle: tuple[Fickle, str],
) -> None:
    servicer, address = fickle
    servicer.refused_products = {"p2", "p4"}
    events = views(6)
    reported: list[freshet.Undelivered] = []
    with freshet.Client(address) as shop:
        with shop.recorder(on_failure=reported.append) as recorder:
            for event in events:
                recorder.add(event)
        assert [event for error in reported for event in error.events] == [events[2], events[4]]
        assert all(isinstance(cause, freshet.InvalidRequest) for error in reported for cause in error.causes)
        assert products(servicer.recorded) == ["p0", "p1", "p3", "p5"]

        recorder = shop.recorder()
        for event in events:
            recorder.add(event)
        with pytest.raises(freshet.Undelivered) as raised:
            recorder.flush()
        assert list(raised.value.events) == [events[2], events[4]]
        recorder.flush()  # told once
        recorder.close()


def test_what_cannot_be_delivered_is_told_of_even_where_the_listener_fails(
    fickle: tuple[Fickle, str], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, address = fickle
    servicer.always = (UNAVAILABLE, "away")

    def listener(error: freshet.Undelivered) -> None:
        raise RuntimeError("the listener's own")

    with freshet.Client(address, retries=QUICK) as shop:
        recorder = shop.recorder(limits=freshet.Limits(timeout=0.2), on_failure=listener)
        event = freshet.view("ann", "p")
        recorder.add(event)
        with pytest.raises(freshet.Undelivered, match=r"1 events were not delivered.*away") as raised:
            recorder.close()
        assert raised.value.events == (event,)
        assert raised.value.code is UNAVAILABLE
    assert "on_failure failed" in caplog.text


def test_a_full_recorder_raises_or_waits_as_it_was_told(fickle: tuple[Fickle, str]) -> None:
    servicer, address = fickle
    servicer.open.clear()
    limits = {"most_events": 2, "most_held": 4}
    with freshet.Client(address) as shop:
        with shop.recorder(limits=freshet.Limits(**limits, when_full="raise")) as recorder:
            for event in views(4):
                recorder.add(event)
            with pytest.raises(freshet.Full, match="4 events"):
                recorder.add(freshet.view("ann", "more"))
            servicer.open.set()
        assert len(servicer.recorded) == 4

        servicer.open.clear()
        servicer.recorded.clear()
        events = views(20)
        with shop.recorder(limits=freshet.Limits(**limits)) as recorder:
            adding = threading.Thread(target=lambda: [recorder.add(event) for event in events])
            adding.start()
            eventually(lambda: recorder._waiting.added == 4)
            servicer.open.set()
            adding.join(30)
        assert products(servicer.recorded) == [event.product for event in events]


def test_memory_full_of_failures_raises_them_instead_of_waiting_for_ever(fickle: tuple[Fickle, str]) -> None:
    servicer, address = fickle
    servicer.always = (UNAVAILABLE, "away")
    limits = freshet.Limits(most_events=1, most_held=2, timeout=0.1)
    with freshet.Client(address, retries=QUICK) as shop:
        recorder = shop.recorder(limits=limits)
        undelivered: list[freshet.Event] = []
        events = views(6)
        for event in events:
            while True:
                try:
                    recorder.add(event)
                    break
                except freshet.Undelivered as error:
                    undelivered += error.events
        servicer.always = None
        try:
            recorder.close()
        except freshet.Undelivered as error:
            undelivered += error.events
    recorded = {event.event_id for event in servicer.recorded}
    assert recorded | {event.event_id for event in undelivered} == {event.event_id for event in events}


def test_closing_with_a_time_gives_up_what_is_left_and_says_so(fickle: tuple[Fickle, str]) -> None:
    servicer, address = fickle
    servicer.always = (UNAVAILABLE, "away")
    with freshet.Client(address, retries=QUICK) as shop:
        recorder = shop.recorder(limits=freshet.Limits(most_events=1))
        events = views(50)
        for event in events:
            recorder.add(event)
        with pytest.raises(freshet.Undelivered) as raised:
            recorder.close(timeout=0.2)
        assert raised.value.events == tuple(events)
        assert any(isinstance(cause, freshet.DeadlineExceeded) for cause in raised.value.causes)


def test_a_client_that_is_closed_ends_its_calls_and_tries_none_again(fickle: tuple[Fickle, str]) -> None:
    servicer, address = fickle
    servicer.open.clear()
    client = freshet.Client(address, timeout=30, retries=QUICK)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.record_one, freshet.view("ann", "p"))
        eventually(servicer.asking.is_set)
        client.close()
        with pytest.raises(freshet.FreshetError) as raised:
            waiting.result(20)
    assert raised.value.code is grpc.StatusCode.CANCELLED
    assert type(raised.value) is freshet.FreshetError


@pytest.mark.parametrize("code", [CANCEL, REFUSED_STREAM])
@pytest.mark.parametrize("name", ["models", "recommend_many"])
def test_a_stream_that_is_reset_is_asked_for_again(calling: Callable[..., Call], code: int, name: str) -> None:
    with resetting(code) as reset:
        call = calling(reset.address, retries=freshet.Retries(first_seconds=0.01, most_attempts=3))
        with pytest.raises(freshet.Unavailable, match="attempts: 3"):
            call(name, *([["ann"]] if name == "recommend_many" else []))
        assert reset.streams == 3


def test_a_program_that_forgets_to_close_its_recorder_loses_nothing(fickle: tuple[Fickle, str], tmp_path: Path) -> None:
    servicer, address = fickle
    program = (
        "import freshet, sys\n"
        "recorder = freshet.Client(sys.argv[1]).recorder(limits=freshet.Limits(longest_seconds=60))\n"
        "recorder.add(freshet.view('ann', 'p'))\n"
    )
    subprocess.run([sys.executable, "-c", program, address], timeout=60, check=True, cwd=tmp_path)
    assert products(servicer.recorded) == ["p"]


def test_the_asyncio_recorder_does_the_same(fickle: tuple[Fickle, str]) -> None:
    servicer, address = fickle

    async def everything() -> None:
        async with freshet.AsyncClient(address, retries=QUICK) as shop:
            events = views(1_005)
            async with shop.recorder(limits=freshet.Limits(most_events=100)) as recorder:
                for event in events:
                    await recorder.add(event)
                await recorder.flush()
                assert products(servicer.recorded) == [event.product for event in events]
                assert max(len(call) for call in servicer.calls) == 100
                await recorder.add(freshet.view("ann", "late"))
                deadline = time.monotonic() + 30
                while servicer.recorded[-1].product_id != "late":
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
                await recorder.add(freshet.view("ann", "last"))
            assert servicer.recorded[-1].product_id == "last"
            with pytest.raises(ValueError, match="closed"):
                await recorder.add(freshet.view("ann", "p"))

            servicer.recorded.clear()
            servicer.refused_products = {"p2"}
            recorder = shop.recorder()
            for event in events[:4]:
                await recorder.add(event)
            with pytest.raises(freshet.Undelivered) as raised:
                await recorder.flush()
            assert raised.value.events == (events[2],)
            assert products(servicer.recorded) == ["p0", "p1", "p3"]
            await recorder.close()

            servicer.always = (UNAVAILABLE, "away")
            reported: list[freshet.Undelivered] = []
            async with shop.recorder(limits=freshet.Limits(timeout=0.2), on_failure=reported.append) as recorder:
                await recorder.add(events[0])
            assert [event for error in reported for event in error.events] == [events[0]]

            recorder = shop.recorder(limits=freshet.Limits(most_events=1, most_held=2, when_full="raise", timeout=5.0))
            await recorder.add(events[0])
            await recorder.add(events[1])
            with pytest.raises(freshet.Full):
                await recorder.add(events[3])
            with pytest.raises(freshet.Undelivered) as raised:
                await recorder.close(timeout=0.1)
            assert raised.value.events == (events[0], events[1])

    asyncio.run(everything())


def test_a_full_asyncio_recorder_waits_and_a_loop_that_ends_too_soon_is_logged(
    fickle: tuple[Fickle, str], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, address = fickle
    events = views(20)

    async def waits() -> None:
        servicer.open.clear()
        limits = freshet.Limits(most_events=2, most_held=4)
        async with freshet.AsyncClient(address) as shop, shop.recorder(limits=limits) as recorder:

            async def add() -> None:
                for event in events:
                    await recorder.add(event)

            adding = asyncio.create_task(add())
            while recorder._waiting.added < 4:
                await asyncio.sleep(0.01)
            servicer.open.set()
            await adding

    asyncio.run(asyncio.wait_for(waits(), 60))
    assert products(servicer.recorded) == [event.product for event in events]

    async def forgets() -> None:
        recorder = freshet.AsyncClient(address).recorder(limits=freshet.Limits(longest_seconds=60))
        await recorder.add(events[0])
        await asyncio.sleep(0)

    asyncio.run(forgets())
    assert "1 events were not delivered: the loop ended" in caplog.text


def test_tls_is_used_where_credentials_are_given(fickle: tuple[Fickle, str]) -> None:
    _, address = fickle
    shop = freshet.Client(address, credentials=grpc.ssl_channel_credentials(), timeout=0.5)
    with shop, pytest.raises(freshet.Unavailable, match=r"(?i)ssl|tls|handshake|version"):
        shop.recommend("ann")
