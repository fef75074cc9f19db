"""A sample to try Freshet with: reviews of an invented shop, in the very format of SNAP's 2014 files.

The same seed gives the same bytes. What sells follows Zipf's law and fades; which product a user takes next follows
from the last ones, so that a policy that looks at the history has something to learn; some choices are mere noise.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from replay.sample_reviews import review
from replay.sample_shop import Product, Purchase, Shopper, stock
from replay.sample_words import FIRST_NAMES, NICKNAMES
from shared.errors import Unusable

DEFAULT_USERS = 900
DEFAULT_PRODUCTS = 500
DEFAULT_EVENTS = 12_000
DEFAULT_SEED = 7

FIRST_DAY = datetime(2011, 3, 1, tzinfo=UTC)
FEWEST_REVIEWS = 5  # of a user, where there are enough for all, as in SNAP's 5-core files
UNPRICED = 0.03  # share of products whose metadata has no price
UNBRANDED = 0.05


def write_sample(out: Path, meta: Path, *, users: int, products: int, events: int, seed: int) -> None:
    """Write `events` reviews to `out` and the products' metadata to `meta`, both gzip, as SNAP writes them.

    Reviews lie by product, not by time. No user reviews a product twice.

    Raises:
        Unusable: so many events can't be had from so many users and products.
    """
    if users < 1 or products < 2 or not users <= events <= users * (products // 2):
        raise Unusable(
            f"{events} reviews by {users} users of {products} products: each user reviews at least one product and at "
            "most half of them; ask for other numbers"
        )
    shop = stock(random.Random(f"{seed}/shop"), products)
    lines: list[tuple[str, str, str]] = []  # asin, reviewer, JSON; sorted by the first two
    for user, count in enumerate(_activity(random.Random(f"{seed}/activity"), users, events, products // 2)):
        rng = random.Random(f"{seed}/user/{user}")
        reviewer, name = _reviewer(rng, user)
        for purchase in Shopper(rng, shop).purchases(count):
            words = random.Random(f"{seed}/review/{user}/{purchase.product.asin}")
            lines.append((purchase.product.asin, reviewer, _review_line(words, purchase, reviewer, name)))
    _write(out, (line for _, _, line in sorted(lines)))
    gaps = random.Random(f"{seed}/metadata")
    _write(meta, (_metadata_line(gaps, product) for product in sorted(shop, key=lambda p: p.asin)))


def _activity(rng: random.Random, users: int, events: int, most: int) -> list[int]:
    """How many reviews each user writes: few much, most little, `events` in all."""
    counts = [min(FEWEST_REVIEWS, events // users)] * users
    eagerness = [rng.lognormvariate(0.0, 0.8) for _ in range(users)]
    left = events - sum(counts)
    while left:
        for user in rng.choices(range(users), eagerness, k=left):
            if counts[user] < most:
                counts[user] += 1
                left -= 1
            else:
                eagerness[user] = 0.0
    return counts


def _reviewer(rng: random.Random, user: int) -> tuple[str, str]:
    """Id and name of one user."""
    letters = "".join(rng.choices("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=9))
    name = f"{rng.choice(FIRST_NAMES)} {rng.choice('ABCDEFGHJKLMNPRSTW')}."
    if rng.random() < 0.25:
        name += f' "{rng.choice(NICKNAMES)}"'
    return f"A{user:04d}{letters}", name


def _review_line(rng: random.Random, purchase: Purchase, reviewer: str, name: str) -> str:
    product, stars = purchase.product, purchase.stars
    summary, text = review(rng, product.kind, product.brand, stars)
    votes = int(rng.expovariate(0.8) + len(text) / 250 * rng.random())
    helpful = sum(rng.random() < 0.75 for _ in range(votes))
    day = FIRST_DAY + timedelta(days=purchase.day)
    return json.dumps(
        {
            "reviewerID": reviewer,
            "asin": product.asin,
            "reviewerName": name,
            "helpful": [helpful, votes],
            "reviewText": text,
            "overall": float(stars),
            "summary": summary,
            "unixReviewTime": int(day.timestamp()),
            "reviewTime": f"{day:%m} {day.day}, {day.year}",
        }
    )


def _metadata_line(rng: random.Random, product: Product) -> str:
    """A Python literal, as SNAP's metadata files hold them; some know no price or brand."""
    known: dict[str, object] = {"asin": product.asin, "title": product.title}
    if rng.random() >= UNPRICED:
        known["price"] = product.price
    if rng.random() >= UNBRANDED:
        known["brand"] = product.brand
    return repr(known | {"categories": [[product.category, product.kind.name]]})


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither name nor time in the header: the same lines are the same bytes.
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as sink:
        for line in lines:
            sink.write(f"{line}\n".encode())
