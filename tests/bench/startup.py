"""Start-up of inference until it answers: by reading 1,000,000 events of 100,000 users, and from a snapshot."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shared.log.topics import ensure_topics
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.process.settings import KafkaSettings
from tests.bench.figures import BenchSettings, Figure
from tests.bench.log import fresh_kafka
from tests.bench.recommend import stock_products
from tests.bench.shop import product_ids, user_ids
from tests.support import states
from tests.support.inference import Inference, running

PRODUCTS = 10_000
TAIL = 10_000
WANTED_SECONDS = 10.0
SNAPSHOT = "freshet_inference_snapshot_seconds_sum"


def run(settings: BenchSettings) -> list[Figure]:
    """Seconds from the process's start to SERVING."""
    events, users = (20_000, 2_000) if settings.quick else (1_000_000, 100_000)
    tail, repeats = (500, 1) if settings.quick else (TAIL, 3)
    folder, state_dir = settings.folder, settings.folder / "state"
    with fresh_kafka(settings) as kafka:
        empty = kafka.model_copy(update={"topic_prefix": "empty"})
        ensure_topics(empty, patience_seconds=20)
        settings.say(f"writing {events:,} events of {users:,} users")
        stock_products(kafka, PRODUCTS)
        states.write(kafka, _events(events, users), tick_every=10_000)
        nothing = statistics.median(_start(empty, folder)[0] for _ in range(repeats))
        settings.say(f"an empty log: {nothing:.1f} s")
        whole, _ = _start(kafka, folder)
        settings.say(f"the whole log: {whole:.1f} s")
        wrote = _leave_a_snapshot(kafka, folder, state_dir)
        settings.say(f"the snapshot: {wrote:.2f} s to copy and write, {_megabytes(state_dir):.0f} MB")
        exact = [_start(kafka, folder, state_dir) for _ in range(repeats)]
        states.write(kafka, _events(tail, users, seed=8), first_offset=2 * events, source="tail/0")
        behind, restored = _start(kafka, folder, state_dir)
    if restored != users or any(restored_users != users for _, restored_users in exact):
        raise RuntimeError(f"{restored} of {users} users were restored")
    seconds = statistics.median(taken for taken, _ in exact)
    about = f"{events:,} events, {users:,} users, {PRODUCTS:,} products; {nothing:.1f} s with an empty log"
    return [
        Figure("start, reading the whole log", whole, "s", None, "", None, at_least=False, note=about),
        Figure(
            "start, from a snapshot",
            seconds,
            "s",
            None,
            "",
            WANTED_SECONDS,
            at_least=False,
            note=f"{behind:.1f} s with {tail:,} more events after it; {_megabytes(state_dir):.0f} MB, "
            f"written in {wrote:.2f} s",
        ),
    ]


def _start(kafka: KafkaSettings, folder: Path, state_dir: Path | None = None) -> tuple[float, float]:
    """Seconds until SERVING, and the users that were restored; the process is killed then, and leaves no snapshot."""
    more = {} if state_dir is None else {"state_dir": state_dir}
    start = time.perf_counter()
    with running(kafka, folder, serving=False, **more) as inference:
        _wait(inference)
        return time.perf_counter() - start, inference.metrics()["freshet_inference_restored_users"]


def _leave_a_snapshot(kafka: KafkaSettings, folder: Path, state_dir: Path) -> float:
    """Start, and stop in order; the seconds that the snapshot took."""
    with running(kafka, folder, serving=False, state_dir=state_dir, snapshot_events=1) as inference:
        _wait(inference)
        deadline = time.monotonic() + 60
        while not inference.metrics().get("freshet_inference_snapshots_total"):
            if time.monotonic() > deadline:
                raise RuntimeError("no snapshot was written")
            time.sleep(0.1)
        return inference.metrics()[SNAPSHOT]


def _wait(inference: Inference) -> None:
    """Longer than tests wait."""
    deadline = time.monotonic() + 600
    while inference.health() != 1:
        if inference.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(inference.log[-2000:])
        time.sleep(0.02)


def _megabytes(state_dir: Path) -> float:
    return sum(file.stat().st_size for file in sorted(state_dir.glob("snapshot-*"))[-1].iterdir()) / 1e6


def _events(count: int, users: int, seed: int = 5) -> Iterator[StateVector]:
    """Reviews in order of time, users and products drawn evenly; each user comes once before any comes again."""
    rng = np.random.default_rng(seed)
    names, ids = user_ids(users), product_ids(PRODUCTS)
    by = np.concatenate([rng.permutation(users)[:count], rng.integers(0, users, max(0, count - users))])
    of = rng.integers(0, PRODUCTS, len(by))
    for n, (user, product) in enumerate(zip(by.tolist(), of.tolist(), strict=True)):
        yield states.review(names[user], ids[product], n * 3000 // count)
