"""How much each expert of the mixture counts, learned from every event just before it is counted.

Two steps. Online expectation-maximisation of interpolation weights (Jelinek & Mercer 1980) with forgetting (Cappé &
Moulines 2009) makes the mixture predict well: each event shares itself out among the experts by how probable each held
it. What predicts well need not rank well, so beside it blends are tried out: the mixture with some experts turned down
or off, each expert alone among them. Every so many events each blend ranks the event's product, and the one whose
NDCG@10 has been the best is served (follow the leader, with forgetting), so that no expert stays ahead of the whole.

Both are kept for each context, which borrows from all contexts together as long as it has few events of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model.mixture import (
    CONTEXTS,
    EXPERTS,
    ITSELF,
    NEXT,
    POPULARITY,
    SESSIONS,
    TOGETHER,
    FloatArray,
    default_weights,
)
from shared.model.session_neighbours import LAGS
from shared.model.single_experts import blend_gains
from shared.numeric.compiled import Matrix, ReadOnlyMatrix, ReadOnlyVector, Vector, compiled

# Events after which one counts 1/e, and those of all contexts that stand in for a context's own at first.
MEMORY = 2000.0
BORROWED = 100.0
BORROWED_GAINS = 200.0
PRIOR = 50.0  # events that the first weights are worth

# Members of a blend: popularity at each half-life, then next, together, itself and sessions.
MEMBERS = POPULARITY + 4


def _blends() -> FloatArray:
    """What each blend makes of each member, (B, MEMBERS); the first leaves all as they are."""
    of_groups = [
        (1, 1, 1, 1, 1), (0.3, 1, 1, 1, 1), (0.1, 1, 1, 1, 1), (0.01, 1, 1, 1, 1), (1, 0.3, 1, 1, 1),
        (0.3, 0.3, 1, 1, 1), (0.1, 0.3, 1, 1, 1), (0.01, 0.3, 1, 1, 1), (0.3, 1, 0.3, 1, 1), (0.1, 0.03, 1, 1, 1),
        (0.01, 0.03, 1, 1, 1), (0.1, 1, 1, 0.3, 1), (0.1, 0.3, 1, 0.3, 1), (1, 1, 1, 1, 3), (1, 1, 1, 3, 1),
        (0.001, 1, 0.01, 0.01, 0.01), (0.001, 0.01, 1, 0.01, 0.01), (0.001, 0.01, 0.01, 1, 0.01),
        (0.001, 0.01, 0.01, 0.01, 1), (1, 0.1, 0.1, 0.1, 0.1),
    ]  # fmt: skip
    rows = [[popularity] * POPULARITY + list(rest) for popularity, *rest in of_groups]
    for half_life in range(POPULARITY):  # popularity at one half-life alone, the others all but off
        rows.append([1.0 if half_life == h else 1e-3 for h in range(POPULARITY)] + [1e-3] * 4)
    return np.array(rows, np.float32)


BLENDS = _blends()

# Of the first context, that of users without a history, popularity alone speaks, and what blends gained with others
# says nothing.
NO_HISTORY = 0

_FORGETTING = 1.0 - 1.0 / MEMORY


class ExpertWeights:
    """What each expert counts in each context: C contexts, E experts, B blends."""

    def __init__(self) -> None:
        first = default_weights().astype(np.float64)
        self._all = PRIOR * first[1:].mean(axis=0)  # (E,) events that each expert took, in all contexts
        self._held = np.zeros((CONTEXTS, EXPERTS))  # (C, E) likewise, in each
        self._held[0] = PRIOR * np.concatenate([np.full(POPULARITY, 1 / POPULARITY), np.zeros(EXPERTS - POPULARITY)])
        self._gains = np.zeros((CONTEXTS, len(BLENDS)))  # (C, B) NDCG@10, summed
        self._all_gains = np.zeros(len(BLENDS))  # (B,)
        self._all_ranked = 0.0  # events that they are sums over
        self._served: FloatArray | None = None

    def served(self) -> FloatArray:
        """What is served, (C, E): the weights, times what the leading blend makes of them; not to be changed."""
        if self._served is None:
            self._served = np.empty((CONTEXTS, EXPERTS), np.float32)
            _serve(
                self._all, self._held, self._gains, self._all_gains, self._all_ranked, BLENDS, _MEMBER_OF, self._served
            )
        return self._served

    def mixed(self, context: int) -> NDArray[np.float64]:
        """The weights of one context, (E,), summing to 1."""
        result = np.empty(EXPERTS)
        _mix(self._all, self._held[context], context != NO_HISTORY, result)
        return result

    def leading(self, context: int) -> int:
        """The blend that did best in a context, of equals the first."""
        lends = context != NO_HISTORY
        return int(_leading(self._gains[context], self._all_gains, self._all_ranked, lends))

    def note(self, shares: NDArray[np.float64], length: int, context: int) -> None:
        """Learn from one event.

        Args:
            shares: (E,) how probable each expert held the product that was chosen.
            length: events of the history that were read.
        """
        if _note(self._all, self._held[context], context != NO_HISTORY, shares, length):
            self._served = None

    def note_ranked(self, members: FloatArray, product: int, masked: NDArray[np.int32], context: int) -> None:
        """Rank one event by every blend.

        Args:
            members: (MEMBERS, A) what each adds to the mixture.
            product: row that was chosen.
            masked: rows that could not have been recommended.
        """
        gains = np.zeros(len(BLENDS))
        blend_gains(members, BLENDS, product, masked, gains)
        self._gains[context] = self._gains[context] * _FORGETTING + gains
        if context:
            self._all_gains = self._all_gains * _FORGETTING + gains
            self._all_ranked = self._all_ranked * _FORGETTING + 1.0
        self._served = None

    def shares(self) -> dict[str, float]:
        """What each group of experts counts in what is served to users with a history, to be watched; they sum to 1.

        Contexts count by the events that they had of late.
        """
        events = self._held[1:].sum(axis=1)  # (C - 1,)
        served = self.served()[1:].astype(np.float64)
        each = served / served.sum(axis=1, keepdims=True)
        weights = events @ each / events.sum() if events.any() else each.mean(axis=0)
        of_relations = weights[POPULARITY:SESSIONS].reshape(-1, LAGS).sum(axis=1).tolist()
        return {
            "popularity": float(weights[:POPULARITY].sum()),
            "next": of_relations[NEXT],
            "together": of_relations[TOGETHER],
            "itself": of_relations[ITSELF],
            "sessions": float(weights[SESSIONS]),
        }

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint keeps."""
        return {
            "all": self._all.copy(),
            "held": self._held.copy(),
            "gains": self._gains.copy(),
            "all_gains": self._all_gains.copy(),
            "all_ranked": np.array([self._all_ranked]),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave."""
        self._all, self._held = arrays["all"].copy(), arrays["held"].copy()
        self._gains, self._all_gains = arrays["gains"].copy(), arrays["all_gains"].copy()
        self._all_ranked = float(arrays["all_ranked"][0])
        self._served = None


# The member that each expert belongs to, (E,).
_MEMBER_OF: NDArray[np.int64] = np.concatenate(
    [np.arange(POPULARITY), POPULARITY + np.arange(3).repeat(LAGS), [MEMBERS - 1]]
).astype(np.int64)


@compiled
def _mix(
    everywhere: ReadOnlyVector[np.float64],
    held: ReadOnlyVector[np.float64],
    has_history: bool,
    out: Vector[np.float64],
) -> None:
    """Fill in the weights of one context, (E,), which borrows from all together.

    Args:
        everywhere: (E,) events that each expert took in all contexts.
        held: (E,) likewise, in this one.
    """
    total = 0.0
    for e in range(EXPERTS):
        total += everywhere[e]
    lent = 0.0
    for e in range(EXPERTS):
        out[e] = everywhere[e] / total if has_history or e < POPULARITY else 0.0
        lent += out[e]
    total = 0.0
    for e in range(EXPERTS):
        out[e] = held[e] + BORROWED * out[e] / lent
        total += out[e]
    for e in range(EXPERTS):
        out[e] /= total


@compiled
def _leading(
    gains: ReadOnlyVector[np.float64], everywhere: ReadOnlyVector[np.float64], ranked: float, has_history: bool
) -> int:
    """The blend that gained most, of equals the first."""
    leading, most = 0, -np.inf
    for blend in range(len(gains)):
        gained = gains[blend] - 1e-9 * blend
        if has_history and ranked > 0.0:
            gained += BORROWED_GAINS * everywhere[blend] / ranked
        if gained > most:
            leading, most = blend, gained
    return leading


@compiled
def _serve(
    everywhere: ReadOnlyVector[np.float64],
    held: ReadOnlyMatrix[np.float64],
    gains: ReadOnlyMatrix[np.float64],
    all_gains: ReadOnlyVector[np.float64],
    ranked: float,
    blends: ReadOnlyMatrix[np.float32],
    member_of: ReadOnlyVector[np.int64],
    out: Matrix[np.float32],
) -> None:
    """Fill in the weights of all contexts, (C, E), times what the leading blend of each makes of them."""
    weights = np.empty(EXPERTS)
    for context in range(CONTEXTS):
        _mix(everywhere, held[context], context != NO_HISTORY, weights)
        blend = _leading(gains[context], all_gains, ranked, context != NO_HISTORY)
        for e in range(EXPERTS):
            out[context, e] = weights[e] * blends[blend, member_of[e]]


@compiled
def _is_possible(expert: int, length: int) -> bool:
    """Whether an expert could have said something after so many events."""
    if expert < POPULARITY:
        return True
    return length > 0 if expert == SESSIONS else (expert - POPULARITY) % LAGS < length


@compiled
def _note(
    everywhere: Vector[np.float64],
    held: Vector[np.float64],
    has_history: bool,
    shares: ReadOnlyVector[np.float64],
    length: int,
) -> bool:
    """Share one event out among the experts, in place; whether any of them held it possible.

    What a longer history would have held is not known: those experts keep their share.
    """
    weights = np.empty(EXPERTS)
    _mix(everywhere, held, has_history, weights)
    explained, possible = 0.0, 0.0
    for e in range(EXPERTS):
        explained += weights[e] * shares[e]
        if _is_possible(e, length):
            possible += weights[e]
    if explained <= 0.0:
        return False
    for e in range(EXPERTS):
        taken = possible * weights[e] * shares[e] / explained if _is_possible(e, length) else weights[e]
        held[e] = held[e] * _FORGETTING + taken
        if has_history:
            everywhere[e] = everywhere[e] * _FORGETTING + taken
    return True
