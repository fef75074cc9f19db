"""Three brokers with two copies in sync asked for: one is killed under load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from replay.sample.shop import write_sample
from shared.log.clients import client_config
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event
from shared.process.settings import KafkaSettings
from tests.kafka.log import read_all
from tests.kafka.shop import Shop
from tests.support import apache_kafka
from tests.support.apache_kafka import Cluster
from tests.support.loop import figure, loop

EVENTS = 3000
LEARNED = "freshet_trainer_applied_events_total"
SERVED = "freshet_inference_applied_total"


def leader(kafka: KafkaSettings) -> int:
    """The broker that leads the first partition of events."""
    topic = Topics.of(kafka).events
    return int(AdminClient(client_config(kafka)).list_topics(topic, timeout=20).topics[topic].partitions[0].leader)


@pytest.mark.timeout(300)
def test_one_killed_under_load_costs_nothing_acknowledged_and_each_event_counts_once(
    distribution: Path, tmp_path: Path
) -> None:
    reviews = tmp_path / "reviews.json.gz"
    write_sample(reviews, tmp_path / "products.json.gz", users=120, products=90, events=EVENTS, seed=5)
    with apache_kafka.running(Cluster(distribution, tmp_path, brokers=3)) as cluster:
        kafka = KafkaSettings(bootstrap_servers=cluster.addresses(), partitions=3, replication_factor=3)
        ensure_topics(kafka, patience_seconds=60)
        with loop(kafka, tmp_path / "loop") as system:
            features, trainer = system.start("services.features"), system.start("services.trainer")
            inference = system.start("services.inference")
            inference.wait_for(lambda: figure(inference, "freshet_inference_ready") == 1, "work")
            address = re.search(r"gRPC on (\S+:[0-9]+)", inference.log)
            assert address is not None
            shop = Shop(address[1])
            shop.start()
            replay = system.start("replay", "run", str(reviews), "--rate", "120")
            trainer.wait_for(lambda: figure(trainer, LEARNED) > 300, "events learned")

            killed = leader(kafka)
            acknowledged = len(shop.acknowledged)
            cluster.kill(killed)
            assert replay.process.poll() is None, "the load had ended"
            replay.wait_for(lambda: replay.process.poll() == 0, "end of the replay", seconds=120)
            inference.wait_for(lambda: len(shop.acknowledged) > acknowledged + 100, "views recorded without the broker")
            shop.stop()

            everything = EVENTS + len(shop.acknowledged)
            trainer.wait_for(lambda: figure(trainer, LEARNED) >= everything, "all events learned", seconds=90)
            inference.wait_for(lambda: figure(inference, SERVED) >= everything, "all events served")
            assert leader(kafka) != killed
            log = {
                (m.partition(), m.offset()): Event.FromString(m.value())
                for m in read_all(kafka, Topics.of(kafka).events)
            }
            assert {event_id: log[place].event_id for event_id, place in shop.acknowledged.items()} == {
                event_id: event_id for event_id in shop.acknowledged
            }
            replayed = {e.sequence for e in log.values() if e.source and e.kind != EVENT_KIND_TICK}
            assert replayed == set(range(1, EVENTS + 1))
            # Whatever comes twice would have come by now, since the readers are at the log's end.
            assert figure(trainer, LEARNED) == everything
            assert figure(inference, SERVED) == everything
            for service in (features, trainer, inference):
                assert service.stop() == 0, service.log
