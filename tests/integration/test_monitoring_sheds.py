"""Calls beyond what is answered at a time: refused with what to do, counted by method, and health goes on."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

import freshet
from services.inference.calls.admission import LATEST_MS, SOONEST_MS
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import LogPosition, Product
from shared.process.settings import KafkaSettings
from tests.support.inference import Inference, eventually, running

PRODUCTS = 1000
ASK = pb.RecommendRequest(wishes=pb.Wishes(count=PRODUCTS, product_fields={"paths": ["title"]}))


def test_what_is_too_much_at_a_time_is_refused_and_counted(kafka: KafkaSettings, tmp_path: Path) -> None:
    never = pb.RecommendRequest(user_id="u", after_position=LogPosition(partition=0, offset=1000))
    with running(kafka, tmp_path, maximum_concurrent_rpcs=1, wait_seconds=60) as inference:
        waiting = inference.stub.Recommend.future(never, timeout=60)

        def refused() -> grpc.RpcError | None:
            try:
                inference.stub.ListModels(pb.ListModelsRequest(), timeout=20)
            except grpc.RpcError as error:
                return error
            return None

        error = eventually(refused)
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "try again" in error.details()
        assert inference.health() == health_pb2.HealthCheckResponse.SERVING, "who is busy is not ill"
        shed = 'freshet_inference_requests_total{code="RESOURCE_EXHAUSTED",method="ListModels"}'
        assert inference.metrics()[shed] == 1
        waiting.cancel()
        eventually(lambda: refused() is None)
        with pytest.raises(grpc.FutureCancelledError):
            waiting.result()


def test_who_waits_does_not_keep_others_on_the_connection_from_being_read(kafka: KafkaSettings, tmp_path: Path) -> None:
    never = pb.RecommendRequest(user_id="u", after_position=LogPosition(partition=0, offset=1000))
    with running(kafka, tmp_path, calls_per_connection=4, wait_seconds=60) as inference:
        waiting = [inference.stub.Recommend.future(never, timeout=60) for _ in range(8)]
        ended = eventually(lambda: [call for call in waiting if call.done()] if sum(map(_done, waiting)) == 6 else [])
        for call in ended:
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2 calls of this connection wait for after_position" in call.details()
        assert inference.recommend("u").fallback == pb.FALLBACK_EMPTY_CATALOGUE
        for call in waiting:
            call.cancel()


def _done(call: grpc.Future) -> bool:
    return bool(call.done())


def test_a_client_holds_back_what_a_connection_has_no_room_for(kafka: KafkaSettings, tmp_path: Path) -> None:
    with running(kafka, tmp_path, calls_per_connection=4) as inference:
        inference.stub.UpsertProducts(pb.UpsertProductsRequest(products=[Product(product_id="p")]), timeout=20)
        calls = [inference.stub.ListModels.future(pb.ListModelsRequest(), timeout=30) for _ in range(200)]
        assert [call.code() for call in calls] == [grpc.StatusCode.OK] * len(calls)


@pytest.mark.slow
def test_what_comes_faster_than_it_is_computed_is_refused_with_when_to_come_again(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    """Answers so large that they take milliseconds, many at once."""
    with running(kafka, tmp_path, longest_queue_ms=0.001, unread_calls=1000) as inference:
        stock(inference)
        recommend = [inference.stub.Recommend.future(ASK, timeout=30) for _ in range(200)]
        models = [inference.stub.ListModels.future(pb.ListModelsRequest(), timeout=30) for _ in range(20)]
        assert inference.health() == health_pb2.HealthCheckResponse.SERVING
        ended = [call.exception() for call in recommend]
        refused = [error for error in ended if error is not None]
        assert 0 < len(refused) < len(ended)
        for error in refused:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "try again a little later" in error.details()
            pushback = dict(error.trailing_metadata())["grpc-retry-pushback-ms"]
            assert SOONEST_MS <= int(pushback) <= LATEST_MS
        assert [call.exception() for call in models] == [None] * len(models), "others need not wait for turns"
        shed = 'freshet_inference_requests_total{code="RESOURCE_EXHAUSTED",method="Recommend"}'
        assert inference.metrics()[shed] == len(refused)
        assert answered_in_the_end(inference) == {PRODUCTS}


def test_what_is_not_even_read_in_time_is_refused_by_grpc_itself(kafka: KafkaSettings, tmp_path: Path) -> None:
    with running(kafka, tmp_path, unread_calls=2) as inference:
        stock(inference)
        recommend = [inference.stub.Recommend.future(ASK, timeout=30) for _ in range(100)]
        codes = Counter(call.code() for call in recommend)
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
        assert codes[grpc.StatusCode.OK]
        assert codes[grpc.StatusCode.CANCELLED]
        counted = inference.metrics()['freshet_inference_requests_total{code="CANCELLED",method="Recommend"}']
        assert counted == 0, "nobody has seen them"
        assert answered_in_the_end(inference) == {PRODUCTS}


def stock(inference: Inference) -> None:
    inference.stub.UpsertProducts(
        pb.UpsertProductsRequest(products=[Product(product_id=f"p{n}", title="A thing") for n in range(PRODUCTS)]),
        timeout=20,
    )
    eventually(lambda: len(inference.stub.Recommend(ASK, timeout=20).products) == PRODUCTS)


def answered_in_the_end(inference: Inference) -> set[int]:
    """How many products the client gets for each of many callers, who ask again where they are refused."""
    with freshet.Client(inference.address, timeout=60) as client, ThreadPoolExecutor(50) as threads:
        return {
            len(answer.products) for answer in threads.map(lambda _: client.recommend(None, count=1000), range(100))
        }
