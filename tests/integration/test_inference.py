"""Inference as its callers see it: a real broker, a real gRPC server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from confluent_kafka import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shared.log.clients import LogReader, partition_of
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import KafkaSettings
from tests.bench.recommend import stock
from tests.bench.shop import user_ids, write_learned
from tests.support import states
from tests.support.inference import Inference, environment, eventually, running
from tests.support.link import Link
from tests.support.processes import kafka_environment
from tests.support.processes import running as service
from tests.support.states import review
from tests.support.versions import announce, point, tiny_version, withdraw
from tests.support.writing import writer

# Far apart, so that popularity decides nothing.
RISING = {f"p{n}": 10.0 * n for n in range(5)}
FALLING = {f"p{n}": -10.0 * n for n in range(5)}


def ids(answer: pb.RecommendResponse) -> list[str]:
    return [product.product_id for product in answer.products]


def send_state(kafka: KafkaSettings, event: ev.Event, position: ev.LogPosition) -> None:
    """What features would write for an event that was recorded."""
    state = review(event.user_id, event.product_id, 400, rating=event.rating if event.HasField("rating") else 4.0)
    state.event_id = event.event_id
    state.source_partition, state.source_offset = position.partition, position.offset
    state.recorded_ms = time.time_ns() // 1_000_000
    producer = writer(kafka)
    producer.send(
        Topics.of(kafka).states,
        key=event.user_id.encode(),
        value=state.SerializeToString(),
        partition=position.partition,
    )
    producer.flush(20)


def read_all(kafka: KafkaSettings, topic: str, partitions: int) -> list[Message]:
    reader = LogReader(kafka, {(topic, p): -1 for p in range(partitions)})
    messages: list[Message] = []
    while not reader.caught_up:
        messages += reader.poll(0.2)
    reader.close()
    return messages


@pytest.fixture
def inference(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Inference]:
    """A service that has read three products' worth of history."""
    states.write(kafka, [review("ann", "p0", 1), review("bob", "p1", 2), review("cay", "p1", 3)])
    with running(kafka, tmp_path) as service:
        yield service


def test_counts_answer_until_there_is_a_version_and_trending_for_users_without_history(
    kafka: KafkaSettings, inference: Inference, tmp_path: Path
) -> None:
    answer = inference.recommend("ann")
    assert ids(answer) == ["p1"]  # p0 was reviewed already
    assert (answer.strategy, answer.fallback) == (pb.STRATEGY_COUNTED, pb.FALLBACK_NO_MODEL)
    assert answer.model_version == ""
    assert answer.products[0].propensity == 1.0
    answer = inference.recommend("new")
    assert ids(answer) == ["p1", "p0"]  # two reviews against one
    assert (answer.strategy, answer.fallback) == (pb.STRATEGY_TRENDING, pb.FALLBACK_NO_MODEL)

    announce(kafka, tiny_version(tmp_path / "models", "v1", {"p0": 1.0, "p1": 5.0, "p9": 9.0}))
    eventually(lambda: inference.serving() == "v1")
    answer = inference.recommend("ann")
    assert ids(answer) == ["p9", "p1"]
    assert (answer.strategy, answer.fallback, answer.model_version) == (
        pb.STRATEGY_LEARNED,
        pb.FALLBACK_UNSPECIFIED,
        "v1",
    )
    assert answer.request_id
    assert answer.position.partition == partition_of(b"ann", kafka.partitions)
    assert inference.recommend("new").fallback == pb.FALLBACK_UNKNOWN_USER
    assert inference.recommend("ann", exclude=["p9", "p1", "nobody-knows"]).fallback == pb.FALLBACK_NOTHING_LEFT
    assert ids(inference.recommend("bob", count=1)) == ["p9"]

    series = inference.metrics()
    assert series["freshet_inference_users"] == 3
    assert series["freshet_inference_applied_total"] == 3
    assert series["freshet_inference_model_swaps_total"] == 1
    assert series["freshet_inference_ready"] == 1
    assert series['freshet_inference_requests_total{code="OK",method="Recommend"}'] == 6
    assert series['freshet_inference_recommendations_total{fallback="no_model",strategy="counted"}'] == 1
    assert series['freshet_inference_recommendations_total{fallback="no_model",strategy="trending"}'] == 1
    assert series["freshet_inference_tally_bytes"] > 0
    assert series["freshet_inference_tally_refused_pairs"] == 0


def test_without_a_trainer_an_event_changes_the_next_answer(kafka: KafkaSettings, tmp_path: Path) -> None:
    """A shop where lamps lead to bulbs and desks to chairs, all as popular: real features, and nobody who learns."""

    def views(user: str, *products: str) -> list[ev.Event]:
        return [ev.Event(kind=ev.EVENT_KIND_VIEW, user_id=user, product_id=product) for product in products]

    with (
        service("services.features", kafka_environment(kafka), tmp_path / "features.log"),
        running(kafka, tmp_path) as inference,
    ):
        record, explained = inference.stub.RecordEvents, pb.Wishes(explain=True)
        others = [views(f"u{n}", "lamp", "bulb") + views(f"v{n}", "desk", "chair") for n in range(5)]
        events = [event for of_two in others for event in of_two]
        for recorded in record(pb.RecordEventsRequest(events=events), timeout=20).events:
            after = pb.RecommendRequest(user_id="stranger", after_position=recorded.position)
            assert inference.stub.Recommend(after, timeout=30).strategy == pb.STRATEGY_TRENDING
        assert inference.recommend("ann").strategy == pb.STRATEGY_TRENDING

        leads_to = {"lamp": ("bulb", "chair"), "desk": ("chair", "bulb")}
        for product, (first, second) in leads_to.items():
            [recorded] = record(pb.RecordEventsRequest(events=views("ann", product)), timeout=20).events
            request = pb.RecommendRequest(user_id="ann", after_position=recorded.position, wishes=explained)
            answer = inference.stub.Recommend(request, timeout=30)
            assert (answer.strategy, answer.fallback) == (pb.STRATEGY_COUNTED, pb.FALLBACK_NO_MODEL)
            assert ids(answer).index(first) < ids(answer).index(second)
            reasons = {reason.part: reason for p in answer.products if p.product_id == first for reason in p.reasons}
            strongest = max(reasons.values(), key=lambda reason: reason.score)
            assert strongest.part == pb.PART_CO_OCCURRENCE
            assert strongest.events[0].product_id == product

        again = record(pb.RecordEventsRequest(events=views("ann", "lamp", "lamp")), timeout=20).events[-1]
        request = pb.RecommendRequest(user_id="ann", after_position=again.position, wishes=explained)
        of_itself = {
            product.product_id: (reason.times, {event.product_id for event in reason.events})
            for product in inference.stub.Recommend(request, timeout=30).products
            for reason in product.reasons
            if reason.part == pb.PART_ITSELF
        }
        assert of_itself == {"lamp": (3, {"lamp"}), "desk": (1, {"desk"})}, "how often each was viewed"


def test_a_caller_sees_its_own_writes(kafka: KafkaSettings, inference: Inference) -> None:
    event = ev.Event(kind=ev.EVENT_KIND_REVIEW, user_id="ann", product_id="p1", rating=4.0, text="fine")
    recorded = inference.stub.RecordEvents(pb.RecordEventsRequest(events=[event, event]), timeout=20).events
    assert [r.position.partition for r in recorded] == [partition_of(b"ann", kafka.partitions)] * 2
    assert recorded[0].position.offset + 1 == recorded[1].position.offset
    assert recorded[0].event_id != recorded[1].event_id

    stored = [ev.Event.FromString(m.value() or b"") for m in read_all(kafka, Topics.of(kafka).events, 3)]
    assert [e.event_id for e in stored] == [r.event_id for r in recorded]
    assert all(e.event_time_ms > 1_600_000_000_000 for e in stored)

    # Beyond what `states.write` has used of the partition, so that it is new.
    place = ev.LogPosition(partition=recorded[0].position.partition, offset=1000)
    request = pb.RecommendRequest(user_id="ann", after_position=place)
    with pytest.raises(grpc.RpcError) as refused:
        inference.stub.Recommend(request, timeout=0.5)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "after_position: partition" in refused.value.details()

    waiting = inference.stub.Recommend.future(request, timeout=30)
    stored[0].product_id = "p1"
    sent = time.time()
    send_state(kafka, stored[0], place)
    answer = waiting.result()
    assert answer.position == place
    assert answer.fallback == pb.FALLBACK_NOTHING_LEFT  # p0 and p1 were both reviewed
    user = inference.stub.GetUser(pb.GetUserRequest(user_id="ann"), timeout=20)
    assert [(h.product_id, h.rating) for h in user.history] == [("p0", 4.0), ("p1", 4.0)]
    assert (user.events, user.masked_products, user.position) == (2, 2, place)
    assert user.user_class == pb.USER_CLASS_NEW
    send_state(kafka, stored[0], place)  # once more: features repeats what it is not sure of
    eventually(lambda: inference.metrics()["freshet_inference_repeats_total"] == 1)
    assert inference.stub.GetUser(pb.GetUserRequest(user_id="ann"), timeout=20).events == 2
    series = inference.metrics()
    assert series["freshet_inference_freshness_seconds_count"] == 1, "a repeat is not counted"
    assert 0 < series["freshet_inference_freshness_seconds_sum"] < time.time() - sent + 0.001, "since its record"


def test_a_guest_counts_for_trending_and_has_no_history(kafka: KafkaSettings, inference: Inference) -> None:
    guest = ev.Event(kind=ev.EVENT_KIND_VIEW, product_id="p0")
    recorded = inference.stub.RecordEvents(pb.RecordEventsRequest(events=[guest] * 3), timeout=20).events
    stored = [ev.Event.FromString(m.value() or b"") for m in read_all(kafka, Topics.of(kafka).events, 3)]
    assert {r.position.partition for r in recorded} == {partition_of(b"p0", kafka.partitions)}
    assert ids(inference.recommend("new")) == ["p1", "p0"]
    for n, event in enumerate(stored):
        send_state(kafka, event, ev.LogPosition(partition=recorded[0].position.partition, offset=1000 + n))
    eventually(lambda: ids(inference.recommend("new")) == ["p0", "p1"])
    with pytest.raises(grpc.RpcError) as refused:
        inference.stub.GetUser(pb.GetUserRequest(user_id=""), timeout=20)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert inference.metrics()["freshet_inference_users"] == 3


def test_what_is_late_is_applied_in_the_order_of_the_log_and_counted(
    kafka: KafkaSettings, inference: Inference
) -> None:
    today = ev.Event(user_id="ann", product_id="p7", event_id="live", rating=4.0)
    place = ev.LogPosition(partition=partition_of(b"ann", kafka.partitions), offset=1000)
    send_state(kafka, today, place)
    states.write(kafka, [review("ann", "p8", 20), review("ann", "p9", 21)], first_offset=2000, source="backfill/0")
    eventually(lambda: inference.metrics()["freshet_inference_late_total"] == 2)
    user = inference.stub.GetUser(pb.GetUserRequest(user_id="ann"), timeout=20)
    assert [h.product_id for h in user.history] == ["p0", "p7", "p8", "p9"]
    assert user.user_class == pb.USER_CLASS_OCCASIONAL
    bob = inference.stub.GetUser(pb.GetUserRequest(user_id="bob"), timeout=20)
    assert bob.user_class == pb.USER_CLASS_LAPSED, "the one who came back did so years later"


def test_products_come_go_and_come_back(kafka: KafkaSettings, inference: Inference) -> None:
    products = [ev.Product(product_id="p1", unavailable=True), ev.Product(product_id="x", title="X", price=3.0)]
    assert inference.stub.UpsertProducts(pb.UpsertProductsRequest(products=products), timeout=20).upserted == 2
    eventually(lambda: set(ids(inference.recommend("new"))) == {"p0", "x"})
    removal = pb.RemoveProductsRequest(product_ids=["x", "p0"])
    assert inference.stub.RemoveProducts(removal, timeout=20).removed == 2
    eventually(lambda: inference.recommend("new").fallback == pb.FALLBACK_NOTHING_LEFT)
    states.write(kafka, [review("dan", "x", 9)], source="later/0", first_offset=50)  # does not bring it back
    eventually(lambda: inference.metrics()["freshet_inference_users"] == 4)
    assert inference.recommend("new").fallback == pb.FALLBACK_NOTHING_LEFT
    inference.stub.RemoveProducts(pb.RemoveProductsRequest(product_ids=["p1"]), timeout=20)
    eventually(lambda: inference.recommend("new").fallback == pb.FALLBACK_EMPTY_CATALOGUE)
    inference.stub.UpsertProducts(pb.UpsertProductsRequest(products=[ev.Product(product_id="x")]), timeout=20)
    eventually(lambda: ids(inference.recommend("new")) == ["x"])


def test_refusals_name_the_field(inference: Inference) -> None:
    bad = ev.Event(kind=ev.EVENT_KIND_RATING, user_id="a", product_id="b", rating=7.0)
    good = ev.Event(kind=ev.EVENT_KIND_RATING, user_id="a", product_id="b", rating=3.0)
    tick = ev.Event(kind=ev.EVENT_KIND_TICK, event_time_ms=5)
    replayed = ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="a", product_id="b", source="s/0", sequence=1)
    later = ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="a", product_id="b", event_time_ms=7_000_000_000_000)
    at = pb.RecommendRequest(user_id="a", after_position=ev.LogPosition(partition=9))
    stub = inference.stub
    cases = [
        (stub.Recommend, pb.RecommendRequest(wishes=pb.Wishes(count=5000)), "wishes.count: 0 to 1000, got 5000"),
        (stub.Recommend, pb.RecommendRequest(user_id="ü" * 129), "user_id: at most 256 bytes, got 258"),
        (stub.Recommend, pb.RecommendRequest(user_id="a\nb"), "user_id: must not hold control characters"),
        (stub.Recommend, at, "after_position.partition: 0 to 2, got 9"),
        (stub.RecordEvents, pb.RecordEventsRequest(), "events: 1 to 10000, got 0"),
        (stub.RecordEvents, pb.RecordEventsRequest(events=[good, bad]), "events[1].rating: 1 to 5, got 7"),
        (stub.RecordEvents, pb.RecordEventsRequest(events=[tick]), "events[0].kind: only a replay may write ticks"),
        (stub.RecordEvents, pb.RecordEventsRequest(events=[later]), "events[0].event_time_ms: at most a day ahead"),
        (stub.RecordEvents, pb.RecordEventsRequest(events=[replayed]), "events[0].source: "),
        (stub.UpsertProducts, pb.UpsertProductsRequest(products=[ev.Product()]), "products[0].product_id: must"),
        (stub.RemoveProducts, pb.RemoveProductsRequest(product_ids=["a", ""]), "product_ids[1]: must not be empty"),
        (stub.GetUser, pb.GetUserRequest(), "user_id: must not be empty"),
    ]
    for call, request, message in cases:
        with pytest.raises(grpc.RpcError) as refused:
            call(request, timeout=20)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details().startswith(message)
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetUser(pb.GetUserRequest(user_id="nobody"), timeout=20)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert 'freshet_inference_requests_total{code="INVALID_ARGUMENT",method="Recommend"}' in inference.metrics()


def test_versions_swap_under_load_without_a_failed_call(
    kafka: KafkaSettings, inference: Inference, tmp_path: Path
) -> None:
    failures: list[grpc.RpcError] = []
    seen: list[tuple[str, str]] = []  # version, its first product
    done = threading.Event()

    def call() -> None:
        with grpc.insecure_channel(inference.address) as channel:
            recommend = RecommenderServiceStub(channel).Recommend
            while not done.is_set():
                try:
                    answer = recommend(pb.RecommendRequest(user_id="ann", wishes=pb.Wishes(count=1)), timeout=20)
                    seen.append((answer.model_version, ids(answer)[0]))
                except grpc.RpcError as error:
                    failures.append(error)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for n in range(8):
            version = tiny_version(tmp_path / "models", f"v{n}", RISING if n % 2 else FALLING, seed=n)
            announce(kafka, version)
            eventually(lambda n=n: inference.serving() == f"v{n}")
            count = len(seen)
            eventually(lambda count=count: len(seen) > count + 5)
    finally:
        done.set()
        for caller in callers:
            caller.join()
    assert failures == []
    # Never one version's name on another one's answer.
    assert {version for version, _ in seen} == {"", *(f"v{n}" for n in range(8))}
    assert all(first == ("p4" if int(v[1]) % 2 else "p1") for v, first in seen if v)


def test_a_bad_version_is_left_out_and_a_pointer_rolls_back(
    kafka: KafkaSettings, inference: Inference, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    announce(kafka, tiny_version(models, "v1", FALLING), tiny_version(models, "v2", RISING))
    eventually(lambda: inference.serving() == "v2")
    broken = tiny_version(models, "v3", FALLING)
    items = models / "v3" / "items.safetensors"
    content = bytearray(items.read_bytes())
    content[-1] ^= 1
    items.write_bytes(content)
    wrong_hash = tiny_version(models, "v4", FALLING)
    wrong_hash.manifest_sha256 = "0" * 64
    gone = tiny_version(models, "v5", FALLING)
    gone.version_id = "v6"
    outside = ev.ModelVersion(version_id="../models/v1")
    announce(kafka, broken, wrong_hash, gone, outside)

    def rejected() -> dict[str, float]:
        prefix = "freshet_inference_model_rejected_total{"
        return {k.removeprefix(prefix): v for k, v in inference.metrics().items() if k.startswith(prefix) and v}

    eventually(lambda: rejected() == {'reason="hash"}': 2.0, 'reason="missing"}': 1.0, 'reason="undecodable"}': 1.0})
    assert inference.serving() == "v2"
    assert ids(inference.recommend("ann", count=1)) == ["p4"]

    point(kafka, "v1")
    eventually(lambda: inference.serving() == "v1")
    listing = inference.stub.ListModels(pb.ListModelsRequest(), timeout=20)
    assert [v.version_id for v in listing.versions] == ["v6", "v4", "v3", "v2", "v1"]
    assert listing.pinned_version == "v1"
    assert ids(inference.recommend("ann", count=1)) == ["p1"]
    announce(kafka, tiny_version(models, "v7", RISING))  # newer, but another one is pinned
    withdraw(kafka, "v6")
    eventually(lambda: inference.stub.ListModels(pb.ListModelsRequest(), timeout=20).versions[0].version_id == "v7")
    assert inference.serving() == "v1"
    point(kafka, "")
    eventually(lambda: inference.serving() == "v7")


def test_a_restart_serves_the_newest_version_that_is_whole(kafka: KafkaSettings, tmp_path: Path) -> None:
    models = tmp_path / "models"
    states.write(kafka, [review("ann", "p0", 1)])
    announce(kafka, *(tiny_version(models, name, RISING) for name in ("v1", "v2", "v3")))
    (models / "v3" / "encoder.onnx").write_bytes(b"not an encoder")
    with running(kafka, tmp_path) as service:
        eventually(lambda: service.serving() == "v2")


def test_exploration_is_marked_and_repeats_with_its_seed(kafka: KafkaSettings, tmp_path: Path) -> None:
    states.write(kafka, [review("ann", "p0", 1)])
    announce(kafka, tiny_version(tmp_path / "models", "v1", {f"p{n}": float(n) for n in range(30)}, epsilon=0.5))
    runs = []
    for _ in range(2):
        with running(kafka, tmp_path, explore=True, seed=5) as service:
            eventually(lambda service=service: service.serving() == "v1")
            runs.append([list(service.recommend("ann", 20).products) for _ in range(3)])
            assert not any(product.explored for product in service.recommend("new", 20).products)
    assert runs[0] == runs[1]
    placed = [product for answer in runs[0] for product in answer]
    assert {product.explored for product in placed} == {True, False}
    assert all(0.0 < product.propensity <= 1.0 for product in placed)
    assert all(product.propensity > 0.5 for product in placed if not product.explored)


def test_health_and_reflection(inference: Inference) -> None:
    assert inference.health("freshet.v1.RecommenderService") == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(inference.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="freshet.v1.RecommenderService"),
    ]
    listed, described = stub.ServerReflectionInfo(iter(requests), timeout=20)
    names = {service.name for service in listed.list_services_response.service}
    assert {"freshet.v1.RecommenderService", "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


def test_sigterm_finishes_the_calls_in_flight(kafka: KafkaSettings, inference: Inference) -> None:
    place = ev.LogPosition(partition=1, offset=1000)
    waiting = inference.stub.Recommend.future(pb.RecommendRequest(user_id="ann", after_position=place), timeout=60)
    with pytest.raises(grpc.RpcError):  # by when it is answered, the other one waits
        inference.stub.Recommend(pb.RecommendRequest(user_id="ann", after_position=place), timeout=0.5)
    inference.process.terminate()
    eventually(lambda: inference.health() != health_pb2.HealthCheckResponse.SERVING)
    send_state(kafka, ev.Event(user_id="bob", product_id="p0", event_id="e"), place)
    assert waiting.result().strategy == pb.STRATEGY_COUNTED
    assert inference.process.wait(30) == 0
    assert "Traceback" not in inference.log


def test_sigterm_lets_nobody_wait_for_a_position_that_does_not_come(kafka: KafkaSettings, tmp_path: Path) -> None:
    place = ev.LogPosition(partition=1, offset=1000)
    request = pb.RecommendRequest(user_id="ann", after_position=place)
    with running(kafka, tmp_path, drain_seconds=600) as service:
        waiting = service.stub.Recommend.future(request, timeout=600)
        with pytest.raises(grpc.RpcError):  # by when it is answered, the other one waits
            service.stub.Recommend(request, timeout=0.5)
        service.process.terminate()
        assert waiting.exception(timeout=30).code() == grpc.StatusCode.UNAVAILABLE
        assert "the service is stopping: try again" in waiting.exception().details()
        assert service.process.wait(30) == 0


def test_nothing_is_recommended_before_the_log_was_read_and_a_missing_broker_is_waited_for(
    link: Link, linked: KafkaSettings, tmp_path: Path
) -> None:
    link.cut()
    with running(linked, tmp_path, serving=False) as service:
        assert service.health() == health_pb2.HealthCheckResponse.NOT_SERVING
        event = ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="a", product_id="b", event_id="once")
        for call, request, advice in [
            (service.stub.Recommend, pb.RecommendRequest(user_id="a"), "SERVING"),
            (service.stub.RecordEvents, pb.RecordEventsRequest(events=[event]), "same event_ids"),
        ]:
            with pytest.raises(grpc.RpcError) as refused:
                call(request, timeout=1)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert advice in refused.value.details()
        link.mend()
        service.wait_until_serving()
        recorded = service.stub.RecordEvents(pb.RecordEventsRequest(events=[event]), timeout=30)
        assert recorded.events[0].event_id == "once"
        link.cut()
        with pytest.raises(grpc.RpcError) as refused:  # away again, in the middle
            service.stub.RecordEvents(pb.RecordEventsRequest(events=[event]), timeout=1)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert service.recommend("a").fallback == pb.FALLBACK_EMPTY_CATALOGUE  # what is known is still answered
        assert service.stop() == 0


def test_what_the_operator_must_change_is_said(kafka: KafkaSettings, inference: Inference, tmp_path: Path) -> None:
    def ended(**settings: object) -> tuple[int, str]:
        result = subprocess.run(
            [sys.executable, "-m", "services.inference"],
            env=environment(kafka, tmp_path, **settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return result.returncode, result.stderr

    port = inference.address.rpartition(":")[2]
    status, message = ended(grpc_port=port)
    assert status == 2
    assert f"can't listen on 127.0.0.1:{port}" in message
    assert "FRESHET_INFERENCE_GRPC_PORT" in message
    assert "add_port" not in message, "gRPC's own line says less"
    assert "Traceback" not in message
    status, message = ended(masked_kinds="review,sneeze")
    assert status == 2
    assert "FRESHET_SHOP_MASKED_KINDS" in message


def test_serving_imports_no_torch() -> None:
    program = "import sys, services.inference.__main__; print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.split() == ["False", "True"]


def test_the_sums_of_a_call_are_not_shared_out_among_threads(kafka: KafkaSettings, tmp_path: Path) -> None:
    """Those of BLAS would spin between calls, on cores that others need."""
    stock(kafka, products=10_000, users=20)
    announce(kafka, write_learned(tmp_path / "models", 10_000))
    with running(kafka, tmp_path) as inference:
        eventually(inference.serving)
        before = busy_ticks(inference.process.pid)
        for n in range(500):
            assert inference.recommend(user_ids(20)[n % 20]).strategy == pb.STRATEGY_LEARNED
        *_, second, first = sorted(
            ticks - before.get(thread, 0) for thread, ticks in busy_ticks(inference.process.pid).items()
        )
        assert second < first / 2


def busy_ticks(pid: int) -> dict[str, int]:
    """What each thread of a process has used of a processor, in the kernel's ticks."""
    spent = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        spent[task.name] = int(fields[11]) + int(fields[12])  # user and system time: 14 and 15, counted from 1
    return spent
