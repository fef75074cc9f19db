"""The evaluator as a process on a real broker."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.log.clients import CountedProducer, LogReader, producer_config
from shared.log.records import DAY_MS
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from shared.state.shop import ShopSettings
from tests.support import states
from tests.support.link import Link
from tests.support.processes import Service, kafka_environment, running
from tests.support.versions import announce, tiny_version

EVENTS = 800
# A version that knows the shelf by heart; far apart, so that popularity decides nothing.
SHELF = {f"p{n}": 10.0 * n for n in range(40)}


@contextmanager
def evaluating(kafka: KafkaSettings, folder: Path, **more: str) -> Iterator[Service]:
    environment = kafka_environment(kafka) | {"FRESHET_SHOP_MODELS_DIR": str(folder / "models")}
    for name, value in more.items():
        service = "SHOP" if name.lower() in ShopSettings.model_fields else "EVALUATOR"
        environment[f"FRESHET_{service}_{name}"] = value
    with running("services.evaluator", environment, folder / "evaluator.log") as service:
        yield service


def figure(service: Service, name: str) -> float:
    return service.metrics().get(f"freshet_evaluator_{name}", math.nan)


def wait_until_applied(service: Service, events: int) -> None:
    service.wait_for(lambda: figure(service, "applied_events_total") == events, f"{events} events applied")


def ends(kafka: KafkaSettings) -> dict[int, int]:
    """Partition of the states topic → offset of the next record to come."""
    topic = Topics.of(kafka).states
    reader = LogReader(kafka, {(topic, p): -1 for p in range(kafka.partitions)})
    offsets = dict.fromkeys(range(kafka.partitions), 0)
    while not reader.caught_up:
        for message in reader.poll(1.0):
            offsets[message.partition() or 0] = (message.offset() or 0) + 1
    reader.close()
    return offsets


def write_more(kafka: KafkaSettings, count: int) -> None:
    """More of the same shoppers, later."""
    more = list(states.shoppers(count, seed=4))
    for state in more:
        state.event_time_ms += 200 * DAY_MS
    states.write(kafka, more, first_offset=100_000, source="test/1")


def test_a_version_judges_nothing_that_it_may_have_learned(kafka: KafkaSettings, tmp_path: Path) -> None:
    states.write(kafka, states.shoppers(EVENTS))
    reached = {partition: offset - 1 for partition, offset in ends(kafka).items()}  # every event, not the last ticks
    beyond = {partition: offset + 1_000_000 for partition, offset in reached.items()}
    models = tmp_path / "models"
    announce(
        kafka,
        tiny_version(models, "of-all-events", SHELF, positions=reached, applied=EVENTS),
        tiny_version(models, "from-the-future", SHELF, positions=beyond, applied=2 * EVENTS),
    )
    with evaluating(kafka, tmp_path) as service:
        wait_until_applied(service, EVENTS)
        service.wait_for(lambda: figure(service, "held_back_versions") == 1, "a version at its positions")
        assert "judging with of-all-events" in service.log
        assert figure(service, "learned_events_total") == 0, "it came with the log, and judged none of what it learned"
        judged = figure(service, "judged_events_total")
        hit = 'hit_ratio{{k="10",policy="{}",window="{}"}}'
        counted = figure(service, hit.format("learned", "all"))
        assert counted > figure(service, hit.format("trending", "all")) > 0, "counts are served before any version"
        assert math.isnan(figure(service, hit.format("learned", "learned")))

        write_more(kafka, EVENTS)
        wait_until_applied(service, 2 * EVENTS)
        service.wait_for(lambda: figure(service, hit.format("learned", "learned")) >= 0, "figures of the version")
        assert figure(service, "learned_events_total") == figure(service, "judged_events_total") - judged > 0
        assert figure(service, hit.format("learned", "learned")) != figure(service, hit.format("trending", "learned"))
        assert figure(service, "model_applied_events") == EVENTS
        assert "from-the-future" not in service.log
        assert service.stop() == 0
        assert "stopped" in service.log


def test_every_event_is_accounted_for(kafka: KafkaSettings, tmp_path: Path) -> None:
    """Judged, masked or not wanted; the figures of a stream small enough to count by hand."""
    bought = [("ann", "p0"), ("bob", "p0"), ("cay", "p1"), ("dan", "p2"), ("ann", "p1"), ("bob", "p2")]
    stream = [states.review(user, product, day) for day, (user, product) in enumerate(bought)]
    stream.append(states.review("ann", "p0", 6))  # masked
    stream.append(states.review("cay", "p2", 7))
    stream[-1].kind = pb.EVENT_KIND_DISLIKE
    states.write(kafka, stream)
    states.write(kafka, stream)  # again, as after a killed worker: dropped
    with evaluating(kafka, tmp_path, TRENDING_HALF_LIFE_DAYS="1e9", SILENCE_SECONDS="1") as service:
        wait_until_applied(service, 8)
        service.wait_for(lambda: figure(service, "repeats_total") >= 8, "repeats")
        # bob: p0 alone is known, place 1. ann: p1 and p2 tie, as p0 is masked, place 1.5. bob: behind p1, place 2.
        expected = (1 / 1 + 1 / 1.5 + 1 / 2) / 6
        # What is served counts what is popular these days, too, so that p2 comes before p1 for ann.
        served = (1 / 1 + 1 / 2 + 1 / 2) / 6
        mrr = 'mrr_ratio{{policy="{}",window="all"}}'
        # Figures follow what they are of within half a second.
        service.wait_for(lambda: math.isclose(figure(service, mrr.format("learned")), served), "figures of all events")
        series = service.metrics()
        counted = {
            name: series[f"freshet_evaluator_{name}_total"]
            for name in ("judged_events", "unknown_products", "masked_events", "unwanted_events", "learned_events")
        }
        assert counted == {
            "judged_events": 6,
            "unknown_products": 3,  # p0, p1 and p2, when first seen
            "masked_events": 1,
            "unwanted_events": 1,
            "learned_events": 0,
        }
        for policy in ("trending", "repeat", "markov"):  # one pair was seen by then: p1 after p0
            assert math.isclose(series[f"freshet_evaluator_{mrr.format(policy)}"], expected)
        for policy in ("learned", "trending", "repeat", "markov"):
            assert series[f'freshet_evaluator_hit_ratio{{k="5",policy="{policy}",window="recent"}}'] == 0.5
        gains = {"trending": (1 + 1 / math.log2(2.5) + 1 / math.log2(3)) / 6, "popular-6h": (1 + 2 / math.log2(3)) / 6}
        for expert, ndcg in gains.items():
            alone = series[f'freshet_evaluator_expert_ndcg_ratio{{expert="{expert}",window="all"}}']
            assert math.isclose(alone, ndcg)
        ahead = max(gains.values()) - series['freshet_evaluator_ndcg_ratio{k="10",policy="learned",window="all"}']
        assert math.isclose(series['freshet_evaluator_regret_ratio{window="all"}'], ahead)
        assert series["freshet_evaluator_products"] == 3
        assert series["freshet_evaluator_users"] == 4
        assert service.stop() == 0


@pytest.mark.parametrize("placing", [True, False])
def test_products_are_judged_as_they_are_served(kafka: KafkaSettings, tmp_path: Path, placing: bool) -> None:
    """Those of the shop are in the running before any event, placed or not; removed and unavailable ones are not."""
    titles = {"hit": "red guitar", "rake": "rake", "new": "red guitar", "gone": "drum", "out": "red guitar"}
    products = [pb.Product(product_id=p, title=title, unavailable=p == "out") for p, title in titles.items()]
    producer, topic = CountedProducer(producer_config(kafka)), Topics.of(kafka).products
    for product in products:
        producer.send(topic, key=product.product_id.encode(), value=product.SerializeToString())
    producer.send(topic, key=b"gone", value=None)
    producer.send(topic, key=b"another", value=products[0].SerializeToString())
    producer.flush(20)
    stream = [states.review(f"u{n}", "hit", n) for n in range(6)]
    stream += [states.review("ann", "new", 6), states.review("bob", "gone", 7), states.review("cay", "out", 8)]
    states.write(kafka, stream)
    # At first all three in the running tie, place 2; then one leads. The rake and the new one tie unless it is placed.
    expected = (1 / 2 + 5 / 1 + (1 / 2 if placing else 1 / 2.5)) / 9
    with evaluating(kafka, tmp_path, SILENCE_SECONDS="1", PLACE_NEW_PRODUCTS=str(placing)) as service:
        wait_until_applied(service, 9)
        mrr = 'mrr_ratio{{policy="{}",window="all"}}'
        for policy in ("learned", "trending"):
            service.wait_for(lambda p=policy: math.isclose(figure(service, mrr.format(p)), expected), "figures of all")
        assert figure(service, "judged_events_total") == 9
        assert figure(service, "unreadable_products_total") == 1
        assert service.stop() == 0


def test_a_corrupt_version_is_left_out_and_the_one_before_judges(kafka: KafkaSettings, tmp_path: Path) -> None:
    states.write(kafka, states.shoppers(200))
    models = tmp_path / "models"
    good, bad = tiny_version(models, "good", SHELF), tiny_version(models, "bad", SHELF, applied=2)
    (models / "bad" / "items.safetensors").write_bytes(b"not tensors")
    announce(kafka, good, bad)
    with evaluating(kafka, tmp_path) as service:
        wait_until_applied(service, 200)
        assert figure(service, "learned_events_total") > 0
        assert figure(service, 'versions_left_out_total{reason="hash"}') == 1
        assert figure(service, 'versions_left_out_total{reason="golden"}') == 0
        assert "bad does not judge (hash)" in service.log
        assert "judging with good" in service.log
        assert service.stop() == 0


def test_a_missing_broker_is_waited_for_at_the_start_and_in_the_middle(
    link: Link, linked: KafkaSettings, tmp_path: Path
) -> None:
    link.cut()
    with evaluating(linked, tmp_path) as service:
        service.wait_for(lambda: "no answer from" in service.log, "word of the missing broker")
        assert figure(service, "judged_events_total") == 0
        assert math.isnan(figure(service, 'ndcg_ratio{k="10",policy="learned",window="all"}'))
        link.mend()
        ensure_topics(linked, patience_seconds=20)
        states.write(linked, states.shoppers(100))
        wait_until_applied(service, 100)
        link.cut()
        service.wait_for(lambda: "waiting for one" in service.log, "word of the broker gone")
        assert figure(service, "applied_events_total") == 100
        assert service.stop() == 0, service.log


def test_what_the_operator_must_change_is_said(kafka: KafkaSettings, tmp_path: Path) -> None:
    def ended(service: Service) -> str:
        assert service.process.wait(30) == 2, service.log
        assert "Traceback" not in service.log
        return service.log

    with evaluating(kafka, tmp_path) as first:
        first.wait_for(lambda: bool(first.metrics()), "metrics")
        with evaluating(kafka, tmp_path, METRICS_PORT=str(first.metrics_port)) as second:
            assert "choose another FRESHET_EVALUATOR_METRICS_PORT" in ended(second)
    with evaluating(kafka, tmp_path, MASKED_KINDS="review,sneeze") as wrong:
        assert "FRESHET_SHOP_MASKED_KINDS" in ended(wrong)
    with evaluating(kafka, tmp_path, RECENT_EVENT="5") as unknown:
        assert "did you mean FRESHET_EVALUATOR_RECENT_EVENTS?" in ended(unknown)
    environment = kafka_environment(kafka) | {"FRESHET_INFERENCE_MASKED_KINDS": "review"}
    with running("services.evaluator", environment, tmp_path / "old.log") as old:
        assert "FRESHET_INFERENCE_MASKED_KINDS is now FRESHET_SHOP_MASKED_KINDS" in ended(old)
    environment = kafka_environment(kafka) | {"FRESHET_SHOP_MODEL_DIR": "x"}
    with running("services.evaluator", environment, tmp_path / "shop.log") as misspelt:
        assert "did you mean FRESHET_SHOP_MODELS_DIR?" in ended(misspelt)


def test_help_lists_the_settings_and_judging_imports_no_torch() -> None:
    program = "import sys, services.evaluator.__main__; print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.split() == ["False", "True"]
    command = [sys.executable, "-m", "services.evaluator", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "FRESHET_EVALUATOR_RECENT_EVENTS" in result.stdout
