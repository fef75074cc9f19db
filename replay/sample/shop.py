"""A sample to try Freshet with: reviews of an invented shop, in the very format of SNAP's 2014 files.

The same seed gives the same bytes. What sells follows Zipf's law and fades; which product a user takes next follows
from the last ones, so that a policy that looks at the history has something to learn; some choices are mere noise.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from replay.sample.reviews import BRANDS, CATEGORIES, FIRST_NAMES, NICKNAMES, ProductKind, review
from shared.process.errors import Unusable

DEFAULT_USERS = 900
DEFAULT_PRODUCTS = 500
DEFAULT_EVENTS = 12_000
DEFAULT_SEED = 7
FIRST_DAY = datetime(2011, 3, 1, tzinfo=UTC)
DAYS = 1200  # from the first day of the sample to its last
FEWEST_REVIEWS = 5  # of a user, where there are enough for all, as in SNAP's 5-core files
UNPRICED = 0.03  # share of products whose metadata has no price
UNBRANDED = 0.05
# Share of products that are there from the first day; the others are launched during this share of the time.
THERE_AT_FIRST = 0.6
LAUNCH_SHARE = 0.8
FADING_DAYS = 500.0  # after so long on sale a product sells half as well
BRANDS_PER_CATEGORY = 4
ZIPF_EXPONENT = 0.9
FEWEST_PER_CATEGORY = 12
# What shoppers do, as probabilities.
OFF_TASTE = 0.12  # a gift, a whim, a mis-click: any product by popularity
REPLACES = 0.5  # after a bad one: the same kind from another maker
SKIPS = 0.15  # leaves one kind of the chain out
LEAVES = 0.08  # loses interest before the chain's end
FOLLOWS = 0.35  # the next interest is the one that neighbours the last
SAME_DAY = 0.06
DRIFT = 0.25  # share of a taste that is new with each interest
FAVOURITE_BRAND = 7.0  # how much rather than another, after a good experience
AVOIDED_BRAND = 0.1  # after a bad one
TIER_MISMATCH = 0.45  # for each step between what a shopper pays and what a maker asks


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


def _review_line(rng: random.Random, purchase: SamplePurchase, reviewer: str, name: str) -> str:
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


def _metadata_line(rng: random.Random, product: SampleProduct) -> str:
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


@dataclass(frozen=True, slots=True)
class SampleProduct:
    """One product of the shop."""

    asin: str
    title: str
    brand: str
    category: str
    kind: ProductKind
    price: float
    quality: float  # stars above or below the usual
    appeal: float  # how much it sells, by Zipf's law
    launch_day: int

    def popularity(self, day: int) -> float:
        """How much it sells on a day; 0 before its launch."""
        if day < self.launch_day:
            return 0.0
        return float(self.appeal * 0.5 ** ((day - self.launch_day) / FADING_DAYS))


@dataclass(frozen=True, slots=True)
class SamplePurchase:
    """One product that a shopper got and what they thought of it."""

    product: SampleProduct
    day: int
    stars: int


def stock(rng: random.Random, count: int) -> list[SampleProduct]:
    """`count` products, spread over as many categories as they fill."""
    categories = list(CATEGORIES)[: max(1, min(len(CATEGORIES), count // FEWEST_PER_CATEGORY))]
    makers = {category: rng.sample(list(BRANDS), BRANDS_PER_CATEGORY) for category in categories}
    ranks = rng.sample(range(count), count)
    asins: dict[str, None] = {}
    while len(asins) < count:
        asins["B00" + "".join(rng.choices("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=7))] = None
    products = []
    for n, asin in enumerate(asins):
        category = categories[n % len(categories)]
        turn = n // len(categories)
        kind = CATEGORIES[category][turn % len(CATEGORIES[category])]
        brand = makers[category][turn // len(CATEGORIES[category]) % BRANDS_PER_CATEGORY]
        tier = BRANDS[brand]
        products.append(
            SampleProduct(
                asin=asin,
                title=f"{brand} {kind.name} {rng.randrange(2, 99) * 5}",
                brand=brand,
                category=category,
                kind=kind,
                price=round(round(kind.price * (0.65, 1.0, 1.7)[tier] * math.exp(rng.gauss(0.0, 0.15))) - 0.01, 2),
                quality=rng.gauss(0.15 * (tier - 1), 0.45),
                appeal=(1.0 + ranks[n]) ** -ZIPF_EXPONENT,
                launch_day=0 if n < THERE_AT_FIRST * count else rng.randrange(int(LAUNCH_SHARE * DAYS)),
            )
        )
    return products


class Shopper:
    """One user, who goes along a chain of needs, then on to another interest."""

    def __init__(self, rng: random.Random, products: list[SampleProduct]) -> None:
        self._rng = rng
        self._products = products
        self._categories = list(dict.fromkeys(product.category for product in products))
        self._taste = [rng.expovariate(1.0) ** 3 for _ in self._categories]
        self._tier = rng.choices((0, 1, 2), (3, 4, 2))[0]
        self._owned: set[str] = set()
        self._liked: str | None = None
        self._disliked: str | None = None
        self._category = 0
        self._step = 0

    def purchases(self, count: int) -> Iterator[SamplePurchase]:
        """The shopper's life, `count` different products in order of time."""
        self._new_interest(follow=False)
        for day in self._days(count):
            off_taste = self._rng.random() < OFF_TASTE
            product = self._pick(day, off_taste=off_taste)
            self._owned.add(product.asin)
            stars = self._judge(product, off_taste=off_taste)
            yield SamplePurchase(product, day, stars)
            if not off_taste:
                self._go_on(product, stars)

    def _days(self, count: int) -> list[int]:
        """When: bursts of a project, longer pauses between them, all within the sample."""
        rng = self._rng
        first = int((DAYS - 1) * 0.85 * math.sqrt(rng.random()))  # more of them come later
        gaps = [0.0]
        for _ in range(count - 1):
            pause = rng.expovariate(1 / 60.0) if rng.random() < 0.2 else 1.0 + rng.expovariate(1 / 9.0)
            gaps.append(gaps[-1] + (0.0 if rng.random() < SAME_DAY else pause))
        room = DAYS - 1 - first
        scale = min(1.0, room / gaps[-1]) if gaps[-1] else 1.0
        return [first + int(gap * scale) for gap in gaps]

    def _pick(self, day: int, *, off_taste: bool) -> SampleProduct:
        """The product bought."""
        return self._rng.choices(self._products, self._weights(day, off_taste=off_taste))[0]

    def _weights(self, day: int, *, off_taste: bool) -> list[float]:
        """How probable each product is: one of the kind that is needed, or whatever there is."""
        chain = CATEGORIES[self._categories[self._category]]
        kind = chain[min(self._step, len(chain) - 1)]
        choices: tuple[Callable[[SampleProduct], float], ...] = (
            lambda p: self._wish(p, day) if p.kind is kind else 0.0,
            lambda p: p.popularity(day),
            lambda p: p.appeal,
        )
        for weight in choices[1 if off_taste else 0 :]:
            weights = [0.0 if p.asin in self._owned else weight(p) for p in self._products]
            if any(weights):
                return weights
        raise ValueError("nothing is left that the shopper does not own")

    def _wish(self, product: SampleProduct, day: int) -> float:
        wish = math.sqrt(product.popularity(day)) * TIER_MISMATCH ** abs(BRANDS[product.brand] - self._tier)
        if product.brand == self._liked:
            wish *= FAVOURITE_BRAND
        elif product.brand == self._disliked:
            wish *= AVOIDED_BRAND
        return wish

    def _judge(self, product: SampleProduct, *, off_taste: bool) -> int:
        mean = 4.35 + product.quality + (0.35 if product.brand == self._liked else 0.0)
        mean -= 0.25 * abs(BRANDS[product.brand] - self._tier) + (1.2 if off_taste else 0.0)
        return max(1, min(5, round(self._rng.gauss(mean, 0.95))))

    def _go_on(self, product: SampleProduct, stars: int) -> None:
        """What is needed next, and from whom, now that this one is known."""
        rng = self._rng
        if stars >= 4:
            self._liked = product.brand
        elif stars <= 2:
            self._disliked = product.brand
            self._liked = None if self._liked == product.brand else self._liked
            if rng.random() < REPLACES:
                return
        self._step += 2 if rng.random() < SKIPS else 1
        if self._step >= len(CATEGORIES[product.category]) or rng.random() < LEAVES:
            self._new_interest(follow=rng.random() < FOLLOWS)

    def _new_interest(self, *, follow: bool) -> None:
        rng = self._rng
        self._taste = [(1.0 - DRIFT) * old + DRIFT * rng.expovariate(1.0) ** 3 for old in self._taste]
        if follow:
            self._category = (self._category + 1) % len(self._categories)
        else:
            self._category = rng.choices(range(len(self._categories)), self._taste)[0]
        self._step = 0
        self._liked = None
