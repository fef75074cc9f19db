"""Replay as a process on a real broker: everything arrives, once in effect, in order, whatever happens to it."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Message

from replay.sending.progress import ReplayPosition
from services.embedded import broker
from shared.log.clients import LogReader, partition_of
from shared.log.merge import AppliedMarks
from shared.log.records import check_event
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.support import snap
from tests.support.link import Link
from tests.support.processes import Service, kafka_environment, running

EVENTS = 2400
SENT = "freshet_replay_events_total"


def replay(
    kafka: KafkaSettings, folder: Path, *arguments: str | Path, **settings: str
) -> AbstractContextManager[Service]:
    """`python -m replay …`; its state and its log lie in `folder`."""
    environment = kafka_environment(kafka) | {"FRESHET_REPLAY_STATE_DIR": str(folder / "state")}
    environment |= {f"FRESHET_REPLAY_{name.upper()}": value for name, value in settings.items()}
    return running("replay", environment, folder / "replay.log", *(str(argument) for argument in arguments))


def ended(kafka: KafkaSettings, folder: Path, *arguments: str | Path, **settings: str) -> tuple[int, str]:
    """Run it to its end: exit status, and what it wrote."""
    log_file = folder / "replay.log"
    before = log_file.stat().st_size if log_file.exists() else 0
    with replay(kafka, folder, *arguments, **settings) as service:
        status = service.process.wait(60)
        return status, service.log[before:]


def has_sent(service: Service, events: int) -> bool:
    return service.metrics().get(SENT, 0.0) >= events


@dataclass
class Log:
    """`freshet.events` as a reader sees it."""

    messages: list[list[Message]]  # per partition
    events: list[list[pb.Event]]  # per partition, repeats left out, ticks included
    repeats: int

    def sequences(self, source_ends: str = "/0") -> list[list[int]]:
        """Per partition, without ticks."""
        return [
            [e.sequence for e in events if e.kind != pb.EVENT_KIND_TICK and e.source.endswith(source_ends)]
            for events in self.events
        ]

    def require_all(self, count: int, source_ends: str = "/0") -> None:
        """Every sequence up to `count` is there once, and in order in its partition; no tick claims too much."""
        result = self.sequences(source_ends)
        assert sorted(itertools.chain(*result)) == list(range(1, count + 1))
        assert all(sequences == sorted(sequences) for sequences in result)
        for events in self.events:
            claimed = 0
            for event in events:
                if event.kind == pb.EVENT_KIND_TICK:
                    claimed = max(claimed, event.event_time_ms)
                else:
                    assert event.event_time_ms >= claimed


def read(kafka: KafkaSettings, topic: str, partitions: int) -> list[list[Message]]:
    reader = LogReader(kafka, {(topic, p): -1 for p in range(partitions)})
    messages: list[list[Message]] = [[] for _ in range(partitions)]
    while not reader.caught_up:
        for message in reader.poll(0.5):
            messages[message.partition() or 0].append(message)
    reader.close()
    return messages


def read_log(kafka: KafkaSettings) -> Log:
    """The log, with the repeats left out as readers of states leave them out."""
    messages = read(kafka, Topics.of(kafka).events, kafka.partitions)
    log = Log(messages, [[] for _ in messages], 0)
    for partition, in_partition in enumerate(messages):
        marks = AppliedMarks()
        for message in in_partition:
            event = pb.Event.FromString(message.value() or b"")
            check_event(event)
            state = pb.StateVector(
                kind=event.kind, source=event.source, sequence=event.sequence, source_offset=message.offset()
            )
            if marks.accept(state):
                log.events[partition].append(event)
            else:
                log.repeats += 1
    return log


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snap.write(tmp_path_factory.mktemp("reviews") / "reviews.json.gz", snap.shop(EVENTS))


def test_everything_arrives_in_order_at_its_place_and_is_accounted_for(
    kafka: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    goods = [{"asin": f"B{n}", "title": f"Product {n}", "price": n + 0.5} for n in range(30)]
    metadata = snap.write(tmp_path / "products.json", goods, loose=True)
    before_ms = time.time() * 1000
    with replay(kafka, tmp_path, "run", reviews, "--metadata", metadata, "--within", "2s", "--stay") as service:
        service.wait_for(lambda: service.metrics().get("freshet_replay_done") == 1, "end")
        figures = service.metrics()
        assert service.stop() == 0
        output = service.log

    log = read_log(kafka)
    log.require_all(EVENTS)
    assert log.repeats == 0
    first_of_day: dict[int, int] = {}
    for partition, (messages, events) in enumerate(zip(log.messages, log.events, strict=True)):
        for message, event in zip(messages, events, strict=True):
            assert message.timestamp()[1] == pytest.approx(before_ms, abs=120_000)
            if event.kind == pb.EVENT_KIND_TICK:
                continue
            assert message.key() == event.user_id.encode()
            assert partition == partition_of(event.user_id.encode(), kafka.partitions)
            assert event.price == int(event.product_id[1:]) + 0.5
            first_of_day[event.sequence] = event.event_time_ms
        last = events[-1]
        assert (last.kind, last.event_time_ms) == (pb.EVENT_KIND_TICK, max(first_of_day.values()) + 1)
        assert sum(event.kind == pb.EVENT_KIND_TICK for event in events) >= EVENTS // 200
    assert [first_of_day[n] for n in range(1, EVENTS + 1)] == sorted(first_of_day.values())
    products = [pb.Product.FromString(m.value() or b"") for m in read(kafka, Topics.of(kafka).products, 1)[0]]
    assert [(p.product_id, p.title, p.price) for p in products] == [(g["asin"], g["title"], g["price"]) for g in goods]

    assert figures[SENT] == EVENTS
    assert figures["freshet_replay_progress_ratio"] == 1
    assert figures["freshet_replay_in_flight_messages"] == 0
    assert figures["freshet_replay_event_time_seconds"] == max(first_of_day.values()) / 1000
    assert figures["freshet_replay_asked_rate"] == pytest.approx(EVENTS / 2)
    assert figures['freshet_replay_rejected_lines_total{reason="not_json"}'] == 0
    assert re.search(r"done: 2,400 events sent and acknowledged in .* none failed", output)


@pytest.mark.slow
def test_killed_again_and_again_and_resumed_nothing_is_left_out_and_nothing_counts_twice(
    kafka: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    rng = random.Random(11)
    kept = 0
    for _ in range(3):
        with replay(kafka, tmp_path, "run", reviews, "--rate", "300", "--resume", save_seconds="0.2") as service:
            goal = rng.randint(350, 550)  # of this process; more than what waits for the first acknowledgement
            service.wait_for(lambda s=service, g=goal: has_sent(s, g), f"{goal} events")  # type: ignore[misc]
            service.kill()
        position = ReplayPosition.load(next((tmp_path / "state").glob("*/position.json")).parent)
        assert position is not None
        assert position.sequence > kept  # it did resume, and in the middle
        kept = position.sequence
    assert kept < EVENTS
    status, _ = ended(kafka, tmp_path, "run", reviews, "--resume")
    assert status == 0
    log = read_log(kafka)
    log.require_all(EVENTS)
    assert log.repeats > 0  # else no kill came between an acknowledgement and the saved position, and nothing was shown


def test_stopped_by_sigterm_it_keeps_its_position_and_sends_nothing_twice(
    kafka: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    with replay(kafka, tmp_path, "run", reviews, "--rate", "800") as service:
        service.wait_for(lambda: has_sent(service, 300), "300 events")
        assert service.stop() == 0
        sent = re.search(r"stopped after ([0-9,]+) of 2,400 events, all acknowledged", service.log)
        assert sent is not None
        assert f"python -m replay run {reviews} --rate 800 --resume" in service.log
    first = int(sent[1].replace(",", ""))
    assert max(itertools.chain(*read_log(kafka).sequences())) == first

    status, _ = ended(kafka, tmp_path, "run", reviews, "--rate", "5000", "--resume")
    assert status == 0
    log = read_log(kafka)
    log.require_all(EVENTS)
    assert log.repeats == 0
    status, output = ended(kafka, tmp_path, "run", reviews, "--resume")
    assert (status, "everything was sent before" in output) == (0, True)


def test_a_position_that_can_not_be_saved_is_said_and_costs_nothing(
    kafka: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    with replay(kafka, tmp_path, "run", reviews, "--within", "2s", save_seconds="0.1") as service:
        service.wait_for(lambda: has_sent(service, 100), "100 events")
        in_the_way = next((tmp_path / "state").glob("*/position.json")).with_name(".position.json.tmp")
        while not in_the_way.is_dir():
            with contextlib.suppress(FileExistsError):  # just being written
                in_the_way.mkdir()
        assert service.process.wait(30) == 0
        assert "the position can't be saved" in service.log
    read_log(kafka).require_all(EVENTS)


@pytest.mark.slow
def test_what_does_not_go_together_with_what_was_sent_before_is_refused_or_said(
    kafka: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    assert ended(kafka, tmp_path, "run", reviews, "--users-sample", "0.5")[0] == 0

    status, output = ended(kafka, tmp_path, "run", reviews, "--resume")
    assert status == 2
    assert "--users-sample 0.5, not everything" in output
    status, output = ended(kafka, tmp_path, "run", reviews)
    assert status == 2
    assert "readers would take the new events of everything for repeats" in output
    status, output = ended(kafka, tmp_path, "run", reviews, "--users-sample", "0.5")
    assert status == 0
    assert "readers skip what they have seen" in output

    elsewhere = KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers, topic_prefix=f"{kafka.topic_prefix}b", partitions=kafka.partitions
    )
    status, output = ended(elsewhere, tmp_path, "run", reviews, "--users-sample", "0.5", "--resume")
    assert status == 2
    assert "another log" in output
    metadata = snap.write(tmp_path / "products", [{"asin": "B1", "price": 1}])
    status, output = ended(kafka, tmp_path, "run", reviews, "--metadata", metadata)
    assert status == 0
    assert "count a second time" in output


def test_in_a_second_loop_time_goes_on_and_events_are_new(kafka: KafkaSettings, tmp_path: Path) -> None:
    path = snap.write(tmp_path / "reviews", snap.shop(100))
    assert ended(kafka, tmp_path, "run", path, "--loop", "2")[0] == 0
    log = read_log(kafka)
    log.require_all(100, "/0")
    log.require_all(100, "/1")
    status, output = ended(kafka, tmp_path, "run", path, "--loop", "100000")
    assert status == 2
    assert "reach the year 2200" in output


def test_a_range_of_time(kafka: KafkaSettings, tmp_path: Path, reviews: Path) -> None:
    some = ("--from", "2011-03-24", "--until", "2011-04-03")
    assert ended(kafka, tmp_path, "run", reviews, *some)[0] == 0
    assert sorted(itertools.chain(*read_log(kafka).sequences())) == list(range(51, 101))


@pytest.fixture
def away(tmp_path: Path) -> Iterator[KafkaSettings]:
    yield KafkaSettings(bootstrap_servers=f"127.0.0.1:{broker.free_port()}", topic_prefix="t", partitions=3)


@pytest.mark.slow
def test_a_broker_away_at_the_start_is_waited_for(
    link: Link, linked: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    link.cut()
    (tmp_path / "other").mkdir()
    with (
        replay(linked, tmp_path, "run", reviews) as service,
        replay(linked, tmp_path / "other", "run", reviews) as other,
    ):
        service.wait_for(lambda: "no answer from" in service.log, "complaint")
        assert SENT not in service.metrics()
        assert other.stop() == 0
        link.mend()
        assert service.process.wait(30) == 0
    read_log(linked).require_all(EVENTS)


@pytest.mark.slow
def test_a_broker_away_in_the_middle_is_waited_for_with_a_bounded_queue(
    link: Link, linked: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    ensure_topics(linked, patience_seconds=20)
    with replay(linked, tmp_path, "run", reviews, "--rate", "400", "--stay", queue_messages="100") as service:
        service.wait_for(lambda: has_sent(service, 200), "200 events")
        link.cut()
        service.wait_for(lambda: "behind the pace asked for" in service.log, "complaint")
        figures = service.metrics()
        assert figures["freshet_replay_behind_seconds"] > 2
        assert 0 < figures["freshet_replay_in_flight_messages"] <= 100
        assert "no Kafka broker answers" in service.log
        link.mend()
        service.wait_for(lambda: service.metrics().get("freshet_replay_done") == 1, "end")
        assert "caught up with the pace" in service.log
        assert service.log.count("behind the pace asked for") == 1
        assert service.stop() == 0
    read_log(linked).require_all(EVENTS)


def test_stopped_while_the_broker_is_away_it_ends_and_resumes(
    link: Link, linked: KafkaSettings, tmp_path: Path, reviews: Path
) -> None:
    ensure_topics(linked, patience_seconds=20)
    with replay(linked, tmp_path, "run", reviews, "--rate", "800", drain_seconds="0.2") as service:
        service.wait_for(lambda: has_sent(service, 200), "200 events")
        link.cut()
        service.wait_for(lambda: "no Kafka broker answers" in service.log, "complaint")
        assert service.stop() == 0
    link.mend()
    assert ended(linked, tmp_path, "run", reviews, "--resume")[0] == 0
    read_log(linked).require_all(EVENTS)


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"user,product\n1,2\n", "in no format that is known"),
        (b'{"user": 1}', "not one line"),
        (b"\x1f\x8b\x08\x00", "breaks off after line 0"),
    ],
)
def test_a_file_that_is_none_ends_it_with_status_2(
    away: KafkaSettings, tmp_path: Path, content: bytes | None, output: str
) -> None:
    path = tmp_path / "reviews"
    if content is not None:
        path.write_bytes(content)
    status, log = ended(away, tmp_path, "run", path)
    assert status == 2
    assert output in log
    assert "Traceback" not in log


def test_two_replays_do_not_share_a_state_folder(kafka: KafkaSettings, tmp_path: Path, reviews: Path) -> None:
    with replay(kafka, tmp_path, "run", reviews, "--rate", "10") as first:
        first.wait_for(lambda: SENT in first.metrics(), "start")
        status, output = ended(kafka, tmp_path, "run", reviews)
        assert status == 2
        assert "another replay uses" in output


def test_the_sample_enters_by_the_same_door(kafka: KafkaSettings, tmp_path: Path) -> None:
    out, meta = tmp_path / "sample.json.gz", tmp_path / "products.json.gz"
    numbers = ("--users", "20", "--products", "30", "--events", "150", "--seed", "3")
    assert ended(kafka, tmp_path, "sample", "--out", out, "--meta", meta, *numbers)[0] == 0
    status, output = ended(kafka, tmp_path, "run", out, "--metadata", meta)
    assert status == 0
    assert "150 lines, 150 usable, 0 left out" in output
    read_log(kafka).require_all(150)


def test_real_reviews(kafka: KafkaSettings, tmp_path: Path, data: Path) -> None:
    status, output = ended(kafka, tmp_path, "run", data / "amazon-2014/Musical_Instruments_5.json.gz")
    assert status == 0
    assert "10,261 lines, 10,261 usable" in output
    read_log(kafka).require_all(10_261)


SALES = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,85123A,OLD NAME,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
2,71053,LANTERN,1,2010-12-02 08:26:00,3.39,,United Kingdom
C3,85123A,WHITE LAMP,-2,2010-12-03 08:26:00,2.75,17850.0,United Kingdom
4,71053,damaged,-9,2010-12-03 08:26:00,0.0,,United Kingdom
"""
LAST_MS = 1_291_364_760_000  # 2010-12-03 08:26 UTC
DAY_MS = 86_400_000


def events_sent(kafka: KafkaSettings) -> list[tuple[bytes | None, pb.Event]]:
    """Key and event of every message but ticks, by sequence."""
    result = itertools.chain(*read(kafka, Topics.of(kafka).events, kafka.partitions))
    sent = [(message.key(), pb.Event.FromString(message.value() or b"")) for message in result]
    return sorted((pair for pair in sent if pair[1].kind != pb.EVENT_KIND_TICK), key=lambda pair: pair[1].sequence)


def products_sent(kafka: KafkaSettings) -> dict[str, pb.Product]:
    """What the log says of each product in the end."""
    (messages,) = read(kafka, Topics.of(kafka).products, 1)
    products = [pb.Product.FromString(message.value() or b"") for message in messages]
    assert [message.key() for message in messages] == [product.product_id.encode() for product in products]
    return {product.product_id: product for product in products}


def test_sales_with_guests_and_returns(kafka: KafkaSettings, tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(SALES)
    status, output = ended(kafka, tmp_path, "run", path)
    assert status == 0
    assert "4 lines, 3 usable, 1 left out (1 bad_quantity)" in output
    assert "left out line 5: quantity" in output
    assert [(key, event.kind, event.user_id, event.quantity) for key, event in events_sent(kafka)] == [
        (b"17850", pb.EVENT_KIND_PURCHASE, "17850", 6.0),
        (b"71053", pb.EVENT_KIND_PURCHASE, "", 1.0),
        (b"17850", pb.EVENT_KIND_RETURN, "17850", 2.0),
    ]


@pytest.mark.slow
def test_a_shops_export_by_its_mapping_that_ends_another_day(kafka: KafkaSettings, tmp_path: Path) -> None:
    path, mapping = tmp_path / "export.csv", tmp_path / "shop.toml"
    path.write_text("when;sku;who\n03.12.2010 08:26;a;u\n01.12.2010 08:26;b;u\n")
    mapping.write_text(
        '[columns]\nuser = "who"\nproduct = "sku"\ntime = "when"\n[time]\nformat = "%d.%m.%Y %H:%M"\n'
        '[kind]\ndefault = "cart"\n'
    )
    run = ("run", path, "--mapping", mapping)
    only_first = ("--until", "2010-12-02")
    assert ended(kafka, tmp_path, *run, *only_first, "--ending", "2010-12-13")[0] == 0
    assert [event.event_time_ms for _, event in events_sent(kafka)] == [LAST_MS + 8 * DAY_MS]

    status, output = ended(kafka, tmp_path, *run, "--ending", "2010-12-14")
    assert status == 2
    assert "with --ending 2010-12-13" in output
    status, output = ended(kafka, tmp_path, *run)
    assert (status, "with --ending 2010-12-13" in output) == (2, True)
    assert ended(kafka, tmp_path, *run, *only_first, "--resume")[0] == 0
    status, output = ended(kafka, tmp_path, *run, "--ending", "now")  # it ended another day before, and goes on so
    assert status == 0
    assert [event.event_time_ms for _, event in events_sent(kafka)][-1] == LAST_MS + 10 * DAY_MS
    status, output = ended(kafka, tmp_path, *run, "--resume", "--ending", "2010-12-14")
    assert (status, "with --ending 2010-12-13" in output) == (2, True)


def test_ending_now_is_kept_by_resuming(kafka: KafkaSettings, tmp_path: Path, reviews: Path) -> None:
    with replay(kafka, tmp_path, "run", reviews, "--ending", "now", "--rate", "800", save_seconds="0.1") as service:
        service.wait_for(lambda: has_sent(service, 200), "200 events")
        service.kill()
    folder = next((tmp_path / "state").glob("*/position.json")).parent
    position = ReplayPosition.load(folder)
    assert position is not None
    assert position.moved_ms % DAY_MS == 0
    assert position.moved_ms > 0
    position.model_copy(update={"moved_ms": position.moved_ms - DAY_MS}).save(folder)  # as if that was yesterday
    assert ended(kafka, tmp_path, "run", reviews, "--ending", "now", "--resume")[0] == 0
    log = read_log(kafka)
    log.require_all(EVENTS)
    last_ms = (snap.FIRST_SECONDS + (EVENTS - 1) // 5 * snap.DAY_SECONDS) * 1000
    newest = max(itertools.chain(*log.events), key=lambda event: event.sequence)
    assert newest.event_time_ms == last_ms + position.moved_ms - DAY_MS


def test_products_alone(kafka: KafkaSettings, tmp_path: Path) -> None:
    goods = [
        {"parent_asin": "B1", "title": "Old"},
        {"title": "nobody"},
        {"parent_asin": "B1", "title": "New", "price": 2},
    ]
    metadata = snap.write(tmp_path / "products.gz", [*goods, {"parent_asin": "B2", "main_category": "Toys"}])
    status, output = ended(kafka, tmp_path, "--products", metadata)
    assert status == 0
    assert "4 lines, 3 usable, 1 left out (1 no_product)" in output
    assert "done: 2 products sent and acknowledged; none failed" in output
    assert products_sent(kafka) == {
        "B1": pb.Product(product_id="B1", title="New", price=2.0),
        "B2": pb.Product(product_id="B2", categories=["Toys"]),
    }
    assert "products.rejected.tsv" in output
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["products.rejected.tsv"]
    sales, mapping = tmp_path / "sales.csv", tmp_path / "shop.toml"
    sales.write_text(SALES)
    assert ended(kafka, tmp_path, "--products", sales)[0] == 0
    assert products_sent(kafka)["85123A"] == pb.Product(product_id="85123A", title="WHITE LAMP", price=2.75)
    assert products_sent(kafka)["71053"].title == "LANTERN"
    mapping.write_text('[columns]\nproduct = "StockCode"\ntitle = "Country"\n')
    assert ended(kafka, tmp_path, "--products", sales, "--mapping", mapping)[0] == 0
    assert products_sent(kafka)["71053"] == pb.Product(product_id="71053", title="United Kingdom")


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ((), "name a command, run or sample, or --products"),
        (("--products", "absent"), "no such file: absent"),
        (("--mapping", "m.toml", "run", "f"), "--mapping belongs after the command"),
        (("run", "f", "--mapping", "absent.toml"), "the mapping absent.toml can't be read"),
        (("run", "f", "--ending", "soon"), "'soon' is neither now nor a day"),
    ],
)
def test_a_command_line_that_is_none_ends_it_with_status_2(
    away: KafkaSettings, tmp_path: Path, arguments: tuple[str, ...], output: str
) -> None:
    status, log = ended(away, tmp_path, *arguments)
    assert status == 2
    assert output in log
    assert "Traceback" not in log
