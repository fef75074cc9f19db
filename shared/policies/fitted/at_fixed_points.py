"""What policies that are fitted at fixed points share: they remember what each user chose, and fit on all of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.model.format import NeighbourPart
from shared.model.neighbours import Neighbours, Related
from shared.model.served import FloatArray
from shared.numeric.arrays import with_prefix, without_prefix
from shared.policies.contract import Fitted, Gauges, Learned, PolicySnapshot, learned_of, nothing_to_add
from shared.state.histories import Window
from shared.state.stream import Seen, Stream

if TYPE_CHECKING:
    from scipy import sparse


class Remembered:
    """What each user chose, oldest first."""

    def __init__(self) -> None:
        self._chosen: list[array[int]] = []  # of each user the products' rows

    def add(self, user: int, product: int) -> None:
        """Remember one choice; both are rows."""
        while user >= len(self._chosen):
            self._chosen.append(array("i"))
        self._chosen[user].append(product)

    def sequences(self) -> list[NDArray[np.int32]]:
        """The products of each user who chose any."""
        return [np.array(products, np.int32) for products in self._chosen if products]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a snapshot."""
        return {
            "lengths": np.array([len(products) for products in self._chosen], np.int64),
            "chosen": np.concatenate([np.zeros(0, np.int32), *self.sequences()]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Remembered:
        """What `to_arrays` gave."""
        made = cls()
        ends = np.cumsum(arrays["lengths"])
        starts = ends - arrays["lengths"]
        made._chosen = [array("i", arrays["chosen"][a:b].tolist()) for a, b in zip(starts, ends, strict=True)]
        return made


def user_products(sequences: Sequence[NDArray[np.int32]], products: int) -> sparse.csr_matrix:
    """Who chose what, (U, A): 1 where a user chose a product, however often."""
    from scipy import sparse  # only the policies fitted at fixed points need it, and the trainer's image has none

    lengths = [len(products) for products in sequences]
    rows = np.repeat(np.arange(len(sequences)), lengths)
    columns = np.concatenate([*sequences, np.zeros(0, np.int32)])
    matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(sequences), products))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


class AtFixedPoints:
    """Remembers events; subclasses fit on them."""

    fitted: ClassVar[Fitted] = "at fixed points"
    seeded: ClassVar[bool] = True
    reads_future: ClassVar[bool] = False
    published: ClassVar[bool] = True

    def __init__(self, stream: Stream, seed: int) -> None:
        self._stream = stream
        self._seed = seed
        self._remembered = Remembered()

    def learn(self, seen: Seen) -> None:
        """Remember the event, if the user wanted the product; a guest's is nobody's."""
        if seen.transition is not None and seen.transition.chosen:
            user = self._stream.histories.row(seen.state.user_id)
            assert user is not None, "the stream has applied the event"  # noqa: S101
            self._remembered.add(user, seen.product)

    def gauges(self) -> Gauges:
        """Nothing."""
        return Gauges()

    def snapshot(self) -> PolicySnapshot:
        """What is remembered, and what was fitted on it."""
        remembered = with_prefix("remembered/", self._remembered.to_arrays())
        return PolicySnapshot(remembered | with_prefix("fitted/", self._to_arrays()))

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Go on from what `snapshot` gave."""
        self._remembered = Remembered.from_arrays(without_prefix("remembered/", snapshot.arrays))
        self._from_arrays(without_prefix("fitted/", snapshot.arrays))

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    def _from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        raise NotImplementedError


class FittedNeighbours(AtFixedPoints):
    """A matrix of which products go with which, summed over a history in which newer events count more.

    Args:
        decay: what an event of the history counts beside the one after it.
        kept: neighbours kept of each product, those with the largest values.
        popularity_weight: of popularity beside them, which orders the products that go with none of the history.
    """

    seeded: ClassVar[bool] = False  # nothing is drawn
    fit_sequences = None
    mixture = None
    ranker = None
    relation = "beside"  # its name in a version

    def __init__(self, stream: Stream, seed: int, *, decay: float, kept: int, popularity_weight: float = 0.001) -> None:
        super().__init__(stream, seed)
        self.popularity_weight = popularity_weight
        self._part = NeighbourPart(weight=1.0 - popularity_weight, decay=decay)
        self._kept = kept
        self._take(Neighbours(np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)))

    def refit(self) -> None:
        """Fit on all that is remembered."""
        products = len(self._stream.products)
        self._take(self._fit(user_products(self._remembered.sequences(), products)))

    def related(self, window: Window) -> FloatArray:
        """What goes with the history."""
        history = window.products[0, : int(window.lengths[0])]
        known = np.where(history < self._known, history, -1).astype(np.int32)
        return self._related.shares(self._related.beside(known))

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing beside the mixture."""
        return nothing_to_add(len(self._stream.products))

    def learned(self) -> Learned:
        """The neighbours."""
        fitted, later = self._neighbours, len(self._stream.products) - self._known
        starts = np.append(fitted.starts, np.full(later, fitted.starts[-1], np.int32))
        return learned_of(
            self._stream.products,
            popularity_weight=self.popularity_weight,
            neighbours={self.relation: (self._part, Neighbours(starts, fitted.products, fitted.values))},
        )

    def _fit(self, chosen: sparse.csr_matrix) -> Neighbours:
        raise NotImplementedError

    def _take(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._known = len(neighbours.starts) - 1
        self._related = Related([(self._part.weights, neighbours)], self._known)

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        fitted = self._neighbours
        return {"starts": fitted.starts, "products": fitted.products, "values": fitted.values}

    def _from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._take(Neighbours(arrays["starts"], arrays["products"], arrays["values"]))


def strongest(rows: Iterable[tuple[NDArray[np.int32], NDArray[np.float32]]], kept: int) -> Neighbours:
    """Of each row the largest values above 0, by product.

    Args:
        rows: of each product, which products are beside it and how much, (n,) each.
    """
    products, values, lengths = [], [], []
    for beside, value in rows:
        chosen = np.flatnonzero(value > 0)
        if len(chosen) > kept:
            chosen = np.sort(chosen[np.argpartition(-value[chosen], kept - 1)[:kept]])
        products.append(beside[chosen].astype(np.int32))
        values.append(value[chosen].astype(np.float32))
        lengths.append(len(chosen))
    return Neighbours(
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        products=np.concatenate([*products, np.zeros(0, np.int32)]),
        values=np.concatenate([*values, np.zeros(0, np.float32)]),
    )
