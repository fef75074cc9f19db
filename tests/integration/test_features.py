"""Features as a process on a real broker: poison, kills, several workers, a broker that is away."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from services.features import stream
from shared.log.clients import LogReader, client_config, partition_of
from shared.log.merge import AppliedMarks
from shared.log.records import key_of
from shared.log.topics import Topics, ensure_topics, specifications
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.support.link import Link
from tests.support.processes import ROOT, Service, kafka_environment, running
from tests.support.writing import writer

START_MS = 1_300_000_000_000


def review(n: int, **fields: object) -> pb.Event:
    """Event `n` of a replay, by one of 40 users."""
    event = pb.Event(
        kind=pb.EVENT_KIND_REVIEW,
        user_id=f"u{n % 40}",
        product_id=f"p{n % 7}",
        event_time_ms=START_MS + n,
        event_id=f"e{n}",
        source="set/0",
        sequence=n + 1,
        text=("I love this, great sound" if n % 3 else "awful, it broke") + f" {n}",
        rating=1.0 + n % 5,
    )
    event.MergeFrom(pb.Event(**fields))
    return event


def write(kafka: KafkaSettings, records: Iterable[pb.Event | tuple[bytes | None, bytes | None]]) -> None:
    """Write events, or keys and values, to `freshet.events` as a shop would."""
    producer = writer(kafka)
    for record in records:
        key, value = record if isinstance(record, tuple) else (key_of(record) or None, record.SerializeToString())
        producer.send(Topics.of(kafka).events, key=key, value=value)
    producer.flush(30)


class Log:
    """Everything of one topic, read as it comes."""

    def __init__(self, kafka: KafkaSettings, topic: str, partitions: int) -> None:
        self._reader = LogReader(kafka, {(topic, p): -1 for p in range(partitions)})
        self.messages: list[Message] = []

    def read(self) -> list[Message]:
        self.messages += self._reader.poll(0.05)
        return self.messages


class States(Log):
    """What lies in `freshet.states`, and what a reader that drops repeats would apply of it."""

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__(kafka, Topics.of(kafka).states, kafka.partitions)

    @property
    def all(self) -> list[pb.StateVector]:
        return [pb.StateVector.FromString(m.value()) for m in self.read()]

    def ids(self) -> set[str]:
        return {state.event_id for state in self.all}

    def applied(self) -> list[str]:
        marks: dict[int, AppliedMarks] = {}
        return [s.event_id for s in self.all if marks.setdefault(s.source_partition, AppliedMarks()).accept(s)]


def features(kafka: KafkaSettings, log_file: Path, **more: str) -> Service:
    environment = kafka_environment(kafka) | {f"FRESHET_FEATURES_{k}": v for k, v in more.items()}
    return running("services.features", environment, log_file)


def has_partitions(worker: Service, count: int) -> bool:
    return worker.metrics().get("freshet_features_partitions") == count


def test_each_event_becomes_one_state_in_its_own_partition_and_order_and_poison_goes_aside(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    good = [review(n) for n in range(300)]
    good[7].user_id = ""  # a guest's
    oversized = b"\xff" * (stream.MOST_LETTER_BYTES + 5)
    poison = [
        (b"k1", b"\xff\xfe not an event", "undecodable"),
        (None, None, "undecodable"),
        (b"u1", None, "undecodable"),
        (b"u2", b"", "no_kind"),
        (b"u3", review(901, rating=9.0).SerializeToString(), "bad_rating"),
        (b"u4", review(902, kind=77).SerializeToString(), "no_kind"),
        (b"u5", b"\x1a\x02\xff\xfe", "undecodable"),
        (b"u6", oversized, "undecodable"),
    ]
    mixed = [*good[:100], *((key, value) for key, value, _ in poison), *good[100:]]
    write(kafka, mixed)
    states, letters = States(kafka), Log(kafka, Topics.of(kafka).dead_letters, 1)
    with features(kafka, tmp_path / "log", BATCH="50") as worker:
        worker.wait_for(lambda: len(states.read()) >= 300 and len(letters.read()) >= len(poison), "all")
        producer = writer(kafka)
        # A tick per partition, as a replay writes them, and an event that lies where its key would not place it.
        tick = pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=START_MS + 10_000, source="set/0", sequence=300)
        for partition in range(kafka.partitions):
            producer.send(Topics.of(kafka).events, key=None, value=tick.SerializeToString(), partition=partition)
        stray, elsewhere = (
            review(303, event_time_ms=START_MS + 10_000),
            (partition_of(b"u23", kafka.partitions) + 1) % kafka.partitions,
        )
        producer.send(Topics.of(kafka).events, key=b"u23", value=stray.SerializeToString(), partition=elsewhere)
        producer.flush(30)
        worker.wait_for(lambda: len(states.read()) >= 304, "ticks")
        worker.wait_for(lambda: worker.metrics()["freshet_features_states_total"] == 304, "acknowledgements")
        metrics = worker.metrics()
        assert worker.stop() == 0
    assert not list(ROOT.glob(f"{kafka.topic_prefix}-features*")), "Faust made a folder"
    mine = [t for t in AdminClient(client_config(kafka)).list_topics(timeout=10).topics if kafka.topic_prefix in t]
    assert sorted(mine) == sorted(spec.topic for spec in specifications(kafka)), "Faust made a topic"

    by_partition: dict[int, list[pb.StateVector]] = {}
    for message, state in zip(states.messages, states.all, strict=True):
        assert message.partition() == state.source_partition
        assert state.source_topic == Topics.of(kafka).events
        assert message.key() == ((state.user_id or state.product_id).encode() or None)
        assert abs(state.recorded_ms - message.timestamp()[1]) < 120_000, "the wall clock's, both of them"
        by_partition.setdefault(state.source_partition, []).append(state)
    for partition, described in by_partition.items():
        sent = [e for e in good if partition_of(key_of(e), kafka.partitions) == partition]
        if partition == elsewhere:
            assert described.pop().event_id == stray.event_id
        assert [s.event_id for s in described] == [*(e.event_id for e in sent), ""]
        assert [s.source_offset for s in described] == sorted({s.source_offset for s in described})
        assert (described[-1].kind, described[-1].event_time_ms) == (pb.EVENT_KIND_TICK, START_MS + 10_000)
        assert [s.rating for s in described[:-1]] == [e.rating for e in sent]
        assert all((s.sentiment > 0) == ("love" in e.text) for s, e in zip(described, sent, strict=False))

    for message in letters.messages:
        headers = {name: value.decode() for name, value in message.headers()}
        key, value, reason = next(p for p in poison if p[0] == message.key())
        assert headers.pop("reason") == reason
        assert headers.pop("topic") == Topics.of(kafka).events
        assert headers.pop("message")
        assert 0 <= int(headers.pop("partition")) < kafka.partitions
        assert int(headers.pop("offset")) >= 0
        if value is oversized:
            assert headers.pop("size") == str(len(key) + len(value))
            assert value.startswith(message.value())
        else:
            assert message.value() == value
        assert not headers
    assert {m.key() for m in letters.messages} == {key for key, _, _ in poison}
    assert metrics['freshet_features_dead_letters_total{reason="undecodable"}'] == 5
    assert metrics['freshet_features_dead_letters_total{reason="bad_rating"}'] == 1
    assert metrics['freshet_features_dead_letters_total{reason="bad_dwell"}'] == 0
    assert metrics['freshet_features_events_total{kind="review"}'] == 301
    assert metrics['freshet_features_events_total{kind="tick"}'] == 3
    assert metrics['freshet_features_imputed_total{what="price"}'] == 301
    assert metrics['freshet_features_imputed_total{what="rating"}'] == 0
    assert metrics['freshet_features_reviews_total{sentiment="positive"}'] == 200
    assert metrics['freshet_features_reviews_total{sentiment="negative"}'] == 101
    assert metrics["freshet_features_vader_seconds_count"] == 301
    assert metrics["freshet_features_event_time_seconds"] == (START_MS + 10_000) / 1000


@pytest.mark.slow
def test_stopped_and_started_again_it_describes_nothing_twice(kafka: KafkaSettings, tmp_path: Path) -> None:
    """Stopped in the middle of a backlog: what is in flight is finished and committed, the rest left."""
    states = States(kafka)
    write(kafka, (review(n) for n in range(3000)))
    with features(kafka, tmp_path / "log", BATCH="20") as worker:
        worker.wait_for(lambda: len(states.read()) >= 100, "first states")
        assert worker.stop() == 0
    while states.read() != (before := list(states.messages)):
        pass
    assert len(before) < 3000, "the stop came too late to show anything"
    with features(kafka, tmp_path / "log", BATCH="20") as worker:
        worker.wait_for(lambda: len(states.ids()) == 3000, "the others")
        assert worker.stop() == 0
    assert len(states.all) == 3000
    assert len(states.applied()) == 3000


@pytest.mark.slow
def test_workers_share_the_partitions_and_one_killed_in_the_middle_loses_nothing(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    states = States(kafka)
    with features(kafka, tmp_path / "a", BATCH="20") as one, features(kafka, tmp_path / "b", BATCH="20") as other:
        one.wait_for(
            lambda: sorted(w.metrics().get("freshet_features_partitions", 0) for w in (one, other)) == [1, 2],
            "shared partitions",
        )
        write(kafka, (review(n) for n in range(2000)))
        one.wait_for(lambda: len(states.read()) >= 200, "first states")
        worker, survivor = (one, other) if has_partitions(one, 2) else (other, one)
        worker.kill()
        write(kafka, (review(n) for n in range(2000, 2500)))
        survivor.wait_for(lambda: len(states.ids()) == 2500, "every event")
        assert has_partitions(survivor, 3)
        assert survivor.stop() == 0
    assert sorted(states.applied()) == sorted(f"e{n}" for n in range(2500))


@pytest.mark.slow
def test_a_broker_that_is_away_at_the_start_is_waited_for_and_a_stop_is_obeyed_meanwhile(
    link: Link, linked: KafkaSettings, tmp_path: Path
) -> None:
    link.cut()
    with features(linked, tmp_path / "log") as worker, features(linked, tmp_path / "stopped") as stopped:
        worker.wait_for(lambda: "no answer from" in worker.log, "patience")
        stopped.process.send_signal(signal.SIGINT)
        assert stopped.process.wait(15) == 0
        link.mend()
        worker.wait_for(lambda: has_partitions(worker, 3), "partitions", seconds=30)
        write(linked, [review(0)])
        states = States(linked)
        worker.wait_for(lambda: len(states.read()) == 1, "state")
        assert worker.stop() == 0


@pytest.mark.slow
def test_a_broker_that_goes_away_in_the_middle_is_waited_for(link: Link, linked: KafkaSettings, tmp_path: Path) -> None:
    ensure_topics(linked, patience_seconds=20)
    write(linked, (review(n) for n in range(6000)))
    states = States(linked)
    with features(linked, tmp_path / "log", BATCH="20") as worker:
        worker.wait_for(lambda: len(states.read()) >= 200, "first states")
        link.cut()
        worker.wait_for(lambda: "no Kafka broker answers" in worker.log, "loss of the broker")
        assert len(states.read()) < 6000, "the broker went away too late to show anything"
        link.mend()
        write(linked, (review(n) for n in range(6000, 6100)))
        worker.wait_for(lambda: len(states.ids()) == 6100, "every event")
        assert len(worker.log.splitlines()) < 60, "it says that the broker is away, not at every attempt"
        link.cut()
        assert worker.stop() == 0, "told to stop, it does not wait for the broker"
    assert sorted(states.applied()) == sorted(f"e{n}" for n in range(6100))


def test_a_taken_metrics_port_ends_it_with_advice(kafka: KafkaSettings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with features(kafka, tmp_path / "log", METRICS_PORT=port) as worker:
            assert worker.process.wait(30) == 2
            assert "choose another FRESHET_FEATURES_METRICS_PORT" in worker.log


def test_help_lists_every_setting_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "services.features", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True).stdout
    assert "FRESHET_FEATURES_RATING_WEIGHT" in shown
    assert "FRESHET_KAFKA_BOOTSTRAP_SERVERS" in shown
    with running("services.features", {"FRESHET_FEATURES_RATNG_WEIGHT": "1"}, tmp_path / "log") as worker:
        assert worker.process.wait(30) == 2
        assert "did you mean FRESHET_FEATURES_RATING_WEIGHT?" in worker.log
