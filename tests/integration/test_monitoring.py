"""What Prometheus and Grafana are given, on a running system after a replay: every panel has something to show."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest

from replay.sample.shop import write_sample
from shared.log.topics import Topics
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import KafkaSettings
from tests.support.gateway import Gateway
from tests.support.loop import figure, loop
from tests.support.panels import unanswered, unknown
from tests.support.processes import Service
from tests.support.prometheus import Prometheus, watching
from tests.support.writing import writer

EVENTS = 1500
PATIENCE_SECONDS = 60.0


def grpc_address(inference: Service) -> str:
    result: list[str] = []

    def look() -> bool:
        result.extend(re.findall(r"gRPC on [^ ]*:(\d+)", inference.log))
        return bool(result)

    inference.wait_for(look, "gRPC")
    return f"127.0.0.1:{result[0]}"


def write_reviews(folder: Path) -> Path:
    """A sample, and a line of it that is none."""
    folder.mkdir()
    reviews = folder / "reviews.json.gz"
    write_sample(reviews, folder / "products.json.gz", users=120, products=90, events=EVENTS, seed=5)
    with gzip.open(reviews, "ab") as more:
        more.write(b"no review\n")
    return reviews


@pytest.fixture
def watched(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that watches a system which has replayed a sample, met bad records and answered calls."""
    reviews = write_reviews(tmp_path / "sample")
    with loop(kafka, tmp_path / "loop") as system:
        services = {
            name: system.start(f"services.{name}") for name in ("features", "trainer", "inference", "evaluator")
        }
        services["features"].wait_for(
            lambda: figure(services["features"], "freshet_features_partitions") > 0, "partitions of its own"
        )
        address = grpc_address(services["inference"])
        for name in ("trainer", "inference", "evaluator"):
            service = services[name]
            service.wait_for(lambda s=service, n=name: figure(s, f"freshet_{n}_ready") == 1, "work")
        system.environment |= {"FRESHET_GATEWAY_RECOMMENDER": address, "FRESHET_GATEWAY_PORT": "0"}
        gateway = services["gateway"] = system.start("services.gateway")
        gateway.wait_for(lambda: figure(gateway, "freshet_gateway_ready") == 1, "work")
        services["replay"] = system.start("replay", "run", str(reviews), "--rate", "150", "--stay")
        ports = {name: service.metrics_port for name, service in services.items()}
        with watching(tmp_path / "prometheus", ports) as prometheus, grpc.insecure_channel(address) as channel:
            until_learned(services, RecommenderServiceStub(channel), kafka)
            yield prometheus


def until_learned(services: Mapping[str, Service], stub: RecommenderServiceStub, kafka: KafkaSettings) -> None:
    """Ask, and send what is no event, until the replay is done, a version answers and the evaluator has judged all."""
    producer = writer(kafka)
    http = Gateway(services["gateway"])

    def done() -> bool:
        http.ask("/v1/trending")
        producer.send(Topics.of(kafka).events, key=b"u", value=b"\xff no event")
        producer.flush(20)
        stub.Recommend(pb.RecommendRequest(user_id="nobody", wishes=pb.Wishes(count=5)), timeout=20)
        for method, request in (
            ("GetUser", pb.GetUserRequest(user_id="nobody")),
            ("ListModels", pb.ListModelsRequest()),
        ):
            try:
                getattr(stub, method)(request, timeout=20)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.NOT_FOUND
        return (
            figure(services["replay"], "freshet_replay_done") == 1
            and figure(services["trainer"], "freshet_trainer_applied_events_total") == EVENTS
            and figure(services["evaluator"], "freshet_evaluator_applied_events_total") == EVENTS
            and figure(services["inference"], "freshet_inference_model_swaps_total") > 0
            and figure(services["evaluator"], "freshet_evaluator_learned_events_total") > 0
        )

    services["evaluator"].wait_for(done, "judged events, some of them by a version", seconds=90)


@pytest.mark.slow
def test_every_panel_has_something_to_show(watched: Prometheus) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while wrong := unanswered(watched, rate_interval="15s"):
        assert time.monotonic() < deadline, wrong
        time.sleep(0.5)
    assert unknown(watched) == set()
    while watched.values("freshet_trainer_unpublished_events") != [0.0]:  # the last event makes a version
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert watched.values("freshet_trainer_publish_events") == [500.0]
    assert watched.down() == []
    assert watched.broken_rules() == []
    assert watched.values("count(up == 1)") == [7.0], "Prometheus itself and six services"
