"""A shop goes live while its backfill still runs: neither waits for the other, and each event counts once."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path

import grpc
import pytest

from replay.sample.shop import write_sample
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, Event
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import KafkaSettings
from tests.support.inference import eventually
from tests.support.loop import figure, loop

BACKFILL = 1500
LEARNED = "freshet_trainer_applied_events_total"
SERVED = "freshet_inference_applied_total"
JUDGED = "freshet_evaluator_applied_events_total"


@pytest.mark.slow
def test_live_events_are_learned_and_served_while_the_backfill_runs(kafka: KafkaSettings, tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.json.gz"
    write_sample(reviews, tmp_path / "products.json.gz", users=120, products=90, events=BACKFILL, seed=5)
    with gzip.open(reviews, "rt") as lines:
        users = Counter(json.loads(line)["reviewerID"] for line in lines)
    ann, events_of_ann = users.most_common(1)[0]
    with loop(kafka, tmp_path / "system") as system:
        system.start("services.features")
        system.environment["FRESHET_TRAINER_NICENESS"] = "1"
        trainer, evaluator = system.start("services.trainer"), system.start("services.evaluator")
        inference = system.start("services.inference")
        for service, name in ((trainer, "trainer"), (evaluator, "evaluator"), (inference, "inference")):
            ready = f"freshet_{name}_ready"
            service.wait_for(lambda service=service, ready=ready: figure(service, ready) == 1, "the log")
        replay = system.start("replay", "run", str(reviews), "--rate", "50")  # half a minute
        trainer.wait_for(lambda: figure(trainer, LEARNED) > 50, "the backfill")
        assert os.getpriority(os.PRIO_PROCESS, trainer.process.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 1)
        address = re.search(r"gRPC on (\S+:[0-9]+)", inference.log)
        assert address is not None
        replay.process.send_signal(signal.SIGSTOP)  # so that it can't end first, however slow the machine
        with grpc.insecure_channel(address[1]) as channel:
            shop = RecommenderServiceStub(channel)
            # Today, years after everything the backfill will bring.
            view = Event(kind=EVENT_KIND_VIEW, user_id=ann, product_id="today's")
            guest = Event(kind=EVENT_KIND_VIEW, product_id="today's")
            before = figure(trainer, LEARNED)
            recorded = shop.RecordEvents(pb.RecordEventsRequest(events=[view, guest]), timeout=20).events
            for event in recorded:  # the guest's may lie in another partition, and be applied later
                answer = shop.Recommend(pb.RecommendRequest(user_id=ann, after_position=event.position), timeout=20)
            assert "today's" in {product.product_id for product in answer.products}, "a guest's view made it popular"
            known = shop.GetUser(pb.GetUserRequest(user_id=ann), timeout=20)
            assert known.events < events_of_ann, "the backfill is not through"
            assert "today's" in {event.product_id for event in known.history}
        replay.process.send_signal(signal.SIGCONT)
        # Learned before the backfill is through: nothing waits for the years in between.
        eventually(lambda: figure(evaluator, "freshet_evaluator_guest_events_total") == 1)
        assert replay.process.poll() is None
        assert figure(trainer, LEARNED) > before
        assert replay.process.wait(60) == 0, replay.log
        for service, name in ((trainer, LEARNED), (inference, SERVED), (evaluator, JUDGED)):
            service.wait_for(lambda service=service, name=name: figure(service, name) == BACKFILL + 2, "all events")
        late = figure(inference, "freshet_inference_late_total")
        assert 0 < late <= events_of_ann
        assert figure(trainer, "freshet_trainer_late_total") == late
        assert figure(evaluator, "freshet_evaluator_late_total") == late
        assert figure(trainer, "freshet_trainer_ordered") == 1.0
        manifests = [json.loads(file.read_text()) for file in (tmp_path / "system/models").glob("0*/manifest.json")]
        assert [manifest["ordered"] for manifest in manifests] == [True] * 3
        for service in (trainer, inference, evaluator):
            assert service.stop() == 0, service.log
