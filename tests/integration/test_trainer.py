"""The trainer as a process on a real broker: kills, restarts, folders that can't be written, other logs."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from services.trainer.loop import MOST_AT_ONCE, Trainer
from services.trainer.metrics import TrainerMetrics
from services.trainer.publish import KEPT_NEWEST
from services.trainer.settings import TrainerSettings
from shared.log.clients import LogReader
from shared.log.topics import Topics, ensure_topics
from shared.model.files import read_manifest, read_version
from shared.model.scoring import load_scorer
from shared.model.served import served_scores
from shared.pb.freshet.v1.events_pb2 import ModelVersion
from shared.policies.contract import StepReport
from shared.policies.freshet.network import devices
from shared.process.settings import KafkaSettings, load
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.shop import ShopSettings
from tests.support import states
from tests.support.processes import Service, kafka_environment, running
from tests.support.versions import point, withdraw

EVENTS = 1200
F = len(EVENT_FEATURES)
SMALL = {
    "FRESHET_TRAINER_HIDDEN": "8",
    "FRESHET_TRAINER_BATCH": "16",
    "FRESHET_TRAINER_WARMUP_TRANSITIONS": "50",
    "FRESHET_TRAINER_TRANSITIONS_PER_STEP": "2",
    "FRESHET_TRAINER_BUFFER_SIZE": "500",
    "FRESHET_TRAINER_CHECKPOINT_EVENTS": "100",
    "FRESHET_TRAINER_PUBLISH_EVENTS": "200",
}


def environment(kafka: KafkaSettings, folder: Path, **more: str) -> dict[str, str]:
    folders = {
        "FRESHET_TRAINER_STATE_DIR": str(folder / "state"),
        "FRESHET_SHOP_MODELS_DIR": str(folder / "models"),
    }
    return SMALL | folders | kafka_environment(kafka) | {f"FRESHET_TRAINER_{k}": v for k, v in more.items()}


def versions(folder: Path) -> dict[str, str]:
    """Version id → hash of all its files."""
    return {
        v.name: hashlib.sha256(b"".join(f.read_bytes() for f in sorted(v.iterdir()))).hexdigest()
        for v in sorted((folder / "models").glob("0*"))
    }


def has_learned(folder: Path, events: int) -> bool:
    return any(int(name[:12]) >= events for name in versions(folder))


def learn_all(kafka: KafkaSettings, folder: Path, **more: str) -> dict[str, str]:
    with running("services.trainer", environment(kafka, folder, **more), folder / "log") as trainer:
        trainer.wait_for(lambda: has_learned(folder, EVENTS), f"version of {EVENTS} events")
        assert trainer.stop() == 0
    return versions(folder)


class Catalogue:
    """A caller's rows, all equally popular."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def row(self, product_id: str) -> int:
        return self.rows.setdefault(product_id, len(self.rows))

    def products(self) -> int:
        return len(self.rows)

    def shares(self) -> NDArray[np.float32]:
        return np.full(len(self.rows), 1 / len(self.rows), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    return tmp_path / "a"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_any_moment_it_learns_the_same_as_uninterrupted(
    kafka: KafkaSettings, folder: Path, tmp_path: Path
) -> None:
    states.write(kafka, states.shoppers(EVENTS))
    whole = learn_all(kafka, folder)
    assert [int(name[:12]) for name in whole] == list(range(200, EVENTS + 1, 200))

    killed = tmp_path / "killed"
    killed.mkdir()
    rng = random.Random(5)
    for target in (1, 150, 420, 810, EVENTS):
        with running("services.trainer", environment(kafka, killed), killed / "log") as trainer:
            if target == EVENTS:
                trainer.wait_for(lambda: has_learned(killed, EVENTS), "last version")
                break
            learned_before = trainer.metrics().get("freshet_trainer_applied_events_total", 0.0)
            goal = learned_before + rng.randint(1, 250)
            trainer.wait_for(
                lambda goal=goal, trainer=trainer: (
                    trainer.metrics().get("freshet_trainer_applied_events_total", 0) >= min(goal, EVENTS)
                    or has_learned(killed, EVENTS)
                ),
                "progress",
            )
            trainer.kill()
    assert "resumed after" in (killed / "log").read_text()
    assert versions(killed) == whole


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["markov", "itemknn"])
def test_another_policy_is_learned_published_and_resumed_like_freshet(
    kafka: KafkaSettings, folder: Path, tmp_path: Path, policy: str
) -> None:
    """One that counts as it goes, and one that is fitted before each publication."""
    states.write(kafka, states.shoppers(EVENTS))
    whole = learn_all(kafka, folder, POLICY=policy)
    killed = tmp_path / "killed"
    killed.mkdir()
    with running("services.trainer", environment(kafka, killed, POLICY=policy), killed / "log") as trainer:
        trainer.wait_for(lambda: has_learned(killed, 400), "some versions")
        trainer.kill()
    assert learn_all(kafka, killed, POLICY=policy) == whole
    scorer, rows = None, Catalogue()
    for version in whole:
        scorer = load_scorer(folder / "models" / version, None, rows.row, rows.products)
    assert scorer is not None
    assert scorer.manifest.policy == policy
    # The shoppers mostly buy the next product on the shelf.
    window = Window(np.array([[rows.row("p7")]], np.int32), np.zeros((1, 1, F), np.float32), np.array([1], np.int32))
    if policy == "markov":
        assert int(served_scores(scorer, window, rows).argmax()) == rows.row("p8")
    with running("services.trainer", environment(kafka, folder), folder / "log") as trainer:
        assert f"was learned with FRESHET_TRAINER_POLICY={policy}, now it is freshet" in ended(trainer)


@pytest.mark.slow
def test_versions_are_announced_whole_with_what_they_hold(kafka: KafkaSettings, folder: Path) -> None:
    states.write(kafka, states.shoppers(EVENTS))
    learn_all(kafka, folder)
    reader = LogReader(kafka, {(Topics.of(kafka).models, 0): -1})
    announced = []
    while not reader.caught_up:
        announced += [ModelVersion.FromString(m.value()) for m in reader.poll(1.0)]
    reader.close()
    assert [v.applied_events for v in announced] == list(range(200, EVENTS + 1, 200))
    assert [v.parent for v in announced] == ["", *[v.version_id for v in announced[:-1]]]
    newest = announced[-1]
    manifest, parts, _, _ = read_version(folder / "models" / newest.version_id, newest.manifest_sha256)
    assert manifest.ordered
    assert newest.ordered
    assert sum(manifest.positions.values()) == EVENTS + 3 * (EVENTS // 100)  # every event and tick, not the last ticks
    assert len(parts.products) == newest.products == 40
    assert {"validation_reward_ndcg_at_10", "validation_reward_ndcg_at_10_without_q"} <= newest.metrics.keys()


@pytest.mark.slow
@pytest.mark.parametrize("pace", ["every", "adaptive"])
def test_only_where_it_may_a_trainer_with_a_backlog_skips_steps_and_says_so(
    kafka: KafkaSettings, folder: Path, pace: str
) -> None:
    states.write(kafka, states.shoppers(EVENTS))
    with running("services.trainer", environment(kafka, folder, PACE=pace), folder / "log") as trainer:
        trainer.wait_for(lambda: has_learned(folder, EVENTS), "last version")
        figures = trainer.metrics()
        assert trainer.stop() == 0
    steps, skipped = (figures[f"freshet_trainer_{name}_total"] for name in ("steps", "steps_skipped"))
    newest = read_manifest(folder / "models" / list(versions(folder))[-1])
    assert (newest.deterministic, newest.steps) == (pace == "every", steps)
    if pace == "every":
        assert skipped == 0
    else:
        assert skipped > steps


@pytest.mark.slow
def test_a_state_written_twice_is_learned_once(kafka: KafkaSettings, folder: Path, tmp_path: Path) -> None:
    """As after a features worker that was killed, or a replay that was resumed: the same source positions again."""
    all_states = list(states.shoppers(EVENTS))
    states.write(kafka, all_states)
    states.write(kafka, all_states[:300])
    with running("services.trainer", environment(kafka, folder, SILENCE_SECONDS="1"), folder / "log") as trainer:
        trainer.wait_for(lambda: has_learned(folder, EVENTS), "last version")
        trainer.wait_for(lambda: trainer.metrics().get("freshet_trainer_repeats_total", 0) > 300, "repeats")
        assert trainer.metrics()["freshet_trainer_applied_events_total"] == EVENTS
        assert trainer.stop() == 0


@pytest.mark.slow
def test_a_folder_that_can_no_longer_be_written_stops_neither_learning_nor_what_is_served(
    kafka: KafkaSettings, folder: Path
) -> None:
    with running("services.trainer", environment(kafka, folder), folder / "log") as trainer:
        trainer.wait_for(lambda: trainer.metrics().get("freshet_trainer_ordered") == 1, "start")
        (folder / "state").rmdir()
        (folder / "state").write_text("not a folder")
        states.write(kafka, states.shoppers(EVENTS))
        trainer.wait_for(
            lambda: trainer.metrics().get("freshet_trainer_checkpoint_failures_total", 0) >= 5, "failed checkpoints"
        )
        assert "no checkpoint in" in trainer.log
        assert "free some space" not in trainer.log, "there is enough"
        assert versions(folder) == {}, "nothing is published from what is not durable"
        (folder / "state").unlink()
        more = [states.review(f"late{n}", f"p{n % 40}", 100) for n in range(400)]
        # Every source offset of these is new: they follow what was written before.
        append(kafka, more)
        trainer.wait_for(lambda: bool(versions(folder)), "version once the folder can be written again")
        assert trainer.stop() == 0


def test_a_folder_that_can_not_be_written_is_refused_at_the_start(kafka: KafkaSettings, folder: Path) -> None:
    (folder / "state").write_text("not a folder")
    with running("services.trainer", environment(kafka, folder), folder / "log") as trainer:
        assert f"can't write in {folder / 'state'}" in (output := ended(trainer))
    assert "choose another folder by FRESHET_TRAINER_STATE_DIR" in output
    assert "Traceback" not in output


@pytest.mark.skipif("mps" in devices(), reason="torch finds mps here")
def test_an_absent_accelerator_is_refused_at_the_start_with_what_there_is(kafka: KafkaSettings, folder: Path) -> None:
    with running("services.trainer", environment(kafka, folder, DEVICE="mps"), folder / "log") as trainer:
        output = ended(trainer)
    assert f"finds no such device here, only {', '.join(devices())}; choose one of these" in output
    assert "FRESHET_TRAINER_DEVICE=mps" in output
    assert "Traceback" not in output


def test_a_stop_waits_for_no_whole_checkpoint_interval(
    kafka: KafkaSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to stop at its first event, with a backlog and the next checkpoint far off."""
    states.write(kafka, states.shoppers(EVENTS))
    small = {**SMALL, "FRESHET_TRAINER_CHECKPOINT_EVENTS": "1000000", "FRESHET_TRAINER_PUBLISH_EVENTS": "1000000"}
    folders = {"FRESHET_TRAINER_STATE_DIR": str(folder / "s"), "FRESHET_SHOP_MODELS_DIR": str(folder / "m")}
    stop = threading.Event()
    metrics = TrainerMetrics(CollectorRegistry())
    shop = load(ShopSettings, folders)
    trainer = Trainer(load(TrainerSettings, small | folders), shop, kafka, "this log", metrics, stop)
    learn = trainer.learner.apply

    def learn_and_stop(state: states.pb.StateVector) -> StepReport | None:
        stop.set()
        return learn(state)

    monkeypatch.setattr(trainer.learner, "apply", learn_and_stop)
    trainer.run()
    assert 0 < trainer.learner.applied <= MOST_AT_ONCE


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_pinned_version_outlives_the_first_publication_after_a_restart(kafka: KafkaSettings, folder: Path) -> None:
    """The pin stands behind more records than one look at the topic gives."""
    states.write(kafka, states.shoppers(EVENTS))
    whole = learn_all(kafka, folder, PUBLISH_EVENTS="100")
    assert len(whole) == KEPT_NEWEST
    pinned, next_to_go, *_ = whole
    withdraw(kafka, *(f"long-gone-{n}" for n in range(3000)))
    point(kafka, pinned)
    (folder / "models" / list(whole)[-1]).rename(folder / "unpublished")  # killed between a checkpoint and its version
    append(kafka, [states.review(f"late{n}", f"p{n % 40}", 100) for n in range(250)])
    with running("services.trainer", environment(kafka, folder, PUBLISH_EVENTS="100"), folder / "log") as trainer:
        trainer.wait_for(lambda: has_learned(folder, EVENTS + 200), "two more versions")
        trainer.wait_for(lambda: next_to_go not in versions(folder), "the removal of the oldest that nobody pinned")
        assert trainer.stop() == 0
    assert pinned in versions(folder)


def append(kafka: KafkaSettings, more: list[states.pb.StateVector]) -> None:
    for state in more:
        state.event_id = f"late-{state.user_id}"
    states.write(kafka, more, first_offset=100_000, source="")


def ended(trainer: Service) -> str:
    trainer.process.wait(30)
    assert trainer.process.returncode == 2, trainer.log
    return trainer.log


@pytest.mark.slow
def test_a_checkpoint_of_another_log_is_refused_with_the_two_ways_out(kafka: KafkaSettings, folder: Path) -> None:
    states.write(kafka, states.shoppers(EVENTS))
    learn_all(kafka, folder)
    other = kafka.model_copy(update={"topic_prefix": f"{kafka.topic_prefix}x"})
    ensure_topics(other, patience_seconds=20)
    with running("services.trainer", environment(other, folder), folder / "other.log") as trainer:
        output = ended(trainer)
    assert "belongs to the log" in output
    assert "FRESHET_KAFKA_BOOTSTRAP_SERVERS=<host:port> python -m services.trainer" in output
    assert f"mv {folder / 'state'} {folder / 'state'}.old" in output


@pytest.mark.slow
def test_wrong_settings_and_a_taken_port_end_with_status_2(kafka: KafkaSettings, folder: Path) -> None:
    with running("services.trainer", environment(kafka, folder, DISCONT="0.5"), folder / "log") as trainer:
        assert "unknown setting FRESHET_TRAINER_DISCONT; did you mean FRESHET_TRAINER_DISCOUNT?" in ended(trainer)
        with running("services.trainer", environment(kafka, folder), folder / "log2") as first:
            first.wait_for(lambda: bool(first.metrics()), "metrics")
            taken = {"METRICS_PORT": str(first.metrics_port)}
            with running("services.trainer", environment(kafka, folder, **taken), folder / "log3") as second:
                assert "choose another FRESHET_TRAINER_METRICS_PORT" in ended(second)
