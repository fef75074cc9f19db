"""Visits of N users side by side: what each does with a slate, and what that does to them. Pure and vectorised.

Slot n draws from a stream of its own, so N slots behave as N simulations of one user each, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lab.simulator.simulator import Simulator

NOTHING = -1  # in place of a product

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53


@dataclass(frozen=True, slots=True)
class Reaction:
    """What N users did with their slates."""

    place: NDArray[np.int64]  # (N,) of the slate that was clicked, -1: none
    product: NDArray[np.int64]  # (N,) that was clicked, -1: none
    satisfied: NDArray[np.bool_]  # (N,) by the click
    purchased: NDArray[np.bool_]  # (N,)
    dwell_seconds: NDArray[np.float64]  # (N,) on the product's page, 0 without a click
    reward: NDArray[np.float64]  # (N,)
    left: NDArray[np.bool_]  # (N,) whether the visit is over


class Visits:
    """N visits under way."""

    def __init__(self, simulator: Simulator, seeds: NDArray[np.uint64], offset: float | None = None) -> None:
        """Nobody is here yet.

        Args:
            seeds: (N,) of the slots' random streams.
            offset: `simulator.offset`, where it is known already.
        """
        n, dimension = len(seeds), simulator.vectors.shape[1]
        self.simulator = simulator
        self.offset = simulator.offset if offset is None else offset
        self._worth = simulator.worth
        self._seeds = seeds
        self._moments = np.zeros(n, np.uint64)
        self.user = np.zeros(n, np.int64)
        self.taste = np.zeros((n, dimension))  # lasting
        self.need = np.zeros((n, dimension))
        self.satiation = np.zeros((n, dimension))
        self.patience = np.zeros(n)
        self.is_new = np.zeros(n, np.bool_)  # the shop knows nothing of the user

    def begin(self, which: NDArray[np.int64], users: NDArray[np.int64] | None = None) -> None:
        """Begin a visit in some slots.

        Args:
            which: (M,) slots.
            users: (M,) rows of the users that come; drawn at random where left out.
        """
        s, d = self.simulator, self.simulator.dynamics
        dimension = s.vectors.shape[1]
        drawn = self._draw(which, 4 + 2 * dimension)
        self.user[which] = (drawn[:, 0] * len(s.user_ids)).astype(np.int64) if users is None else users
        self.patience[which] = np.minimum(d.patience * (0.5 + drawn[:, 1]), d.patience_most)
        self.is_new[which] = drawn[:, 3] < d.newcomers
        self.satiation[which] = 0.0
        step = d.drift / np.sqrt(dimension) * normal(drawn[:, 4:])  # (M, D)
        self.taste[which] = s.tastes[self.user[which]] + step
        self.need[which] = self._fresh_need(which, drawn[:, 2])

    def step(self, slates: NDArray[np.int64]) -> Reaction:
        """Show everybody a slate.

        Args:
            slates: (N, L) product rows, best first.
        """
        s, d = self.simulator, self.simulator.dynamics
        n, places = slates.shape
        everyone = np.arange(n)
        drawn = self._draw(everyone, 6 + 2 + places)
        shown = s.vectors[slates]  # (N, L, D)
        liked, appeal = self._appeal(slates, shown)  # (N, L)
        chance = d.attention ** np.arange(places) * _logistic(appeal)  # (N, L)
        wanted = drawn[:, 8:] < chance
        clicked = wanted.any(axis=1)
        place = wanted.argmax(axis=1)
        product = slates[everyone, place]
        taken = shown[everyone, place]  # (N, D)
        pleasure = (
            d.satisfied_offset
            + d.satisfied_taste * liked[everyone, place]
            + d.satisfied_popularity * s.popularity[product]
        )
        satisfied = clicked & (drawn[:, 0] < _logistic(pleasure))
        purchased = satisfied & (drawn[:, 1] < d.purchase_share)
        log_dwell = (
            d.dwell_log_mean + d.dwell_satisfied * satisfied + d.dwell_log_deviation * normal(drawn[:, 6:8])[:, 0]
        )
        seen = np.where(clicked, place + 1, places)  # (N,) places looked at
        looked = (np.arange(places) < seen[:, None]).astype(np.float64)  # (N, L)
        exposed = (shown * looked[:, :, None]).sum(axis=1) + taken * (d.satiation_bought * purchased)[:, None]
        self.satiation = (d.satiation_decay**seen)[:, None] * self.satiation + exposed
        in_vain = seen - clicked
        gained = np.where(satisfied, d.trust, np.where(clicked, -d.disappointment, 0.0)) - in_vain
        self.patience = np.minimum(self.patience + gained, d.patience_most)
        over = purchased | (clicked & (drawn[:, 2] >= d.need_persistence))
        fresh = self._fresh_need(everyone, drawn[:, 3])
        self.need = np.where(over[:, None], fresh, self.need)
        return Reaction(
            place=np.where(clicked, place, NOTHING),
            product=np.where(clicked, product, NOTHING),
            satisfied=satisfied,
            purchased=purchased,
            dwell_seconds=np.where(clicked, np.exp(log_dwell), 0.0),
            reward=d.reward_click * clicked + self._worth[product] * purchased,
            left=(self.patience <= 0) | (drawn[:, 4] < 1 - (1 - d.leave) ** seen),
        )

    def click_chance(self, slates: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each place would be clicked with, were it the first, (N, L) → (N, L); nothing is shown."""
        return _logistic(self._appeal(slates, self.simulator.vectors[slates])[1])

    def _appeal(
        self, slates: NDArray[np.int64], shown: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The appeal's part by taste, and all of it."""
        s, d = self.simulator, self.simulator.dynamics
        taste = (1 - d.need_share) * self.taste + d.need_share * self.need  # (N, D)
        liked = d.taste_weight * (taste[:, None, :] * shown).sum(axis=2)  # (N, L)
        satiated = np.maximum(0.0, (self.satiation[:, None, :] * shown).sum(axis=2))
        popular = d.popularity_weight * s.popularity[slates]
        return liked, self.offset + popular + liked - d.satiation_weight * satiated

    def _fresh_need(self, which: NDArray[np.int64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vectors of products of the users' own records: (M, D)."""
        s = self.simulator
        first, last = s.record_starts[self.user[which]], s.record_starts[self.user[which] + 1]
        needed: NDArray[np.float64] = s.vectors[s.record[first + (drawn * (last - first)).astype(np.int64)]]
        return needed

    def _draw(self, which: NDArray[np.int64], draws: int) -> NDArray[np.float64]:
        drawn = uniform(self._seeds[which], self._moments[which], 0, draws)
        self._moments[which] += np.uint64(1)
        return drawn


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(x, -60.0, 60.0)))
    return result


# Random numbers by counting: each user has a stream, so that a thousand together draw what each draws alone. A draw is
# a hash of (seed of the user, how many came before, what it is for), by splitmix64's finaliser (Steele, Lea & Flood,
# OOPSLA 2014). The only state is a number per user.


def uniform(seeds: NDArray[np.uint64], counts: NDArray[np.uint64], first: int, draws: int) -> NDArray[np.float64]:
    """Draws in [0, 1) per user: (N, draws).

    Args:
        seeds: (N,) of each user.
        counts: (N,) the moment, a number of its own for each.
        first: the purpose; a moment's purposes `first` … `first + draws - 1` must not be drawn twice.
    """
    moment = _mixed(_mixed(seeds + _GOLDEN) + (counts + np.uint64(1)) * _GOLDEN)  # (N,)
    purposes = np.arange(first + 1, first + draws + 1, dtype=np.uint64) * _GOLDEN  # (draws,)
    return np.asarray((_mixed(moment[:, None] + purposes) >> np.uint64(11)) * _TO_UNIT, np.float64)


def normal(uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal numbers from twice as many uniform ones, (N, 2 D) → (N, D), by Box & Muller 1958."""
    half = uniforms.shape[1] // 2
    radius = np.sqrt(-2.0 * np.log1p(-uniforms[:, :half]))
    result: NDArray[np.float64] = radius * np.cos(2.0 * math.pi * uniforms[:, half:])
    return result


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))
