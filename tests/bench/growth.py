"""Growth: memory and time as events, products and users grow tenfold and a hundredfold."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from services.inference.knowledge.knowledge import Knowledge
from services.trainer.learner import Learner
from services.trainer.settings import TrainerSettings
from shared.log.merge import OrderedMerge, Positioned
from shared.log.records import DEFAULT_MASKED_KINDS, kinds_of
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_VIEW, StateVector
from shared.process.settings import load
from shared.state.histories import UNSAID, Histories
from shared.state.known import Known, KnownProducts
from shared.state.shop import ShopSettings
from shared.state.tally import Tally
from tests.bench.figures import BenchSettings, Figure
from tests.bench.shop import product_ids, user_ids
from tests.support.processes import ROOT
from tests.support.states import review

FLAT, LINEAR = 1.2, 12.0  # the most that a figure may grow by while what it depends on grows tenfold
PATIENCE_SECONDS = 240

# A network so small, and steps so rare, that they do not hide what grows beside them; trainer.py measures steps.
SMALL = {
    "FRESHET_TRAINER_HIDDEN": "8",
    "FRESHET_TRAINER_BATCH": "16",
    "FRESHET_TRAINER_TRANSITIONS_PER_STEP": "64",
    "FRESHET_TRAINER_BUFFER_SIZE": "2000",
}

TENFOLDS = (1, 10, 100)
LAST = 1_000  # events whose time is measured, at the end of all
PER_PRODUCT, MOST_FOLDED = 30, 3_000_000  # events that the tally folds


@dataclass(frozen=True, slots=True)
class Case:
    """Something that grows.

    Attributes:
        measure: size → microseconds per event at the end, bytes that were added to memory.
        smallest: size, of three that grow tenfold.
        most: that memory, and the time of one event, may grow by per tenfold.
    """

    measure: Callable[[int], tuple[float, float]]
    smallest: int
    most: float


def run(settings: BenchSettings) -> list[Figure]:
    """Each size in a process of its own, so that its memory is its own."""
    figures = []
    for name, case in CASES.items():
        sizes = [max(1, case.smallest // (10 if settings.quick else 1)) * times for times in TENFOLDS]
        sizes_of = []
        for size in sizes:
            sizes_of.append(_in_process(name, size))
            settings.say(f"{name}, {size:,}: {sizes_of[-1][0]:,.1f} µs per event, {sizes_of[-1][1] / 1e6:,.1f} MB")
        at = " → ".join(f"{size:,}" for size in sizes)
        times, sizes_bytes = zip(*sizes_of, strict=True)
        figures += [
            _figure(f"{name}: time per event", times, case.most, "µs", at),
            _figure(f"{name}: memory", [size / 1e6 for size in sizes_bytes], case.most, "MB", at),
        ]
    return figures


def _figure(name: str, values: Sequence[float], wanted: float, unit: str, at: str) -> Figure:
    growth = max(after / max(before, 0.5) for before, after in itertools.pairwise(values))
    series = " → ".join(f"{value:,.1f}" for value in values)
    return Figure(name, growth, "times, per tenfold", None, "", wanted, at_least=False, note=f"{series} {unit} at {at}")


def _in_process(case: str, size: int) -> tuple[float, float]:
    """Microseconds and bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.growth", case, str(size)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    microseconds, size_bytes = json.loads(done.stdout)
    return float(microseconds), float(size_bytes)


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _stream(count: int, users: int, products: int, seed: int = 5) -> list[StateVector]:
    rng = np.random.default_rng(seed)
    names, ids = user_ids(users), product_ids(products)
    # Every user and every product comes once before any comes again.
    by = np.concatenate([rng.permutation(users)[: min(users, count)], rng.integers(0, users, max(0, count - users))])
    of = np.concatenate(
        [rng.permutation(products)[: min(products, count)], rng.integers(0, products, max(0, count - products))]
    )
    return [review(names[u], ids[p], n * 3000 // count) for n, (u, p) in enumerate(zip(by, of, strict=True))]


def _applied(apply: Callable[[StateVector], object], states: list[StateVector], last: int) -> tuple[float, float]:
    """Microseconds per event over the last ones, and what all of them added to memory, but for the events themselves.

    Each is parsed as a service parses it, and dropped: a message that is kept grows when its fields are looked at.
    """
    records = [state.SerializeToString() for state in states]
    states.clear()
    before = _resident()
    for record in records[:-last]:
        apply(StateVector.FromString(record))
    start = time.process_time()
    for record in records[-last:]:
        apply(StateVector.FromString(record))
    seconds = time.process_time() - start
    return seconds / last * 1e6, float(max(0, _resident() - before))


def _trainer(states: list[StateVector]) -> tuple[float, float]:
    torch.set_num_threads(1)  # as the trainer's default
    learner = Learner(load(TrainerSettings, SMALL), load(ShopSettings, {}))
    return _applied(learner.apply, states, min(LAST, len(states)))


def _inference(states: list[StateVector]) -> tuple[float, float]:
    histories = Histories(20, kinds_of(DEFAULT_MASKED_KINDS))
    knowledge = Knowledge(histories, Tally(30 * 86_400_000.0), 1)
    for offset, state in enumerate(states):
        state.source_offset = offset
        state.event_id = str(offset)
    return _applied(lambda state: knowledge.apply_once(state, 0), states, min(LAST, len(states)))


def _trainer_events(size: int) -> tuple[float, float]:
    """Users and products stay 100 and 500, so that histories are full from the smallest size on."""
    return _trainer(_stream(size, 100, 500))


def _trainer_users(size: int) -> tuple[float, float]:
    return _trainer(_stream(3 * size, size, 500))


def _trainer_products(size: int) -> tuple[float, float]:
    return _trainer(_stream(2 * size + 2_000, 1_000, size))


def _inference_events(size: int) -> tuple[float, float]:
    return _inference(_stream(size, 100, 500))


def _inference_users(size: int) -> tuple[float, float]:
    return _inference(_stream(2 * size, size, 500))


def _inference_products(size: int) -> tuple[float, float]:
    return _inference(_stream(2 * size, 1_000, size))


def _ordering(size: int) -> tuple[float, float]:
    """Six partitions, a tick after every 100 events of each, read turn by turn."""
    partitions, fetched = 6, 100
    merge = OrderedMerge(dict.fromkeys(range(partitions), 0))
    offsets = dict.fromkeys(range(partitions), 0)
    before, start, released = _resident(), time.process_time(), 0
    for turn in range(size // (partitions * fetched)):
        for partition in range(partitions):
            for n in range(fetched + 1):
                state = (
                    StateVector(kind=EVENT_KIND_TICK, event_time_ms=(turn + 1) * fetched, source="bench/0")
                    if n == fetched
                    else StateVector(user_id="u", event_time_ms=turn * fetched + n + 1, source="bench/0", sequence=1)
                )
                merge.push(Positioned(state, partition, offsets[partition], 0))
                offsets[partition] += 1
        released += sum(1 for _ in merge.release(lambda _: False, lambda _: False))
    seconds = time.process_time() - start
    return seconds / max(1, released) * 1e6, float(max(0, _resident() - before))


def _tally(size: int) -> tuple[float, float]:
    """Views of products by Zipf's law in three partitions, thirty per product and twenty per user: what folding one
    takes, its history aside, and what the tally holds in the end.
    """
    events = min(PER_PRODUCT * size, MOST_FOLDED)
    rng = np.random.default_rng(5)
    shares = np.cumsum(1.0 / np.arange(1, size + 1))
    of = np.searchsorted(shares, rng.random(events) * shares[-1])
    by = rng.integers(0, max(1, events // 20), events)
    names, ids = user_ids(int(by.max()) + 1), product_ids(size)
    histories, tally = Histories(20, kinds_of(DEFAULT_MASKED_KINDS)), Tally.of(load(ShopSettings, {}))
    known = Known(histories, tally, KnownProducts())

    def view(n: int) -> StateVector:
        user = int(by[n])
        return StateVector(
            user_id=names[user],
            product_id=ids[of[n]],
            kind=EVENT_KIND_VIEW,
            event_time_ms=1_700_000_000_000 + n * 31_536_000_000 // events,
            source_partition=user % 3,
            source_offset=n,
            imputed=UNSAID,
        )

    for n in range(events - LAST):
        known.apply(view(n))
    seconds = 0.0
    for state in [view(n) for n in range(events - LAST, events)]:
        product, user = known.products.row_of(state.product_id), histories.row_of(state.user_id)
        start = time.thread_time()
        tally.fold(state, product, histories, user)
        seconds += time.thread_time() - start
        histories.apply(state, product)
    return seconds / LAST * 1e6, float(tally.bytes)


CASES = {
    "trainer, events": Case(_trainer_events, 2_000, FLAT),
    "trainer, users": Case(_trainer_users, 400, LINEAR),
    "trainer, products": Case(_trainer_products, 400, LINEAR),
    "inference, events": Case(_inference_events, 5_000, FLAT),
    "inference, users": Case(_inference_users, 1_000, LINEAR),
    "inference, products": Case(_inference_products, 1_000, LINEAR),
    "tally, products": Case(_tally, 1_000, LINEAR),
    "ordering, events": Case(_ordering, 6_000, FLAT),
}


if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]].measure(int(sys.argv[2]))))
