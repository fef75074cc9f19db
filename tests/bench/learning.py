"""`freshet` in one process: what an event costs, ranked and learned, by products and by events that came before."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np

from services.lab.runs import one_thread
from shared.evaluation.contest import Contest
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, StateVector
from shared.state.shop import StreamSettings
from tests.bench.figures import BenchSettings, Figure
from tests.bench.shop import product_ids, user_ids
from tests.support.states import review

PRODUCTS = (1_000, 10_000, 100_000)
USERS = 100  # so that histories are full before anything is measured
BEFORE, MEASURED = 4_000, 1_000  # events; steps come every 8 to 64
LATER = 20_000  # events before, where their number is what grows
FLAT, LINEAR = 1.2, 12.0  # the most that a cost may grow by


def run(settings: BenchSettings) -> list[Figure]:
    """CPU time of the last events; the same products, users and steps an event in all sizes."""
    sizes = PRODUCTS[:2] if settings.quick else PRODUCTS
    before, later = (BEFORE // 10, LATER // 10) if settings.quick else (BEFORE, LATER)
    measured = MEASURED // 10 if settings.quick else MEASURED
    costs = {}
    for products in sizes:
        costs[products] = _microseconds(products, before, measured)
        settings.say(f"{products:,} products: {costs[products]:,.0f} µs an event")
    late = _microseconds(sizes[0], later, measured)
    series = " → ".join(f"{cost:,.0f}" for cost in costs.values())
    growth = max(costs[after] / costs[first] for first, after in itertools.pairwise(sizes))
    at = " → ".join(f"{size:,}" for size in sizes)
    return [
        Figure(
            "freshet, products: time per event", growth, "times, per tenfold", None, "", LINEAR, at_least=False,
            note=f"{series} µs at {at} products, ranked and learned",
        ),
        Figure(
            "freshet, events: time per event", late / costs[sizes[0]], "times", None, "", FLAT, at_least=False,
            note=f"{costs[sizes[0]]:,.0f} → {late:,.0f} µs after {before:,} → {later:,} events; steps grow rarer",
        ),
    ]  # fmt: skip


def _microseconds(products: int, before: int, measured: int) -> float:
    contest = Contest(["freshet"], StreamSettings(masked_kinds=""), 7, before + measured)
    ids = product_ids(products)
    for product in ids:  # all of the catalogue, most of it without an event, as a shop's is
        contest.stream.known.products.row_of(product)
    start = 0.0
    with one_thread():
        for place, state in enumerate(_views(before + measured, ids)):
            if place == before:
                start = time.process_time()
            contest.judge(state)
            contest.learn(state)
        return (time.process_time() - start) / measured * 1e6


def _views(count: int, ids: list[str]) -> Iterator[StateVector]:
    """Users whose next product is mostly the next on the shelf, from anywhere in the catalogue."""
    rng = np.random.default_rng(5)
    last = rng.integers(0, len(ids), USERS)
    users = user_ids(USERS)
    for n in range(count):
        user = int(rng.integers(USERS))
        last[user] = (last[user] + 1) % len(ids) if rng.random() < 0.7 else rng.integers(len(ids))
        state = review(users[user], ids[int(last[user])], 0)
        state.kind, state.event_time_ms = EVENT_KIND_VIEW, state.event_time_ms + n * 60_000 + 1
        yield state
