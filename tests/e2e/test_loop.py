"""One review after the other through the whole loop, with kills in between: each counts once, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.sample.shop import write_sample
from shared.log.topics import ensure_topics
from shared.process.settings import KafkaSettings
from tests.support.loop import Loop, figure, loop
from tests.support.processes import Service

EVENTS = 1500
LEARNED = "freshet_trainer_applied_events_total"
SERVED = "freshet_inference_applied_total"
SENT = "freshet_replay_events_total"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder / "reviews.json.gz", folder / "products.json.gz", users=120, products=90, events=EVENTS, seed=5)
    return folder / "reviews.json.gz"


def another_log(kafka: KafkaSettings) -> KafkaSettings:
    other = kafka.model_copy(update={"topic_prefix": f"{kafka.topic_prefix}b"})
    ensure_topics(other, patience_seconds=20)
    return other


def has_learned(system: Loop, events: int) -> bool:
    return any(int(name[:12]) >= events for name in system.versions())


def learn(system: Loop, reviews: Path, *, workers: int) -> dict[str, str]:
    """Replay everything through so many features workers; the versions that come of it."""
    features = [system.start("services.features", name=f"features-{n}") for n in range(workers)]
    for worker in features:
        worker.wait_for(
            lambda worker=worker: figure(worker, "freshet_features_partitions") > 0, "partitions of its own"
        )
    trainer = system.start("services.trainer")
    replay = system.start("replay", "run", str(reviews), "--speed", "max")
    trainer.wait_for(lambda: has_learned(system, EVENTS), "last version", seconds=90)
    assert replay.process.wait(30) == 0, replay.log
    assert trainer.stop() == 0, trainer.log
    return system.versions()


@pytest.mark.slow
def test_one_and_two_features_workers_give_the_same_models_bit_for_bit(
    kafka: KafkaSettings, reviews: Path, tmp_path: Path
) -> None:
    with loop(kafka, tmp_path / "one") as one:
        first = learn(one, reviews, workers=1)
    with loop(another_log(kafka), tmp_path / "two") as two:
        second = learn(two, reviews, workers=2)
    assert [int(name[:12]) for name in first] == [500, 1000, 1500]
    assert first == second


@pytest.mark.slow
def test_whatever_is_killed_every_event_is_learned_and_served_once(
    kafka: KafkaSettings, reviews: Path, tmp_path: Path
) -> None:
    with loop(kafka, tmp_path) as system:
        features = system.start("services.features")
        inference = system.start("services.inference")
        replay = system.start("replay", "run", str(reviews), "--rate", "300")
        inference.wait_for(lambda: figure(inference, SERVED) > 200, "events in inference")
        replay.kill()
        features.kill()
        system.start("services.features", name="features-2")
        again = system.start("replay", "run", str(reviews), "--speed", "max", "--resume", name="replay-2")
        assert again.process.wait(60) == 0, again.log
        trainer = system.start("services.trainer")
        trainer.wait_for(lambda: figure(trainer, LEARNED) == EVENTS, "all events learned", seconds=90)
        inference.wait_for(lambda: figure(inference, SERVED) == EVENTS, "all events served")
        evaluator = system.start("services.evaluator")
        evaluator.wait_for(lambda: seen(evaluator) == EVENTS, "all events judged or left out")
        # Whatever comes twice would have come by now, since the readers are at the log's end.
        assert figure(trainer, LEARNED) == EVENTS
        assert figure(inference, SERVED) == EVENTS
        assert seen(evaluator) == EVENTS
        for service in (trainer, inference, evaluator):
            assert service.stop() == 0, service.log


def seen(evaluator: Service) -> float:
    """Events the evaluator has applied."""
    return figure(evaluator, "freshet_evaluator_applied_events_total")
