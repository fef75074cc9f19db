"""Calls beyond what is answered at a time: refused with what to do, counted by method, and health goes on."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import LogPosition
from shared.settings import KafkaSettings
from tests.support.inference import eventually, running


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
        assert "ask again" in error.details()
        assert inference.health() == health_pb2.HealthCheckResponse.SERVING, "who is busy is not ill"
        shed = 'freshet_inference_requests_total{code="RESOURCE_EXHAUSTED",method="ListModels"}'
        assert inference.metrics()[shed] == 1
        waiting.cancel()
        eventually(lambda: refused() is None)
        with pytest.raises(grpc.FutureCancelledError):
            waiting.result()
