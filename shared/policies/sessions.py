"""The policy `vmis-knn`: what the newest sessions like the user's hold, counted event by event. Pure.

Vector-multiplication-indexed session kNN (Kersbergen, Sprangers & Schelter, "Serenade", SIGMOD 2022, algorithm 2), with
an index that every event extends instead of one built each night.
"""

from __future__ import annotations

import zlib
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.model.served import FloatArray
from shared.numeric.arrays import grown
from shared.numeric.compiled import Vector, compiled
from shared.policies.contract import Learned, PolicySnapshot, keeps_contract
from shared.policies.counts import CountingPolicy
from shared.process.errors import Unusable
from shared.state.histories import Window
from shared.state.stream import Seen, Stream

NONE = -1  # no pair, no session
FIRST_CAPACITY = 1024  # pairs and products that there is room for at first
# What a session counts less for each place by which the newest product it shares with the user's lies further back.
STEP_BACK = 0.1


@keeps_contract
class VmisKnnPolicy(CountingPolicy):
    """Products of the sessions most like the user's newest products, the nearest sessions and rarest products most.

    A session is a user's events until a pause longer than the shop's session gap. The user's own, which goes on, is no
    neighbour of itself.

    Args:
        m: newest sessions of each product, and of all neighbours, that are looked at.
        k: of these, the sessions most like the user's that count.
        last: newest events of a history that are read.
        idf_weight: what a product's rarity counts, log(pairs / its sessions); 0: nothing. Above 0 it scales all sums
            alike, as published.
        longest: products of a session; where it goes on beyond, another one begins.
        pairs: of a session and a product that are kept, the newest ones: 68 bytes each.
        popularity_weight: of popularity beside the sums, which orders products that no neighbour holds.

    Raises:
        Unusable: a number is out of its range.
    """

    name: ClassVar[str] = "vmis-knn"
    published: ClassVar[bool] = False

    def __init__(
        self,
        stream: Stream,
        seed: int,  # noqa: ARG002  # nothing is drawn
        *,
        m: int = 500,
        k: int = 100,
        last: int = 4,
        idf_weight: float = 1.0,
        longest: int = 15,
        pairs: int = 1_000_000,
        popularity_weight: float = 0.1,
    ) -> None:
        super().__init__(stream)
        for option, value in {"m": m, "k": k, "last": last, "longest": longest, "pairs": pairs}.items():
            if value < 1:
                raise Unusable(f"vmis-knn: {option} is {value}; give at least 1")
        if idf_weight < 0.0 or not 0.0 < popularity_weight <= 1.0:
            raise Unusable("vmis-knn: give an idf_weight of at least 0, and a popularity_weight above 0 and at most 1")
        self.popularity_weight = popularity_weight
        self._m, self._k, self._last, self._idf_weight, self._longest = m, k, last, idf_weight, longest
        self._index = SessionIndex(pairs)
        self._open: dict[int, int] = {}  # serial of a session's newest transition → the session

    def related(self, window: Window) -> FloatArray:
        """What the neighbours of the history's last products hold, in shares."""
        history = window.products[0, : int(window.lengths[0])]
        sums = self._index.sums(
            history[-self._last :][::-1].copy(),
            m=self._m,
            k=self._k,
            idf_weight=self._idf_weight,
            but=_print_of(history),
            products=len(self._stream.products),
        )
        total = sums.sum()
        if total > 0.0:
            sums *= (1.0 - self.popularity_weight) / total
        return sums.astype(np.float32)

    def learn(self, seen: Seen) -> None:
        """Put the event into its user's session, a new one after a pause; what was not wanted only prolongs it."""
        transition = seen.transition
        if transition is None:
            return
        session = NONE if seen.continued is None else self._open.pop(seen.continued.serial, NONE)
        if transition.chosen:
            session, ended = self._index.enter(session, transition.action, self._longest)
            self._open.pop(ended, None)
        if session != NONE:
            history = transition.products[-self._stream.settings.history_length :]
            self._index.note(session, transition.serial, _print_of(history))
            self._open[transition.serial] = session

    def learned(self) -> Learned:
        """Nothing can be published: a version holds neighbours of products, and knows no sessions."""
        raise Unusable("vmis-knn is a baseline for `freshet evaluate`: its sessions can't be published")

    def snapshot(self) -> PolicySnapshot:
        """The pairs."""
        return PolicySnapshot(self._index.to_arrays(), {"entered": self._index.entered})

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Go on from the pairs."""
        self._index.restore(snapshot.arrays, int(snapshot.state["entered"]))
        self._open = self._index.by_serial()


class Chains(NamedTuple):
    """The newest pairs of a session and a product, in a ring of N places: from each a chain leads back through its
    session, and one through its product.

    Pairs are numbered as they come, pair n lies at n modulo N, and a session goes by the number of its first: when that
    is overwritten, the session is forgotten. Chains lead to lower numbers alone, so they end at the oldest pair kept.
    """

    # Of each pair, (N,).
    products: Vector[np.int32]
    sessions: Vector[np.int64]
    before_in_product: Vector[np.int64]
    before_in_session: Vector[np.int64]
    # Of each session, at the place of its first pair, (N,).
    newest: Vector[np.int64]  # pair
    lengths: Vector[np.int64]
    serials: Vector[np.int64]  # of the newest transition
    prints: Vector[np.int64]  # of the user's history then
    marks: Vector[np.int64]  # all 0 between calls
    # Of each product, (A,).
    newest_of_product: Vector[np.int64]  # pair
    sessions_of_product: Vector[np.int64]  # among the pairs kept


_OF_PRODUCTS = ("newest_of_product", "sessions_of_product")


class SessionIndex:
    """Chains that grow until they hold `most` pairs, and which pairs are among them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.entered = 0  # pairs so far
        rows = min(most, FIRST_CAPACITY)
        arrays: dict[str, Any] = {
            name: np.zeros(FIRST_CAPACITY if name in _OF_PRODUCTS else rows, np.int64) for name in Chains._fields
        }
        arrays |= {"products": np.zeros(rows, np.int32), "newest_of_product": np.full(FIRST_CAPACITY, NONE, np.int64)}
        self._chains = Chains(**arrays)

    @property
    def oldest(self) -> int:
        """The lowest pair that is kept."""
        return max(0, self.entered - self.most)

    def enter(self, session: int, product: int, longest: int) -> tuple[int, int]:
        """Put a product into a session; into a new one where there is `NONE`, it is forgotten, or it is full.

        Returns:
            The session, and the serial of the one that was forgotten to make room, `NONE` where none was.
        """
        if session >= self.oldest and _holds(self._chains, session, product, self.oldest, self.most):
            return session, NONE
        ended = self._make_room()
        self._grow_to(product + 1)
        chains, pair, at = self._chains, self.entered, self.entered % self.most
        if session <= pair - self.most or session == NONE or chains.lengths[session % self.most] >= longest:
            session = pair  # the one given is none, is just forgotten, or is full
            chains.newest[at], chains.lengths[at] = NONE, 0
        first = session % self.most
        chains.products[at], chains.sessions[at] = product, session
        chains.before_in_product[at] = chains.newest_of_product[product]
        chains.before_in_session[at] = chains.newest[first]
        chains.newest[first] = chains.newest_of_product[product] = pair
        chains.lengths[first] += 1
        chains.sessions_of_product[product] += 1
        self.entered += 1
        return session, ended

    def note(self, session: int, serial: int, print_: int) -> None:
        """A session goes on: the serial of its newest event, and the print of its user's history."""
        self._chains.serials[session % self.most], self._chains.prints[session % self.most] = serial, print_

    def sums(
        self, recent: NDArray[np.int32], *, m: int, k: int, idf_weight: float, but: int, products: int
    ) -> NDArray[np.float64]:
        """The weighted sum over the `k` nearest of the `m` newest neighbours, of each product, (products,).

        Args:
            recent: (n,) rows, the newest first.
            but: the print of those sessions that are no neighbours.
        """
        self._grow_to(products)
        result = np.zeros(products, np.float64)
        if len(recent):
            _add_sums(result, self._chains, recent, m, k, float(idf_weight), but, self.oldest, self.entered, self.most)
        return result

    def by_serial(self) -> dict[int, int]:
        """Every session by its newest event's serial."""
        sessions = np.unique(self._chains.sessions[: min(self.entered, self.most)])
        sessions = sessions[sessions >= self.oldest]
        return dict(zip(self._chains.serials[sessions % self.most].tolist(), sessions.tolist(), strict=True))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but how many pairs there were, for a checkpoint."""
        kept = min(self.entered, self.most)
        products = int(np.flatnonzero(self._chains.newest_of_product >= 0).max(initial=-1)) + 1
        return {
            name: array[: products if name in _OF_PRODUCTS else kept].copy()
            for name, array in self._chains._asdict().items()
        }

    def restore(self, arrays: dict[str, NDArray[Any]], entered: int) -> None:
        """Go on from what `to_arrays` gave."""
        self._grow_to(len(arrays["newest_of_product"]))
        self._grow_pairs_to(len(arrays["products"]))
        for name, array in arrays.items():
            getattr(self._chains, name)[: len(array)] = array
        self.entered = entered

    def _make_room(self) -> int:
        """Forget the pair whose place the next one takes; the serial of the session that ends with it, or `NONE`."""
        at = self.entered % self.most
        if self.entered < self.most:
            self._grow_pairs_to(at + 1)
            return NONE
        chains = self._chains
        chains.sessions_of_product[chains.products[at]] -= 1
        return int(chains.serials[at]) if chains.sessions[at] == self.entered - self.most else NONE

    def _grow_pairs_to(self, pairs: int) -> None:
        if pairs > len(self._chains.products):
            rows = [name for name in Chains._fields if name not in _OF_PRODUCTS]
            larger = {name: grown(getattr(self._chains, name), pairs)[: self.most].copy() for name in rows}
            self._chains = self._chains._replace(**larger)

    def _grow_to(self, products: int) -> None:
        chains = self._chains
        if products > len(chains.newest_of_product):
            newest = grown(chains.newest_of_product, products, NONE)
            counts = grown(chains.sessions_of_product, products)
            self._chains = chains._replace(newest_of_product=newest, sessions_of_product=counts)


@compiled
def _holds(chains: Chains, session: int, product: int, oldest: int, most: int) -> bool:
    pair = chains.newest[session % most]
    while pair >= oldest:
        if chains.products[pair % most] == product:
            return True
        pair = chains.before_in_session[pair % most]
    return False


@compiled
def _add_sums(
    result: Vector[np.float64],  # (A,)
    chains: Chains,
    recent: Vector[np.int32],  # (n,) the newest first
    m: int,
    k: int,
    idf_weight: float,
    but: int,
    oldest: int,
    entered: int,
    most: int,
) -> None:
    n = recent.size
    met = np.empty(min(n * m, entered - oldest), np.int64)  # places of first pairs
    likeness = np.zeros(met.size, np.int64)  # times the number of distinct products
    nearest = np.zeros(met.size, np.int64)  # place of the newest product shared, from the end
    size, distinct = 0, 0
    for back in range(n):
        if recent[back] in recent[:back]:
            continue
        distinct += 1
        pair, counted = chains.newest_of_product[recent[back]], 0
        while pair >= oldest and counted < m:
            session = chains.sessions[pair % most]
            first = session % most
            if session >= oldest and chains.prints[first] != but:
                counted += 1
                if not chains.marks[first]:
                    met[size], nearest[size] = first, back
                    size += 1
                    chains.marks[first] = size
                likeness[chains.marks[first] - 1] += n - back
            pair = chains.before_in_product[pair % most]
    for i in range(size):
        chains.marks[met[i]] = 0
    order = np.argsort(-chains.serials[met[:size]])[:m]  # the m newest
    order = order[np.argsort(-likeness[order], kind="mergesort")][:k]  # of equals the newer
    for i in order:
        weight = max(0.0, 1.0 - STEP_BACK * (nearest[i] + 1)) * likeness[i] / distinct
        pair = chains.newest[met[i]]
        while pair >= oldest:
            product = chains.products[pair % most]
            rarity = np.log((entered - oldest) / chains.sessions_of_product[product]) * idf_weight
            result[product] += weight * rarity if rarity > 0.0 else weight
            pair = chains.before_in_session[pair % most]
    result[recent[0]] = 0.0


def _print_of(history: NDArray[np.int32]) -> int:
    """What tells a user's history from others', as far as its last products do."""
    return zlib.crc32(np.ascontiguousarray(history).tobytes())
