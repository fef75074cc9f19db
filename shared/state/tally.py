"""The tally: popularity, pairs of products and each product's newest users, folded from each event as it is applied.

Whoever reads states keeps one: what is served then knows every event that was read, and needs no model for it.
Processes that have applied the same events hold the same tally, bit for bit, in whatever order the partitions came:

- Popularity decays by growing weights (Cormode et al., "Forward decay", ICDE 2009). An event weighs 2^(t / half-life),
  counted within epochs of 16 half-lives of event time, in fixed point, so that additions commute; nothing is rescaled.
  The newest two epochs count, an older one falls away whole.
- Pairs lie in slots, and slots are bounded, so which pair is dropped depends on order. Therefore each partition, whose
  order all readers share, has slots of its own and decides what it drops; readers add up the partitions.
- Rewards are summed in fixed point, too, and never decay.
- A product's newest users are the greatest so many by (time, partition, offset) of their newest event with it, which no
  order changes.

Pure: no clock, no log, no randomness. The loops are compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.numeric.arrays import capacity, grown
from shared.numeric.compiled import Form, Matrix, ReadOnlyVector, Vector, compiled, prefetch
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.state.histories import ARGUES, DISLIKED_STARS, UNCOUNTED_KINDS, Histories
from shared.state.shop import StreamSettings

# Half-lives of popularity, days; that of `trending`, which the shop chooses, comes before them.
HALF_LIVES_DAYS = (0.25, 2.0, 14.0, 60.0)
# Half-lives in an epoch: with 2^16 for a weight of 1, weights are less than 2^32, and 2^31 events fit into 63 bits.
EPOCH = 16
ONE = 1 << 16

# A user's events of one kind with one product count once for its popularity within this time, as far as the history
# that is kept of the user reaches.
REPEAT_MS = DAY_MS
# With so many events of one product within that time, a user's further ones count for no pair either.
PAIRED_REPEATS = 3

# Events of a history that are paired with the one that follows; what one counts beside the one after it.
PAIRED = 10
NEXT_DECAY, TOGETHER_DECAY = 0.5, 0.8
# A pair counts in units of 1 / PAIR_ONE; 2^19 pairs fit into 31 bits, and there they stop.
PAIR_ONE = 1 << 12
MOST_PAIRED = (1 << 31) - 1

# A reward of 1 counts so much: in whole numbers, sums depend on no order.
REWARD_ONE = 1 << 16

# Neighbours that a product has in one partition at most, and its newest users.
SLOTS, USERS = 128, 128
# They lie in rooms of slots, which double. A room holds one column after the other, so many int32 per slot. Of pairs:
# product, how often it followed, how often it came near, before or after. Of users: row, and as int64 the time of the
# newest event with the product, ms, and its place in the log, partition and offset.
PAIRS, NEWEST = 0, 1
COLUMNS = ((1, 1, 1), (1, 2, 2))
PAIR_INTS, USER_INTS = 3, 5
LEAST_ROOM = 4
MOST_ADDED = 2 * PAIRED * SLOTS  # slots that one event may take, at most
CLASSES = 6  # of room: 4, 8, …, 128
PAIR_BYTES = 4 * PAIR_INTS
LINE = 16  # int32 that memory gives at once

# Columns of `TallyArrays.products`.
NEXT_TOTAL, TOGETHER_TOTAL, NEWEST_USERS, NEIGHBOURS = 0, 1, 2, 3

# The half-life of `trending` is the first.
TRENDING = 0
# What share of popularity is spread evenly over all products, so that a new one's log-popularity is finite.
SMOOTHING = 0.05

# What the arrays of a tally mean, beside the settings: those that were kept under other constants are never read.
MEANING = (
    f"popularity by {' '.join(f'{days:g}' for days in HALF_LIVES_DAYS)} days in epochs of {EPOCH}, 1 is {ONE}, once in "
    f"{REPEAT_MS} ms; pairs within {PAIRED}, decay {NEXT_DECAY:g} and {TOGETHER_DECAY:g}, {PAIRED_REPEATS} a day, 1 is "
    f"{PAIR_ONE}, {SLOTS} slots; {USERS} users; whole rooms from {LEAST_ROOM}; above {DISLIKED_STARS:g} stars; "
    f"rewards of all events, 1 is {REWARD_ONE}"
)

NEVER = -(1 << 62)
NONE = -1

Int64Cube: TypeAlias = Annotated[NDArray[np.int64], Form(3)]
Float32Cube: TypeAlias = Annotated[NDArray[np.float32], Form(3)]


class TallyArrays(NamedTuple):
    """All arrays: H half-lives, A products, Q partitions, slots for N pairs and V newest users. What is read together
    lies together, and they are few, since a call takes time for each.
    """

    half_lives_ms: Vector[np.float64]  # (H,)
    epochs: Vector[np.int64]  # (H,) the newest
    counts: Int64Cube  # (A, H, 2) of events, weighted, by epoch modulo 2
    totals: Matrix[np.int64]  # (H, 2) of all products
    popular: Matrix[np.float32]  # (H, A) both epochs, in units of the newest
    # (A, 3 + Q) next and together of all pairs of a product, those that were dropped included; then rooms, as `room_of`
    # reads them: that of its newest users, and that of its pairs in each partition.
    products: Matrix[np.int64]
    pair_totals: Vector[np.int64]  # (2,) next and together, of all products
    pairs: Vector[np.int32]  # (3 N,) rooms
    users: Vector[np.int32]  # (5 V,) rooms, likewise
    rewards: Matrix[np.int64]  # (A, 2) events of each product, whatever they say, and the sum of their rewards
    free: Matrix[np.int64]  # (2, CLASSES) the first of the rooms that nobody uses, by size; these are chained
    used: Vector[np.int64]  # (2 + 2 Q,) slots in use of all; users likewise; by partition: slots, pairs refused


class Tally:
    """TallyArrays of the events applied so far.

    Args:
        trending_half_life_ms: of the popularity that `trending` goes by, the first of all.
        most_pairs: of one partition, slots that its products may have together; beyond, products keep those they have.
    """

    @classmethod
    def of(cls, settings: StreamSettings) -> Self:
        """An empty one, by the shop's settings."""
        return cls(settings.trending_half_life_days * DAY_MS, settings.tally_megabytes * 1_000_000 // PAIR_BYTES)

    def __init__(self, trending_half_life_ms: float, most_pairs: int = 1 << 26) -> None:
        self.most_pairs = most_pairs
        self.size = 0  # products with a place
        self.partitions = 1  # that may have pairs
        half_lives = np.array([trending_half_life_ms, *(days * DAY_MS for days in HALF_LIVES_DAYS)])
        self.arrays = _empty(half_lives, products=1024, partitions=1, pairs=4096, users=4096)

    def fold(self, state: pb.StateVector, product: int, histories: Histories, user: int) -> None:
        """Count one event, which the user's history does not hold yet and which did not disappoint.

        Args:
            product: row.
            histories: of all users.
            user: row, -1 of a guest.
        """
        if product >= self.size:
            self.grow_to(product + 1)
        partition = max(0, state.source_partition)
        if partition >= self.partitions:
            self._make_room(partition)
        products, times, kinds, argues, counts = histories.rings
        full = _fold.unchecked(
            self.arrays, product, state.kind, state.event_time_ms, partition, max(0, state.source_offset), user,
            int(counts[user]) if user >= 0 else 0, products, times, kinds, argues, self.most_pairs,
        )  # fmt: skip
        if full:
            self._make_room(partition)

    def rate(self, product: int, reward: float) -> None:
        """Count what an event was worth, one that disappointed too; the product has a place."""
        rewards = self.arrays.rewards
        rewards[product, 0] += 1
        rewards[product, 1] += round(reward * REWARD_ONE)

    def grow_to(self, products: int) -> None:
        """Give a place to every product up to `products`."""
        if products > len(self.arrays.products):
            self.arrays = _with_products(self.arrays, products)
        self.size = max(self.size, products)

    def add(self, product: int, kind: int, event_time_ms: int) -> None:
        """Count an event for popularity alone, as a guest's."""
        self.grow_to(product + 1)
        if kind not in UNCOUNTED_KINDS:
            count(self.arrays, product, event_time_ms)

    def weights(self, half_life: int = TRENDING) -> tuple[NDArray[np.float32], float]:
        """The decayed count of every product, (A,), and of all together, by one half-life; not to be changed."""
        return self.arrays.popular[half_life, : self.size], total_of.unchecked(self.arrays, half_life)

    def scores(self) -> NDArray[np.float32]:
        """Every product's share of what is trending, (A,); 0 where nothing was counted."""
        weights, total = self.weights()
        return weights / np.float32(total) if total > 0.0 else weights.copy()

    def share(self, product: int) -> float:
        """One product's smoothed share of what is trending; exp of its log-popularity."""
        weights, total = self.weights()
        counted = float(weights[product]) / total if total > 0.0 else 0.0
        return (1.0 - SMOOTHING) * counted + SMOOTHING / max(1, self.size)

    def shares(self) -> NDArray[np.float32]:
        """Every product's smoothed share of what is trending, (A,), each above 0."""
        return np.float32(1.0 - SMOOTHING) * self.scores() + np.float32(SMOOTHING / max(1, self.size))

    def log_popularity(self) -> NDArray[np.float32]:
        """Log of every product's smoothed share, (A,): a prior to which a model's logits add."""
        result: NDArray[np.float32] = np.log(self.shares())
        return result

    @property
    def refused(self) -> int:
        """Pairs that were not counted, since their partition has no more slots."""
        return int(self.arrays.used[3::2].sum())

    @property
    def bytes(self) -> int:
        """Memory in use."""
        return sum(array.nbytes for array in self.arrays)

    def to_arrays(self, products: int | None = None) -> dict[str, NDArray[Any]]:
        """Everything, for a checkpoint or a snapshot, in any thread while nothing is folded.

        Args:
            products: places to leave out from; None: none.
        """
        a = self.size if products is None else min(self.size, products)
        arrays = self.arrays  # after the size: they have room for it, whoever makes them grow meanwhile
        kept = {name: array[_part(name, a, arrays.used)].copy() for name, array in arrays._asdict().items()}
        return kept | {"size": np.array([a], np.int64)}

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave."""
        self.size = a = int(arrays["size"][0])
        used = arrays["used"]
        partitions = len(used) // 2 - 1
        pairs, users = (capacity(4096, slots) for slots in used[:2].tolist())
        self.arrays = _empty(arrays["half_lives_ms"], max(a, 1024), partitions, pairs, users)
        for name, array in self.arrays._asdict().items():
            array[_part(name, a, used)] = arrays[name]
        self._make_room(partitions - 1)

    def _make_room(self, partition: int) -> None:
        """Make room for whatever the next event may add, and for a partition."""
        arrays = self.arrays
        if partition >= partitions_of(arrays):
            arrays = _with_partitions(arrays, partition + 1)
        self.partitions = partitions_of(arrays)
        pairs, users = arrays.used[:2].tolist()
        self.arrays = arrays._replace(
            pairs=grown(arrays.pairs, PAIR_INTS * (pairs + MOST_ADDED)),
            users=grown(arrays.users, USER_INTS * (users + USERS)),
        )


@compiled
def _both(t: TallyArrays, h: int, product: int) -> float:
    side = t.epochs[h] & 1
    return float((t.counts[product, h, side] + t.counts[product, h, 1 - side] / ONE) / ONE)


@compiled
def total_of(t: TallyArrays, h: int) -> float:
    """The decayed count of all products, in units of the newest epoch."""
    side = t.epochs[h] & 1
    return float((t.totals[h, side] + t.totals[h, 1 - side] / ONE) / ONE)


@compiled
def _begin(t: TallyArrays, h: int, epoch: int) -> None:
    """Begin an epoch: the one before the last falls away."""
    side = epoch & 1
    t.counts[:, h, side] = 0
    t.totals[h, side] = 0
    if epoch > t.epochs[h] + 1:
        t.counts[:, h, 1 - side] = 0
        t.totals[h, 1 - side] = 0
    t.epochs[h] = epoch
    for product in range(len(t.counts)):
        t.popular[h, product] = _both(t, h, product)


@compiled
def count(t: TallyArrays, product: int, time_ms: int) -> None:
    """Count an event of a product at every half-life."""
    for h in range(len(t.half_lives_ms)):
        half_life = t.half_lives_ms[h]
        epoch = int(np.floor(time_ms / (EPOCH * half_life)))
        newest = t.epochs[h]
        if epoch > newest:
            _begin(t, h, epoch)
        elif epoch < newest - 1:
            continue
        age = (time_ms - epoch * EPOCH * half_life) / half_life
        weight = int(2.0**age * ONE + 0.5)
        side = epoch & 1
        t.counts[product, h, side] += weight
        t.totals[h, side] += weight
        t.popular[h, product] = _both(t, h, product)


@compiled
def _class(room: int) -> int:
    """The place of a room among the powers of two from `LEAST_ROOM` on."""
    place = 0
    while room > LEAST_ROOM:
        room >>= 1
        place += 1
    return place


@compiled
def partitions_of(t: TallyArrays) -> int:
    """Partitions that products have pairs in, or may have."""
    return int(t.products.shape[1] - NEIGHBOURS)


@compiled
def room_of(room: int) -> tuple[int, int, int]:
    """Of what `TallyArrays.products` says of a room: its first slot, how many are in use, and how many it has.

    It has as many as is the least power of two that holds them, and `LEAST_ROOM`; where none is in use, there is none.
    """
    size = room & 255
    slots = LEAST_ROOM
    while slots < size:
        slots *= 2
    return room >> 8, size, slots


@compiled
def prefetch_pairs(t: TallyArrays, product: int, q: int, columns: int) -> None:
    """Let the processor fetch the first columns of a product's pairs in a partition."""
    start, size, slots = room_of(t.products[product, NEIGHBOURS + q])
    begin = PAIR_INTS * start
    for _ in range(columns):
        for at in range(begin, begin + size, LINE):
            prefetch(t.pairs, at)
        begin += slots


@compiled
def _move(t: TallyArrays, which: int, rooms: Vector[np.int32], room: int, slots: int) -> int:
    """Give what is in a room a larger one; its first slot.

    Args:
        which: `PAIRS` or `NEWEST`.
        rooms: the array of these.
        room: as in `TallyArrays.products`; it is empty or full.
        slots: of the larger one.
    """
    columns = COLUMNS[which]
    ints = columns[0] + columns[1] + columns[2]
    place = _class(slots)
    start = t.free[which, place]
    if start == NONE:
        start = t.used[which]
        t.used[which] += slots
    else:
        t.free[which, place] = rooms[ints * start]
    before, size, _ = room_of(room)
    if size:
        here, there = ints * before, ints * start
        for column in columns:
            for n in range(column * size):
                rooms[there + n] = rooms[here + n]
            here += column * size
            there += column * slots
        place = _class(size)
        rooms[ints * before] = t.free[which, place]
        t.free[which, place] = before
    return int(start)


@compiled
def _place(values: ReadOnlyVector[np.int32], value: int) -> int:
    """Where a value stands first, -1: nowhere. The first loop, which does not stop, is the one that runs fast."""
    stands = False
    wanted = np.int32(value)
    for n in range(len(values)):
        stands |= values[n] == wanted
    if stands:
        for n in range(len(values)):
            if values[n] == wanted:
                return n
    return NONE


@compiled
def _place_of_least(values: ReadOnlyVector[np.int32]) -> int:
    """Where the least of the values stands first."""
    least = values[0]
    for n in range(len(values)):
        least = min(least, values[n])
    return _place(values, least)


@compiled
def _pair(t: TallyArrays, q: int, product: int, neighbour: int, following: int, near: int, most_pairs: int) -> None:
    """Count a neighbour of a product in one partition's slots."""
    t.products[product, NEXT_TOTAL] += following
    t.products[product, TOGETHER_TOTAL] += near
    t.pair_totals[0] += following
    t.pair_totals[1] += near
    room = t.products[product, NEIGHBOURS + q]
    start, size, slots = room_of(room)
    begin = PAIR_INTS * start
    slot = _place(t.pairs[begin : begin + size], neighbour)
    if slot >= 0:
        at = begin + slot + slots
        t.pairs[at] = min(MOST_PAIRED, t.pairs[at] + following)
        t.pairs[at + slots] = min(MOST_PAIRED, t.pairs[at + slots] + near)
        return
    slot = size
    if size == 0 or size == slots:
        larger = 2 * size if size else LEAST_ROOM
        if larger <= SLOTS and t.used[2 + 2 * q] + larger - size <= most_pairs:
            start = _move(t, PAIRS, t.pairs, room, larger)
            t.used[2 + 2 * q] += larger - size
            begin, slots = PAIR_INTS * start, larger
        elif size == 0:
            t.used[3 + 2 * q] += 1
            return
        else:  # the least of the neighbours makes room, of equals the first
            slot = _place_of_least(t.pairs[begin + 2 * slots : begin + 3 * slots])
    t.pairs[begin + slot] = neighbour
    t.pairs[begin + slots + slot] = following
    t.pairs[begin + 2 * slots + slot] = near
    if slot == size:
        t.products[product, NEIGHBOURS + q] = (start << 8) | (size + 1)


@compiled
def _times(t: TallyArrays, begin: int, slots: int) -> Vector[np.int64]:
    """The times in a room of users that begins there; behind them lie the places."""
    return t.users[begin + slots : begin + 3 * slots].view(np.int64)


@compiled
def _note_user(t: TallyArrays, product: int, user: int, time_ms: int, place: int) -> None:
    """Put a user among the product's newest, or keep the newer of the user's two events."""
    room = t.products[product, NEWEST_USERS]
    start, size, slots = room_of(room)
    begin = USER_INTS * start
    slot = _place(t.users[begin : begin + size], user)
    if slot < 0 and size < USERS:
        slot = size
        if size == 0 or size == slots:
            slots = 2 * size if size else LEAST_ROOM
            start = _move(t, NEWEST, t.users, room, slots)
            begin = USER_INTS * start
        t.products[product, NEWEST_USERS] = (start << 8) | (size + 1)
        _times(t, begin, slots)[slot] = NEVER
    times, places = _times(t, begin, slots), _times(t, begin + 2 * slots, slots)
    if slot < 0:  # the oldest makes room, unless this event is older
        slot = 0
        for other in range(1, size):
            if times[other] < times[slot] or (times[other] == times[slot] and places[other] < places[slot]):
                slot = other
    if time_ms > times[slot] or (time_ms == times[slot] and place >= places[slot]):
        t.users[begin + slot] = user
        times[slot], places[slot] = time_ms, place


@compiled
def _is_full(t: TallyArrays) -> bool:
    return bool(
        PAIR_INTS * (t.used[PAIRS] + MOST_ADDED) > len(t.pairs) or USER_INTS * (t.used[NEWEST] + USERS) > len(t.users)
    )


@compiled
def _fold(
    t: TallyArrays,
    product: int,
    kind: int,
    time_ms: int,
    partition: int,
    offset: int,
    user: int,
    events: int,
    products: Matrix[np.int32],
    times: Matrix[np.int64],
    kinds: Matrix[np.uint8],
    argues: Matrix[np.uint8],
    most_pairs: int,
) -> bool:
    """Count one event; whether there may be no room for one more.

    Args:
        user: row, -1 of a guest.
        events: of the user before it.
        products, times, kinds, argues: of all users' histories, as rings.
    """
    length = products.shape[1]
    kept = min(events, length)
    columns = t.products.shape[1]
    prefetch(t.products, product * columns)
    prefetch(t.counts, product * t.counts.shape[1] * 2)
    for lag in range(min(kept, PAIRED)):
        prefetch(t.products, products[user, (events - 1 - lag) % length] * columns)
    repeats = 0
    again = False
    for lag in range(kept):
        slot = (events - 1 - lag) % length
        if products[user, slot] == product and abs(time_ms - times[user, slot]) < REPEAT_MS:
            repeats += 1
            again = again or kinds[user, slot] == kind
    if not again:
        count(t, product, time_ms)
    for lag in range(min(kept, PAIRED)):
        prefetch_pairs(t, products[user, (events - 1 - lag) % length], partition, 1)
    if user >= 0:
        _note_user(t, product, user, time_ms, (partition << 48) | offset)
    if repeats >= PAIRED_REPEATS:
        return _is_full(t)
    following, together = float(PAIR_ONE), float(PAIR_ONE)
    for lag in range(min(kept, PAIRED)):
        slot = (events - 1 - lag) % length
        before = products[user, slot]
        if before != product and argues[user, slot] == ARGUES:
            near = int(together + 0.5)
            _pair(t, partition, before, product, int(following + 0.5), near, most_pairs)
            _pair(t, partition, product, before, 0, near, most_pairs)
        following *= NEXT_DECAY
        together *= TOGETHER_DECAY
    return _is_full(t)


def _empty(half_lives_ms: NDArray[np.float64], products: int, partitions: int, pairs: int, users: int) -> TallyArrays:
    h, a, q = len(half_lives_ms), products, partitions
    return TallyArrays(
        half_lives_ms=half_lives_ms.astype(np.float64),
        epochs=np.full(h, NEVER, np.int64),
        counts=np.zeros((a, h, 2), np.int64),
        totals=np.zeros((h, 2), np.int64),
        popular=np.zeros((h, a), np.float32),
        products=np.zeros((a, NEIGHBOURS + q), np.int64),
        pair_totals=np.zeros(2, np.int64),
        pairs=np.zeros(PAIR_INTS * pairs, np.int32),
        users=np.zeros(USER_INTS * users, np.int32),
        rewards=np.zeros((a, 2), np.int64),
        free=np.full((2, CLASSES), NONE, np.int64),
        used=np.zeros(2 + 2 * q, np.int64),
    )


# Which axis of which arrays is the products'.
_OF_PRODUCTS = {"counts": 0, "popular": 1, "products": 0, "rewards": 0}


def _part(name: str, products: int, used: NDArray[np.int64]) -> Any:
    """What of an array is in use."""
    if name in _OF_PRODUCTS:
        return (*[slice(None)] * _OF_PRODUCTS[name], slice(0, products))
    if name == "pairs":
        return slice(0, PAIR_INTS * int(used[PAIRS]))
    return slice(0, USER_INTS * int(used[NEWEST])) if name == "users" else slice(None)


def _with_products(arrays: TallyArrays, products: int) -> TallyArrays:
    larger = {name: grown(getattr(arrays, name), products, axis=axis) for name, axis in _OF_PRODUCTS.items()}
    return arrays._replace(**larger)


def _with_partitions(arrays: TallyArrays, partitions: int) -> TallyArrays:
    more = partitions - partitions_of(arrays)
    return arrays._replace(
        products=np.pad(arrays.products, ((0, 0), (0, more))), used=np.pad(arrays.used, (0, 2 * more))
    )
