"""The tally: popularity, pairs of products and each product's newest users, folded from each event as it is applied.

Whoever reads states keeps one: what is served then knows every event that was read, and needs no model for it.
Processes that have applied the same events hold the same tally, bit for bit, in whatever order the partitions came:

- Popularity decays by growing weights (Cormode et al., "Forward decay", ICDE 2009). An event weighs 2^(t / half-life),
  counted within epochs of 16 half-lives of event time, in fixed point, so that additions commute; nothing is rescaled.
  The newest two epochs count, an older one falls away whole.
- Pairs lie in slots, and slots are bounded, so which pair is dropped depends on order. Therefore each partition, whose
  order all readers share, has slots of its own and decides what it drops; readers add up the partitions.
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
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.arrays import capacity, grown
from shared.process.compiled import Form, Matrix, ReadOnlyVector, Vector, compiled
from shared.state.histories import ARGUES, DISLIKED_STARS, UNCOUNTED_KINDS, Histories, disappoints
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

# Neighbours that a product has in one partition at most, and its newest users. Rooms for them double.
SLOTS, USERS = 128, 128
LEAST_ROOM = 4
CLASSES = 6  # of room: 4, 8, …, 128
PAIR_BYTES, USER_BYTES = 12, 20

# The half-life of `trending` is the first.
TRENDING = 0
# What share of popularity is spread evenly over all products, so that a new one's log-popularity is finite.
SMOOTHING = 0.05

# What the arrays of a tally mean, beside the settings: those that were kept under other constants are never read.
MEANING = (
    f"popularity by {' '.join(f'{days:g}' for days in HALF_LIVES_DAYS)} days in epochs of {EPOCH}, 1 is {ONE}, once in "
    f"{REPEAT_MS} ms; pairs within {PAIRED}, decay {NEXT_DECAY:g} and {TOGETHER_DECAY:g}, {PAIRED_REPEATS} a day, 1 is "
    f"{PAIR_ONE}, {SLOTS} slots; {USERS} users; rooms from {LEAST_ROOM}; above {DISLIKED_STARS:g} stars"
)

NEVER = -(1 << 62)
NONE = -1

Int64Cube: TypeAlias = Annotated[NDArray[np.int64], Form(3)]
Float32Cube: TypeAlias = Annotated[NDArray[np.float32], Form(3)]


class TallyArrays(NamedTuple):
    """All arrays: H half-lives, A products, Q partitions, N pairs, V newest users."""

    half_lives_ms: Vector[np.float64]  # (H,)
    epochs: Vector[np.int64]  # (H,) the newest
    counts: Int64Cube  # (H, 2, A) of events, weighted, by epoch modulo 2
    totals: Matrix[np.int64]  # (H, 2) of all products
    popular: Matrix[np.float32]  # (H, A) both epochs, in units of the newest
    next_totals: Vector[np.int64]  # (A,) of all pairs of a product, those that were dropped included
    together_totals: Vector[np.int64]
    pair_totals: Vector[np.int64]  # (2,) both, of all products together
    starts: Matrix[np.int32]  # (Q, A) where a product's slots begin in the three arrays below; -1: it has none
    sizes: Matrix[np.int16]  # (Q, A) slots in use
    rooms: Matrix[np.int16]  # (Q, A) and how many there are
    neighbours: Vector[np.int32]  # (N,) product
    following: Vector[np.int32]  # (N,) how often it followed
    together: Vector[np.int32]  # (N,) how often it came near, before or after
    free: Vector[np.int32]  # (CLASSES,) the first of the slots that nobody uses, by room; these are chained
    used: Vector[np.int64]  # (2 + 2 Q,) slots in use of all; users likewise; by partition: slots, pairs refused
    user_starts: Vector[np.int32]  # (A,) as `starts`, of a product's newest users
    user_sizes: Vector[np.int16]
    user_rooms: Vector[np.int16]
    users: Vector[np.int32]  # (V,) row
    user_times: Vector[np.int64]  # (V,) of the user's newest event with the product, ms
    user_places: Vector[np.int64]  # (V,) and its place in the log: partition and offset
    user_free: Vector[np.int32]  # (CLASSES,)


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
        half_lives = np.array([trending_half_life_ms, *(days * DAY_MS for days in HALF_LIVES_DAYS)])
        self.arrays = _empty(half_lives, products=1024, partitions=1, pairs=4096, users=4096)

    def fold(self, state: pb.StateVector, product: int, histories: Histories, user: int) -> None:
        """Count one event, which the user's history does not hold yet.

        Args:
            product: row.
            histories: of all users.
            user: row, -1 of a guest.
        """
        self.grow_to(product + 1)
        if disappoints(state):
            return
        partition = max(0, state.source_partition)
        self._make_room(partition)
        products, times, kinds, argues, counts = histories.rings
        _fold(
            self.arrays, product, state.kind, state.event_time_ms, partition, max(0, state.source_offset), user,
            int(counts[user]) if user >= 0 else 0, products, times, kinds, argues, self.most_pairs,
        )  # fmt: skip

    def grow_to(self, products: int) -> None:
        """Give a place to every product up to `products`."""
        if products > len(self.arrays.next_totals):
            self.arrays = _with_products(self.arrays, products)
        self.size = max(self.size, products)

    def add(self, product: int, kind: int, event_time_ms: int) -> None:
        """Count an event for popularity alone, as a guest's."""
        self.grow_to(product + 1)
        if kind not in UNCOUNTED_KINDS:
            count(self.arrays, product, event_time_ms)

    def weights(self, half_life: int = TRENDING) -> tuple[NDArray[np.float32], float]:
        """The decayed count of every product, (A,), and of all together, by one half-life; not to be changed."""
        return self.arrays.popular[half_life, : self.size], total_of(self.arrays, half_life)

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
        pairs, users = arrays.used[:2].tolist()
        kept = {name: array[_part(name, a, pairs, users)].copy() for name, array in arrays._asdict().items()}
        return kept | {"size": np.array([a], np.int64)}

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave."""
        self.size = a = int(arrays["size"][0])
        pairs, users = arrays["used"][:2].tolist()
        partitions = len(arrays["starts"])
        self.arrays = _empty(
            arrays["half_lives_ms"].copy(), max(a, 1024), partitions, capacity(4096, pairs), capacity(4096, users)
        )
        for name, array in self.arrays._asdict().items():
            array[_part(name, a, pairs, users)] = arrays[name]

    def _make_room(self, partition: int) -> None:
        """Make room for whatever one event may add."""
        arrays = self.arrays
        if partition >= len(arrays.starts):
            arrays = _with_partitions(arrays, partition + 1)
        pairs, users = arrays.used[:2].tolist()
        if pairs + 2 * PAIRED * SLOTS > len(arrays.neighbours):
            room = capacity(len(arrays.neighbours), pairs + 2 * PAIRED * SLOTS)
            arrays = arrays._replace(
                neighbours=grown(arrays.neighbours, room),
                following=grown(arrays.following, room),
                together=grown(arrays.together, room),
            )
        if users + USERS > len(arrays.users):
            room = capacity(len(arrays.users), users + USERS)
            arrays = arrays._replace(
                users=grown(arrays.users, room),
                user_times=grown(arrays.user_times, room),
                user_places=grown(arrays.user_places, room),
            )
        self.arrays = arrays


@compiled
def _both(t: TallyArrays, h: int, product: int) -> float:
    side = t.epochs[h] & 1
    return float((t.counts[h, side, product] + t.counts[h, 1 - side, product] / ONE) / ONE)


@compiled
def total_of(t: TallyArrays, h: int) -> float:
    """The decayed count of all products, in units of the newest epoch."""
    side = t.epochs[h] & 1
    return float((t.totals[h, side] + t.totals[h, 1 - side] / ONE) / ONE)


@compiled
def _begin(t: TallyArrays, h: int, epoch: int) -> None:
    """Begin an epoch: the one before the last falls away."""
    side = epoch & 1
    t.counts[h, side, :] = 0
    t.totals[h, side] = 0
    if epoch > t.epochs[h] + 1:
        t.counts[h, 1 - side, :] = 0
        t.totals[h, 1 - side] = 0
    t.epochs[h] = epoch
    for product in range(t.counts.shape[2]):
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
        t.counts[h, side, product] += weight
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
def _take_room(free: Vector[np.int32], chained: Vector[np.int32], used: Vector[np.int64], which: int, room: int) -> int:
    """Where a room begins that nobody uses.

    Args:
        free: (CLASSES,) the first such room of each size.
        chained: (N,) at the begin of each, the next one.
        which: of the numbers of `used`, the one that counts these.
    """
    place = _class(room)
    start = int(free[place])
    if start == NONE:
        start = int(used[which])
        used[which] += room
    else:
        free[place] = chained[start]
    return start


@compiled
def _leave_room(free: Vector[np.int32], chained: Vector[np.int32], start: int, room: int) -> None:
    """Nobody uses a room any more."""
    place = _class(room)
    chained[start] = free[place]
    free[place] = start


@compiled
def _move(t: TallyArrays, q: int, product: int, room: int) -> int:
    """Give a product's slots another room; where it begins."""
    before, start = t.rooms[q, product], t.starts[q, product]
    free = _take_room(t.free, t.neighbours, t.used, 0, room)
    for slot in range(before):
        t.neighbours[free + slot] = t.neighbours[start + slot]
        t.following[free + slot] = t.following[start + slot]
        t.together[free + slot] = t.together[start + slot]
    if before:
        _leave_room(t.free, t.neighbours, start, before)
    t.used[2 + 2 * q] += room - before
    t.starts[q, product] = free
    t.rooms[q, product] = room
    return free


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
    t.next_totals[product] += following
    t.together_totals[product] += near
    t.pair_totals[0] += following
    t.pair_totals[1] += near
    start, size = t.starts[q, product], t.sizes[q, product]
    slot = start + _place(t.neighbours[start : start + size], neighbour)
    if slot >= start:
        t.following[slot] = min(MOST_PAIRED, t.following[slot] + following)
        t.together[slot] = min(MOST_PAIRED, t.together[slot] + near)
        return
    room = t.rooms[q, product]
    if size == room:
        larger = LEAST_ROOM if room == 0 else 2 * room
        if larger <= SLOTS and t.used[2 + 2 * q] + larger - room <= most_pairs:
            start = _move(t, q, product, larger)
        elif room == 0:
            t.used[3 + 2 * q] += 1
            return
        else:  # the least of the neighbours makes room, of equals the first
            weakest = start + _place_of_least(t.together[start : start + size])
            t.neighbours[weakest] = neighbour
            t.following[weakest] = following
            t.together[weakest] = near
            return
    slot = start + size
    t.neighbours[slot] = neighbour
    t.following[slot] = following
    t.together[slot] = near
    t.sizes[q, product] = size + 1


@compiled
def _move_users(t: TallyArrays, product: int, room: int) -> int:
    """Give a product's newest users another room; where it begins."""
    before, start = t.user_rooms[product], t.user_starts[product]
    free = _take_room(t.user_free, t.users, t.used, 1, room)
    for slot in range(before):
        t.users[free + slot] = t.users[start + slot]
        t.user_times[free + slot] = t.user_times[start + slot]
        t.user_places[free + slot] = t.user_places[start + slot]
    if before:
        _leave_room(t.user_free, t.users, start, before)
    t.user_starts[product] = free
    t.user_rooms[product] = room
    return free


@compiled
def _note_user(t: TallyArrays, product: int, user: int, time_ms: int, place: int) -> None:
    """Put a user among the product's newest, or keep the newer of the user's two events."""
    start, size, room = t.user_starts[product], t.user_sizes[product], t.user_rooms[product]
    slot = start + _place(t.users[start : start + size], user)
    if slot >= start:
        if time_ms > t.user_times[slot] or (time_ms == t.user_times[slot] and place > t.user_places[slot]):
            t.user_times[slot], t.user_places[slot] = time_ms, place
        return
    slot = start + size
    if size == USERS:  # the oldest makes room, unless this event is older
        slot = start
        for other in range(start, start + size):
            if t.user_times[other] < t.user_times[slot] or (
                t.user_times[other] == t.user_times[slot] and t.user_places[other] < t.user_places[slot]
            ):
                slot = other
        older = t.user_times[slot]
        if time_ms < older or (time_ms == older and place < t.user_places[slot]):
            return
    else:
        if size == room:
            slot = _move_users(t, product, LEAST_ROOM if room == 0 else 2 * room) + size
        t.user_sizes[product] = size + 1
    t.users[slot] = user
    t.user_times[slot] = time_ms
    t.user_places[slot] = place


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
) -> None:
    """Count one event.

    Args:
        user: row, -1 of a guest.
        events: of the user before it.
        products, times, kinds, argues: of all users' histories, as rings.
    """
    if user >= 0:
        _note_user(t, product, user, time_ms, (partition << 48) | offset)
    length = products.shape[1]
    kept = min(events, length)
    repeats = 0
    again = False
    for lag in range(kept):
        slot = (events - 1 - lag) % length
        if products[user, slot] == product and abs(time_ms - times[user, slot]) < REPEAT_MS:
            repeats += 1
            again = again or kinds[user, slot] == kind
    if not again:
        count(t, product, time_ms)
    if repeats >= PAIRED_REPEATS:
        return
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


def _empty(half_lives_ms: NDArray[np.float64], products: int, partitions: int, pairs: int, users: int) -> TallyArrays:
    h, a, q = len(half_lives_ms), products, partitions
    return TallyArrays(
        half_lives_ms=half_lives_ms,
        epochs=np.full(h, NEVER, np.int64),
        counts=np.zeros((h, 2, a), np.int64),
        totals=np.zeros((h, 2), np.int64),
        popular=np.zeros((h, a), np.float32),
        next_totals=np.zeros(a, np.int64),
        together_totals=np.zeros(a, np.int64),
        pair_totals=np.zeros(2, np.int64),
        starts=np.zeros((q, a), np.int32),
        sizes=np.zeros((q, a), np.int16),
        rooms=np.zeros((q, a), np.int16),
        neighbours=np.zeros(pairs, np.int32),
        following=np.zeros(pairs, np.int32),
        together=np.zeros(pairs, np.int32),
        free=np.full(CLASSES, NONE, np.int32),
        used=np.zeros(2 + 2 * q, np.int64),
        user_starts=np.zeros(a, np.int32),
        user_sizes=np.zeros(a, np.int16),
        user_rooms=np.zeros(a, np.int16),
        users=np.zeros(users, np.int32),
        user_times=np.zeros(users, np.int64),
        user_places=np.zeros(users, np.int64),
        user_free=np.full(CLASSES, NONE, np.int32),
    )


# Which axis of which arrays is the products'.
_OF_PRODUCTS = {
    "counts": 2, "popular": 1, "next_totals": 0, "together_totals": 0, "starts": 1, "sizes": 1, "rooms": 1,
    "user_starts": 0, "user_sizes": 0, "user_rooms": 0,
}  # fmt: skip
_OF_PAIRS = ("neighbours", "following", "together")
_OF_USERS = ("users", "user_times", "user_places")


def _part(name: str, products: int, pairs: int, users: int) -> Any:
    """What of an array is in use."""
    if name in _OF_PRODUCTS:
        return (*[slice(None)] * _OF_PRODUCTS[name], slice(0, products))
    if name in _OF_PAIRS:
        return slice(0, pairs)
    return slice(0, users) if name in _OF_USERS else slice(None)


def _with_products(arrays: TallyArrays, products: int) -> TallyArrays:
    larger = {name: grown(getattr(arrays, name), products, axis=axis) for name, axis in _OF_PRODUCTS.items()}
    return arrays._replace(**larger)


def _with_partitions(arrays: TallyArrays, partitions: int) -> TallyArrays:
    more = partitions - len(arrays.starts)
    tables = {name: np.pad(getattr(arrays, name), ((0, more), (0, 0))) for name in ("starts", "sizes", "rooms")}
    return arrays._replace(**tables, used=np.pad(arrays.used, (0, 2 * more)))
