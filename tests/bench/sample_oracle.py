"""What the demo's sample lets anybody reach: NDCG@10 of who knows each shopper's needs and tastes, but not the dice.

    python -m tests.bench.sample_oracle

The oracle ranks the products by the very probabilities that the sample draws the next one with. It is judged as
policies are: on events of products that had an event before, among those and without what the user reviewed.
"""

from __future__ import annotations

import argparse
import random

import numpy as np

from replay.sample.shop import (
    DEFAULT_EVENTS,
    DEFAULT_PRODUCTS,
    DEFAULT_SEED,
    DEFAULT_USERS,
    OFF_TASTE,
    SampleProduct,
    Shopper,
    _activity,
    _reviewer,
    stock,
)
from shared.model import ranking


class KnownShopper(Shopper):
    """A shopper whose choices tell how probable each product was, in the shop's order."""

    def __init__(self, rng: random.Random, products: list[SampleProduct]) -> None:
        super().__init__(rng, products)
        self.chances: list[np.ndarray] = []

    def _pick(self, day: int, *, off_taste: bool) -> SampleProduct:
        chances = np.zeros(len(self._products))
        for share, off in ((OFF_TASTE, True), (1.0 - OFF_TASTE, False)):
            weights = np.array(self._weights(day, off_taste=off))
            chances += share * weights / weights.sum()
        self.chances.append(chances)
        return super()._pick(day, off_taste=off_taste)


def main() -> int:
    """Print the oracle's NDCG@10 and HR@10."""
    argparse.ArgumentParser(
        prog="python -m tests.bench.sample_oracle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    shop = stock(random.Random(f"{DEFAULT_SEED}/shop"), DEFAULT_PRODUCTS)
    row_of = {product.asin: row for row, product in enumerate(shop)}
    dice = random.Random(f"{DEFAULT_SEED}/activity")
    activity = _activity(dice, DEFAULT_USERS, DEFAULT_EVENTS, DEFAULT_PRODUCTS // 2)
    events = []
    for user, count in enumerate(activity):
        rng = random.Random(f"{DEFAULT_SEED}/user/{user}")
        _reviewer(rng, user)
        shopper = KnownShopper(rng, shop)
        purchases = list(shopper.purchases(count))
        for purchase, chances in zip(purchases, shopper.chances, strict=True):
            events.append((purchase.day, row_of[purchase.product.asin], chances))
    events.sort(key=lambda event: event[0])
    known = np.zeros(len(shop), np.bool_)
    gains, hits = [], []
    for _, row, chances in events:
        if known[row]:
            values = np.where(known & (chances > 0.0), chances, -np.inf).astype(np.float32)
            place = ranking.rank(values, row)
            gains.append(ranking.ndcg(place, 10))
            hits.append(ranking.hit(place, 10))
        known[row] = True
    print(f"{len(gains):,} events judged: NDCG@10 {np.mean(gains):.4f}, HR@10 {np.mean(hits):.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
