"""A small simulated shop with planted tastes: products and users of two kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.lab.simulator.period import Period, collect
from services.lab.simulator.simulator import Dynamics, Provenance, Simulator
from shared.pb.freshet.v1 import events_pb2 as pb

KINDS, PRODUCTS, USERS = 2, 60, 40
OF_A_KIND = PRODUCTS // KINDS


def simulator(**dynamics: float) -> Simulator:
    """Products of two kinds, half of each: even users like the one, odd users the other."""
    kinds = np.repeat(np.eye(KINDS), OF_A_KIND, axis=0)
    record = np.concatenate([np.arange(5) + OF_A_KIND * (user % KINDS) for user in range(USERS)])
    return Simulator(
        dynamics=Dynamics(**{"popularity_weight": 0.0, "drift": 0.0, "newcomers": 0.0, **dynamics}),
        origin=Provenance(data="planted"),
        product_ids=tuple(f"p{n}" for n in range(PRODUCTS)),
        user_ids=tuple(f"u{n}" for n in range(USERS)),
        popularity=np.zeros(PRODUCTS),
        vectors=kinds,
        tastes=kinds[record[::5]],
        prices=np.append(np.full(PRODUCTS - 1, 2.5), np.nan),
        record_starts=np.arange(USERS + 1) * 5,
        record=record,
    )


def events(users: int = 150, products: int = 40, each: int = 20, seed: int = 3) -> list[pb.Event]:
    """Views, some of them followed by a purchase, of users who mostly want one of four kinds of products."""
    rng = np.random.default_rng(seed)
    made = []
    for user in range(users):
        when = int(rng.integers(0, 10**9))
        for _ in range(each):
            when += int(rng.exponential(60_000 if rng.random() < 0.8 else 10**8)) + 1000
            kind = user % 4 if rng.random() < 0.9 else int(rng.integers(4))
            product = kind * (products // 4) + int(rng.integers(products // 4))
            about = {"user_id": f"u{user}", "product_id": f"p{product}"}
            made.append(pb.Event(kind=pb.EVENT_KIND_VIEW, event_time_ms=when, **about))
            if kind == user % 4 and rng.random() < 0.4:
                bought = pb.Event(kind=pb.EVENT_KIND_PURCHASE, event_time_ms=when + 500, price=product + 1.0, **about)
                made.append(bought)
    return made


def period() -> Period:
    """Those events as columns."""
    return collect(events())


def saved(folder: Path) -> Path:
    """The small shop in a folder."""
    simulator().save(folder)
    return folder
