"""The place of products that have few events or none, from those of the products that are most like them. Pure.

It works like an empirical-Bayes prior on shares, which are e to the scores. To a product's own share comes that of the
products like it: the more events it has, the less they count, and of them those count more that are more like it and
have more events themselves. What a product's own few events say is never reduced.

`Content` puts together its parts: `Counts` of events, `ColdProducts` with the neighbours of each, and the `Discount` at
which new products are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.content.likeness import Likeness, tokens_of
from shared.numeric.arrays import grown
from shared.numeric.compiled import Matrix, ReadOnlyMatrix, ReadOnlyVector, Vector, compiled
from shared.numeric.elementary import exp_of, log_of
from shared.pb.freshet.v1.events_pb2 import Product

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]

# How many more events there may be before neighbours are weighed again.
UNWEIGHED = 0.02
# Shares below e to this, as a part of the largest, are as good as none.
LEAST = np.float32(-80.0)
# Products whose sums are added up together: they stay in the processor's cache.
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class ContentSettings:
    """Chosen on the first halves of a shop's sales and of a set of reviews; see docs/results.md."""

    neighbours: int = 8  # K, products beside a new one
    events: int = 3  # from so many of its own on, a product's content no longer counts
    prior: float = 2.0  # events that content is worth
    doubt: float = 0.2  # likeness, summed over the products beside it, at which half of their score counts
    discount: float = 0.1  # how often a new product is chosen beside those like it: a first guess
    discount_events: float = 10.0  # first events of new products that this first guess is worth
    discount_shape: float = 0.2  # of the gamma distribution of products' discounts: the smaller, the more they differ
    popularity_left: float = 0.5  # what a calibrated policy's shares leave of popularity, at least
    at_once: int = 8  # products whose neighbours are looked for during one answer
    growth: float = 1.5  # of products with events, after which neighbours are looked for again


@compiled
def _total(terms: Vector[np.float32], count: int) -> float:
    """The sum of the first terms, one half added to the other again and again; they are changed."""
    while count > 1:
        half = (count + 1) // 2
        for n in range(count - half):
            terms[n] += terms[half + n]
        count = half
    return float(terms[0])


@compiled
def entropy_of(popularity: ReadOnlyVector[np.float32]) -> float:
    """-Σ p log p of shares, each above 0."""
    entropy, terms = 0.0, np.empty(BLOCK, np.float32)
    for begin in range(0, len(popularity), BLOCK):
        block = popularity[begin : begin + BLOCK]
        for n in range(len(block)):
            terms[n] = block[n] * log_of(block[n])
        entropy -= _total(terms, len(block))
    return entropy


@compiled
def _greatest(values: ReadOnlyVector[np.float32]) -> np.float32:
    """The greatest of at least one."""
    count = min(BLOCK, len(values))
    most = values[:count].copy()
    for begin in range(BLOCK, len(values), BLOCK):
        block = values[begin : begin + BLOCK]
        for n in range(len(block)):
            most[n] = max(most[n], block[n])
    while count > 1:
        half = (count + 1) // 2
        for n in range(count - half):
            most[n] = max(most[n], most[half + n])
        count = half
    return np.float32(most[0])


@compiled
def _shares_of(
    values: ReadOnlyVector[np.float32], popularity: ReadOnlyVector[np.float32], shares: Vector[np.float32]
) -> tuple[float, float]:
    """Fill in e to the values less the greatest; Σ popularity · these values, and Σ share, in twice the precision."""
    greatest = _greatest(values)
    cross, total = 0.0, 0.0
    crosses, totals = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for begin in range(0, len(values), BLOCK):
        block, share, popular = values[begin : begin + BLOCK], shares[begin : begin + BLOCK], popularity[begin:]
        for n in range(len(block)):
            below = max(block[n] - greatest, LEAST)
            share[n] = totals[n] = exp_of(below)
            crosses[n] = popular[n] * below
        cross += _total(crosses, len(block))
        total += _total(totals, len(block))
    return cross, total


class Lent(NamedTuple):
    """What C cold products borrow from those beside them, as compiled functions read it."""

    rows: Vector[np.int32]  # (C,) ascending
    beside: Matrix[np.int32]  # (C, K) rows
    weights: Matrix[np.float32]  # (C, K)
    counts: Vector[np.float32]  # (C,) how much content counts for each
    left: float  # what a calibrated policy's shares leave of popularity, at least
    entropy: float  # of popularity


@compiled
def _lend(
    values: Vector[np.float32], popularity: ReadOnlyVector[np.float32], lent: Lent, out: Vector[np.float32]
) -> int:
    """Add what content adds to the scores of cold products, and fill it in, (C,); of how many.

    Those without a score, which have the last rows, get nothing; nor do they lend.

    What passes from product to product must be probabilities, and content counts as far as e to the scores are such:
    wholly where they leave popular products `left` of their popularity or more, on average; else proportionally less.
    A policy may give popular products that it never counted after a history next to nothing, only to rank them behind
    all others; what then seems likelier than they are is not. What shares leave is exp(-KL(popularity || shares)): w or
    more where popularity is mixed in with weight w.
    """
    rows, beside = lent.rows, lent.beside
    share = np.empty(len(values), np.float32)
    cross, total = _shares_of(values, popularity, share)
    of_all = np.float32(min(1.0, math.exp(cross + lent.entropy - math.log(total)) / lent.left))
    for place in range(len(rows)):
        if rows[place] >= len(share):
            return place
        borrowed = np.float32(0.0)
        for k in range(beside.shape[1]):
            row = beside[place, k]
            if row < len(share):
                borrowed += lent.weights[place, k] * share[row]
        out[place] = log_of(np.float32(1.0) + lent.counts[place] * of_all * borrowed / share[rows[place]])
        values[rows[place]] += out[place]
    return len(rows)


class Content:
    """What products are and how many events they have, by the caller's rows, and the place of those that are cold."""

    def __init__(self, settings: ContentSettings | None = None) -> None:
        self.settings = settings or ContentSettings()
        self.likeness = Likeness()
        self._counts = Counts(self.settings)
        self._cold = ColdProducts(self.likeness, self._counts, self.settings)
        self._discount = Discount(self.settings)
        self._weighed: Weighed | None = None  # by which the discount counts
        self._shares: FloatArray | None = None  # (C,) what content counts there, until an event changes it
        self._popularity: FloatArray | None = None  # (A,) shares that were compared last; an event brings others
        self._entropy = 0.0  # of these

    def put(self, row: int, product: Product) -> None:
        """Take what a product is, new or changed."""
        self._counts.grow_to(row + 1)
        if self.likeness.put(row, tokens_of(product)):
            if row in self.likeness and self._counts.is_cold(row):
                self._cold.look_for(row)
            else:
                self._cold.drop(row)

    def count(self, row: int) -> None:
        """Count one event of a product, of which nothing else need be known."""
        self._discount.count(row, is_first=not self._counts[row] and self._cold.has_neighbours(row))
        self._shares = None
        if self._counts.is_cold(row):
            self._counts.add(row)
            if not self._counts.is_cold(row):
                self._cold.drop(row)

    @property
    def discount(self) -> float:
        """What part of the events that were due to new products came so far, (0, 1]."""
        return self._discount.mean

    def learned(self, products: int) -> dict[str, NDArray[Any]]:
        """The learned discounts of the first `products` rows, for `resume`."""
        return self._discount.to_arrays(products)

    def resume(self, events: NDArray[np.integer], learned: Mapping[str, NDArray[Any]]) -> None:
        """Go on from the events of each product, (A,), and from what `learned` gave; called before anything else."""
        self._discount.resume(learned)
        self._counts.resume(events)

    def fading(self, rows: NDArray[np.integer]) -> FloatArray:
        """How much content counts beside the events of products: 1 with none, 0 from `settings.events` on."""
        self._counts.grow_to(1 + int(rows.max(initial=0)))
        return self._counts.fading(self._counts.of(rows))

    def lend(self, values: FloatArray, popularity: FloatArray) -> tuple[IntArray, FloatArray]:
        """Add what content adds to the scores of cold products: their rows (C,), each once, and how much, (C,).

        Args:
            values: (A,) scores without content; changed.
            popularity: (A,) shares, each above 0, to which the scores are compared.
        """
        weighed = self._cold.weighed()
        rows, beside, weights, trust = weighed
        if weighed is not self._weighed:
            self._discount.relate(rows, beside, weights * trust[:, None], self._counts.of(rows) == 0)
            self._weighed, self._shares = weighed, None
        if not len(rows):
            return rows, trust
        if self._shares is None:
            events = self._counts.of(rows)
            self._shares = self._counts.fading(events) * trust * self._discount.of(rows, events)
        if self._popularity is not popularity:
            self._popularity, self._entropy = popularity, entropy_of(popularity)
        lent = Lent(rows, beside, weights, self._shares, self.settings.popularity_left, self._entropy)
        more: FloatArray = np.empty(len(rows), np.float32)
        more = more[: _lend(values, popularity, lent, more)]
        return rows[: len(more)], more


class Counts:
    """Events of each product, by the caller's rows, up to the number from which content no longer counts.

    Attributes:
        events: how many, of all products.
        products: how many have an event.
        of_row: (A,) each one's.
        faded: how much content counts beside so many events, 1 with none, 0 at the most.
    """

    def __init__(self, settings: ContentSettings) -> None:
        self.events = 0
        self.products = 0
        self._most = settings.events
        self.of_row: IntArray = np.zeros(1024, np.int32)  # (A,)
        n = np.arange(self._most + 1)  # a product's own events → how much content counts beside them
        faded = settings.prior / (settings.prior + n) * (1.0 - n / self._most)
        self.faded: FloatArray = faded.astype(np.float32)

    def __getitem__(self, row: int) -> int:
        return int(self.of_row[row]) if row < len(self.of_row) else 0

    def is_cold(self, row: int) -> bool:
        """Whether content counts yet."""
        return self[row] < self._most

    def add(self, row: int) -> None:
        """Count one event of a product that is cold."""
        if row >= len(self.of_row):
            self.grow_to(row + 1)
        self.products += not self.of_row[row]
        self.of_row[row] += 1
        self.events += 1

    def of(self, rows: NDArray[np.integer]) -> IntArray:
        """Events of each row, in the shape of `rows`, for all of which there is room."""
        events: IntArray = self.of_row[rows]
        return events

    def fading(self, events: IntArray) -> FloatArray:
        """How much content counts beside so many events, in their shape: 1 with none, 0 from that number on."""
        weights: FloatArray = self.faded.take(events)
        return weights

    def resume(self, events: NDArray[np.integer]) -> None:
        """Go on from the events of each product, (A,); called before anything else."""
        self.grow_to(len(events))
        self.of_row[: len(events)] = np.minimum(events, self._most)
        self.events, self.products = int(self.of_row.sum()), int(np.count_nonzero(self.of_row))

    def grow_to(self, products: int) -> None:
        """Have room for so many."""
        self.of_row = grown(self.of_row, products)


class Weighed(NamedTuple):
    """C cold products with neighbours, and the K beside each."""

    rows: IntArray  # (C,), ascending
    beside: IntArray  # (C, K) rows
    weights: FloatArray  # (C, K), those of each product sum to 1
    trust: FloatArray  # (C,) in those beside each


@compiled
def _weigh(
    cold: ReadOnlyVector[np.int32],
    neighbours: ReadOnlyMatrix[np.int32],
    like: ReadOnlyMatrix[np.float32],
    events: ReadOnlyVector[np.int32],
    faded: ReadOnlyVector[np.float32],
    doubt: np.float32,
    rows: Vector[np.int32],
    beside: Matrix[np.int32],
    weights: Matrix[np.float32],
    trust: Vector[np.float32],
) -> int:
    """Fill in `Weighed`'s; how many there are.

    Args:
        cold: (C,) rows, each once.
        neighbours, like: (C, K) those beside each, and how like it they are.
        events, faded: as `Counts` has them; there is room for all rows.
    """
    place_of = np.full(1 + cold.max() if len(cold) else 0, -1, np.int32)  # row → place
    for place in range(len(cold)):
        place_of[cold[place]] = place
    have = 0
    for row in range(len(place_of)):
        place = place_of[row]
        if place < 0:
            continue
        total = np.float32(0.0)
        for k in range(like.shape[1]):
            weights[have, k] = like[place, k] * (np.float32(1.0) - faded[events[neighbours[place, k]]])
            total += weights[have, k]
        if not total > 0.0:
            continue
        rows[have], trust[have] = row, total / (total + doubt)
        for k in range(like.shape[1]):
            beside[have, k] = neighbours[place, k]
            weights[have, k] /= total
        have += 1
    return have


class ColdProducts:
    """Products for which content counts, and for each the products with events that are most like it.

    Neighbours are looked for a few products at a time, the newest first, and again when products with events have
    become many more. A neighbour weighs more the more like the product it is and the more events it has. Rows are the
    caller's; `likeness` and `counts` are read, and changed by the caller alone.
    """

    def __init__(self, likeness: Likeness, counts: Counts, settings: ContentSettings) -> None:
        self._likeness = likeness
        self._counts = counts
        self._settings = settings
        # C cold products, in the order of their places; of each those beside it and how like it they are.
        self._place: dict[int, int] = {}  # row → place
        self._rows: IntArray = np.zeros(64, np.int32)  # (C,)
        self._beside: IntArray = np.zeros((64, settings.neighbours), np.int32)  # (C, K) rows
        self._like: FloatArray = np.zeros((64, settings.neighbours), np.float32)  # (C, K), 0 where there are fewer
        self._waiting: dict[int, None] = {}  # rows whose neighbours are to be looked for, the newest last
        self._looked_at = 0  # products with events when all were to be looked for again
        self._weighed: Weighed | None = None
        self._weighed_at = 0  # events there were then

    def has_neighbours(self, row: int) -> bool:
        """Whether a product is cold and has neighbours."""
        place = self._place.get(row)
        return place is not None and bool(self._like[place].any())

    def look_for(self, row: int) -> None:
        """Have `weighed` find a product's neighbours, or find them anew."""
        self._waiting.pop(row, None)
        self._waiting[row] = None

    def drop(self, row: int) -> None:
        """Forget a product that is cold no longer: the last of the cold products takes its place."""
        self._waiting.pop(row, None)
        place = self._place.pop(row, None)
        if place is None:
            return
        last = len(self._place)
        if place < last:
            for column in (self._rows, self._beside, self._like):
                column[place] = column[last]
            self._place[int(self._rows[place])] = place
        self._weighed = None

    def weighed(self) -> Weighed:
        """The cold products that have neighbours; another object whenever anything changed.

        Events change the weights of neighbours once all events have become `UNWEIGHED` more.
        """
        if self._counts.products > self._settings.growth * self._looked_at:
            self._looked_at = self._counts.products
            newer = self._waiting
            self._waiting = dict.fromkeys(row for row in self._place if row not in newer) | newer
        for _ in range(min(self._settings.at_once, len(self._waiting))):
            self._look(self._waiting.popitem()[0])
        events = self._counts.events
        if self._weighed is None or events - self._weighed_at > UNWEIGHED * events:
            self._weighed, self._weighed_at = self._weigh(), events
        return self._weighed

    def _look(self, row: int) -> None:
        """Find the products with events that are most like a cold one."""
        place = self._place.get(row)
        if place is None:
            place = self._place[row] = len(self._place)
            self._make_room(place)
        k = self._settings.neighbours
        beside, likeness = self._likeness.beside(row)
        if len(beside) > k:
            best = np.argpartition(-likeness * self._known(beside), k - 1)[:k]
            beside, likeness = beside[best], likeness[best]
        self._rows[place] = row
        self._beside[place] = row
        self._like[place] = 0.0
        self._beside[place, : len(beside)] = beside
        self._like[place, : len(beside)] = likeness
        self._weighed = None

    def _weigh(self) -> Weighed:
        count, k = len(self._place), self._settings.neighbours
        rows, beside = np.empty(count, np.int32), np.empty((count, k), np.int32)
        weights, trust = np.empty((count, k), np.float32), np.empty(count, np.float32)
        have = _weigh(
            self._rows[:count], self._beside[:count], self._like[:count], self._counts.of_row, self._counts.faded,
            np.float32(self._settings.doubt), rows, beside, weights, trust,
        )  # fmt: skip
        return Weighed(rows[:have], beside[:have], weights[:have], trust[:have])

    def _known(self, rows: IntArray) -> FloatArray:
        """How much products' own events count, [0, 1]."""
        return np.float32(1.0) - self._counts.fading(self._counts.of(rows))

    def _make_room(self, place: int) -> None:
        if place == len(self._rows):
            self._rows, self._beside, self._like = (
                np.concatenate([column, np.zeros_like(column)]) for column in (self._rows, self._beside, self._like)
            )


@compiled
def _relate(
    rows: ReadOnlyVector[np.int32],
    beside: ReadOnlyMatrix[np.int32],
    calls: ReadOnlyMatrix[np.float32],
    new: ReadOnlyVector[np.bool_],
    starts: Vector[np.int64],
    called: Vector[np.int32],
    due: Vector[np.float64],
    first: Vector[np.float64],
) -> None:
    """Fill in what an event of each product makes due, side by side in the order of the products.

    Args:
        rows, beside, calls, new: as `Discount.relate` takes them.
        starts: (A + 1,) 0 at first; above all rows.
        called, due: (C · K,)
        first: (A,) 0 at first.
    """
    for place in range(len(rows)):
        for k in range(beside.shape[1]):
            starts[beside[place, k] + 1] += 1
    for row in range(1, len(starts)):
        starts[row] += starts[row - 1]
    ends = starts.copy()
    for place in range(len(rows)):
        for k in range(beside.shape[1]):
            row = beside[place, k]
            called[ends[row]], due[ends[row]] = rows[place], calls[place, k]
            ends[row] += 1
            if new[place]:
                first[row] += calls[place, k]


class Discount:
    """How much less often new products are chosen than those beside them: all together, and each by itself.

    Events of a new product are a Poisson process whose rate is a discount times the events that are due: those that the
    events of its neighbours call for. Over the products the discount is gamma-distributed. Its mean is what all new
    products did together; a product's own is the posterior mean (Gelman et al., Bayesian Data Analysis, 2.6), which
    falls with every event that was due and did not come. Rows are the caller's.
    """

    def __init__(self, settings: ContentSettings) -> None:
        self._settings = settings
        self._due: NDArray[np.float64] = np.zeros(1024)  # (A,) events of each that would be due without a discount
        self._expected = 0.0  # first events of new products that would be due
        self._came = 0  # how many of them came
        # What an event of a product makes due, from `_starts` of its row to the next: of which products, and how much.
        self._starts: NDArray[np.int64] = np.zeros(1, np.int64)
        self._rows: IntArray = np.zeros(0, np.int32)
        self._calls: NDArray[np.float64] = np.zeros(0)
        self._first: NDArray[np.float64] = np.zeros(0)  # (A0,) what it makes due of products without an event

    def relate(self, rows: IntArray, beside: IntArray, calls: FloatArray, new: NDArray[np.bool_]) -> None:
        """Set which events call for which products.

        Args:
            rows: (C,) cold products.
            beside: (C, K) products beside each.
            calls: (C, K) how much an event of one calls for the other.
            new: (C,) whether it had no event yet.
        """
        width = 1 + max(int(rows.max(initial=0)), int(beside.max(initial=0)))
        self._grow_to(width)
        self._starts, self._first = np.zeros(width + 1, np.int64), np.zeros(width)
        self._rows, self._calls = np.empty(beside.size, np.int32), np.empty(beside.size)
        _relate(rows, beside, calls, new, self._starts, self._rows, self._calls, self._first)

    def count(self, row: int, *, is_first: bool) -> None:
        """Learn from an event just before it is counted; `is_first`: the first of a product that has neighbours."""
        if row < len(self._first):
            called = slice(self._starts[row], self._starts[row + 1])
            self._due[self._rows[called]] += self._calls[called]  # a product is beside another only once
            self._expected += float(self._first[row])
        self._came += is_first

    @property
    def mean(self) -> float:
        """The discount of a new product of which nothing is known, (0, 1]."""
        s = self._settings
        return min(1.0, (self._came + s.discount * s.discount_events) / (self._expected + s.discount_events))

    def of(self, rows: IntArray, events: IntArray) -> FloatArray:
        """The discount of each product, (C,), (0, 1].

        Args:
            rows: (C,)
            events: (C,) of each.
        """
        shape = self._settings.discount_shape
        self._grow_to(1 + int(rows.max(initial=0)))
        posterior = (shape + events) / (shape / self.mean + self._due[rows])
        return np.minimum(posterior, 1.0).astype(np.float32)

    def to_arrays(self, products: int) -> dict[str, NDArray[Any]]:
        """What was learned of the first `products` rows."""
        due = np.zeros(products)
        due[: len(self._due)] = self._due[:products]
        return {"due": due, "learned": np.array([self._expected, float(self._came)])}

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave; called before anything is counted."""
        due = arrays["due"]
        self._grow_to(len(due))
        self._due[: len(due)] = due
        self._expected, self._came = float(arrays["learned"][0]), int(arrays["learned"][1])

    def _grow_to(self, products: int) -> None:
        self._due = grown(self._due, products)
