"""The simulated shop as Gymnasium environments, many users side by side or one alone, and simple policies of it.

    import gymnasium, services.lab.simulator.environment
    shop = gymnasium.make_vec("freshet/Shop-v0", num_envs=256, vectorization_mode="vector_entry_point", model="folder")
    user = gymnasium.make("freshet/Shop-v0", model="folder")

An episode is a visit, an action a slate of products, best first. What is observed is what a shop can see; tastes,
needs, satiation and patience stay hidden. Slot n of a vector seeded with s draws what a single user seeded with s + n
does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from services.lab.simulator.simulator import Simulator
from services.lab.simulator.visits import NOTHING, Reaction, Visits

NAME = "freshet/Shop-v0"

Observation = dict[str, NDArray[Any]]
Scores = Callable[[Observation], NDArray[np.float64]]  # of a policy: (N, A)

PLACES = 5  # products of the history that co-occurrence looks up

_LONGEST_DWELL_SECONDS = 86_400.0
_DECAY = 0.7  # weight of an older product of the history beside the next one, in co-occurrence
_WINDOW = 3  # products after a product that count as following it


def observation_space(products: int, history: int) -> spaces.Dict:
    """What is seen of one user.

    liked      the products clicked last, newest first, those of earlier visits among them; -1 where there are none, as
               when a newcomer comes
    shown      the places of this visit shown last, newest first; -1 likewise
    clicked    which of those were clicked
    visit      slates so far, slates in a row without a click, purchases so far, seconds of the last dwell, log(1 + x)
    """
    rows = spaces.Box(NOTHING, products - 1, (history,), np.int64)
    return spaces.Dict(
        {
            "liked": rows,
            "shown": rows,
            "clicked": spaces.Box(0, 1, (history,), np.int8),
            "visit": spaces.Box(0.0, float(np.log1p(_LONGEST_DWELL_SECONDS)), (4,), np.float32),
        }
    )


class ShopVector(VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """N users; a visit that is over is followed by another one at once (autoreset in the same step).

    `infos` of a step holds the `Reaction` by name, and where visits ended `final_obs` (whole arrays, rows of the others
    being what they are) with the mask `_final_obs`.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  # as Gymnasium has it

    def __init__(
        self,
        model: Simulator | Path | str,
        num_envs: int = 1,
        *,
        slate: int = 1,
        history: int = 20,
        most_slates: int = 200,
        render_mode: str | None = None,
    ) -> None:
        """A shop of a fitted simulator, or of the folder that holds one.

        Args:
            slate: products shown at a time.
            history: length of `liked` and `shown`.
            most_slates: a visit so long is cut off (truncated).

        Raises:
            Unusable: the folder holds no simulator.
        """
        self.render_mode = render_mode
        self.simulator = model if isinstance(model, Simulator) else Simulator.load(Path(model))
        products = len(self.simulator.product_ids)
        self.num_envs = num_envs
        self.single_observation_space = observation_space(products, history)
        self.single_action_space = spaces.MultiDiscrete(np.full(slate, products))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.visits = Visits(self.simulator, np.zeros(num_envs, np.uint64))
        self.slate, self.history, self._most_slates = slate, history, most_slates
        self._liked = np.full((num_envs, history), NOTHING, np.int64)
        self._shown = np.full((num_envs, history), NOTHING, np.int64)
        self._clicked = np.zeros((num_envs, history), np.int8)
        self._visit = np.zeros((num_envs, 4))  # slates, misses in a row, purchases, last dwell
        self._began = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a visit in every slot; `options` may name the rows of the users who come, as `users`, (N,)."""
        super().reset(seed=seed)
        if seed is not None or not self._began:
            first = seed if seed is not None else int(self.np_random.integers(2**62))
            self.visits = Visits(self.simulator, np.uint64(first) + np.arange(self.num_envs, dtype=np.uint64))
            self._began = True
        users = None if options is None or "users" not in options else np.asarray(options["users"], np.int64)
        self._begin(np.arange(self.num_envs), users)
        return self._observed(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Show every user a slate."""
        slates = np.asarray(actions, np.int64).reshape(self.num_envs, self.slate)
        reaction = self.visits.step(slates)
        self._remember(slates, reaction)
        terminated = reaction.left
        truncated = ~terminated & (self._visit[:, 0] >= self._most_slates)
        infos: dict[str, Any] = {
            name: getattr(reaction, name) for name in ("place", "product", "satisfied", "purchased", "dwell_seconds")
        }
        ended = terminated | truncated
        if ended.any():
            infos["final_obs"], infos["_final_obs"] = self._observed(), ended
            self._begin(np.flatnonzero(ended), None)
        return self._observed(), reaction.reward, terminated, truncated, infos

    def _begin(self, which: NDArray[np.int64], users: NDArray[np.int64] | None) -> None:
        self.visits.begin(which, users)
        s = self.simulator
        user = self.visits.user[which]
        first, last = s.record_starts[user], s.record_starts[user + 1]
        back = last[:, None] - 1 - np.arange(self.history)  # (M, H) newest first
        known = (back >= first[:, None]) & ~self.visits.is_new[which, None]
        self._liked[which] = np.where(known, s.record[np.maximum(back, 0)], NOTHING)
        self._shown[which] = NOTHING
        self._clicked[which] = 0
        self._visit[which] = 0.0

    def _remember(self, slates: NDArray[np.int64], reaction: Reaction) -> None:
        h = self.history
        clicked = reaction.place >= 0
        seen = slates[:, ::-1]  # the last place is the newest
        hit = seen == np.where(clicked, reaction.product, NOTHING)[:, None]
        self._shown = np.concatenate([seen, self._shown], axis=1)[:, :h]
        self._clicked = np.concatenate([hit.astype(np.int8), self._clicked], axis=1)[:, :h]
        newest = np.concatenate([reaction.product[:, None], self._liked[:, :-1]], axis=1)
        self._liked = np.where(clicked[:, None], newest, self._liked)
        self._visit[:, 0] += 1
        self._visit[:, 1] = np.where(clicked, 0, self._visit[:, 1] + 1)
        self._visit[:, 2] += reaction.purchased
        self._visit[:, 3] = np.minimum(reaction.dwell_seconds, _LONGEST_DWELL_SECONDS)

    def _observed(self) -> Observation:
        return {
            "liked": self._liked.copy(),
            "shown": self._shown.copy(),
            "clicked": self._clicked.copy(),
            "visit": np.log1p(self._visit).astype(np.float32),
        }


class ShopEnv(gymnasium.Env[Observation, NDArray[np.int64]]):
    """One user: the same behaviour as one slot of `ShopVector`."""

    metadata = {"render_modes": []}  # noqa: RUF012  # as Gymnasium has it

    def __init__(
        self,
        model: Simulator | Path | str,
        *,
        slate: int = 1,
        history: int = 20,
        most_slates: int = 200,
        render_mode: str | None = None,
    ) -> None:
        """The same arguments as `ShopVector`'s."""
        self.render_mode = render_mode
        self._one = ShopVector(model, 1, slate=slate, history=history, most_slates=most_slates)
        self.observation_space = self._one.single_observation_space
        self.action_space = self._one.single_action_space
        self._next: Observation | None = None  # the visit that has begun when the last one ended

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a visit; `options` may name the row of the user who comes, as `user`."""
        super().reset(seed=seed)
        begun, self._next = self._next, None
        if begun is not None and seed is None and options is None:
            return _first(begun), {}
        users = None if options is None or "user" not in options else {"users": [options["user"]]}
        observed, _ = self._one.reset(seed=seed, options=users)
        return _first(observed), {}

    def step(self, action: NDArray[np.int64]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Show the user a slate."""
        observed, reward, terminated, truncated, infos = self._one.step(np.asarray(action)[None])
        self._next = None
        if "final_obs" in infos:
            self._next, observed = observed, infos.pop("final_obs")
            infos.pop("_final_obs")
        return (
            _first(observed),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {name: values[0] for name, values in infos.items()},
        )


def _first(observed: Observation) -> Observation:
    return {name: values[0] for name, values in observed.items()}


gymnasium.register(
    id=NAME,
    entry_point="services.lab.simulator.environment:ShopEnv",
    vector_entry_point="services.lab.simulator.environment:ShopVector",
)


# Simple policies. Like the learned ones, none shows a user again what was shown lately.


def hide_shown(scores: NDArray[np.float64], observed: Observation) -> NDArray[np.float64]:
    """Put what was shown lately last, in place: (N, A)."""
    user, place = np.nonzero(observed["shown"] != NOTHING)
    scores[user, observed["shown"][user, place]] = -np.inf
    return scores


def slate_of(scores: NDArray[np.float64], observed: Observation, slate: int) -> NDArray[np.int64]:
    """The best products not shown lately, best first: (N, A) → (N, L)."""
    scores = hide_shown(scores, observed)
    if slate == 1:
        return np.asarray(scores.argmax(axis=1)[:, None])
    best = np.argpartition(-scores, slate - 1, axis=1)[:, :slate]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def at_random(products: int, rng: np.random.Generator) -> Scores:
    """Every product alike."""
    return lambda observed: rng.random((len(observed["shown"]), products))


def trending(simulator: Simulator) -> Scores:
    """The most wanted products of the period."""
    return lambda observed: np.repeat(simulator.popularity[None], len(observed["shown"]), axis=0)


def follows(simulator: Simulator) -> NDArray[np.float64]:
    """How often one product was wanted soon after another in the period, as shares of each: (A, A)."""
    size = len(simulator.product_ids)
    counts = np.zeros((size, size))
    record, starts = simulator.record, simulator.record_starts
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    for lag in range(1, _WINDOW + 1):
        same = owner[lag:] == owner[:-lag]
        np.add.at(counts, (record[:-lag][same], record[lag:][same]), _DECAY ** (lag - 1))
    return np.asarray(counts / np.maximum(1.0, counts.sum(axis=1, keepdims=True)))


def following(shares: NDArray[np.float64], liked: NDArray[np.int64]) -> NDArray[np.float64]:
    """What follows the products liked last, the newest counting most: (N, H) → (N, A)."""
    summed = np.zeros((len(liked), shares.shape[1]))
    for place in range(min(PLACES, liked.shape[1])):
        weight = np.where(liked[:, place] != NOTHING, _DECAY**place, 0.0)
        summed += weight[:, None] * shares[liked[:, place]]
    return summed


def cooccurrence(simulator: Simulator) -> Scores:
    """What users of the period wanted soon after what this one wants; popularity breaks ties, and serves newcomers."""
    shares, ties = follows(simulator), 1e-6 * simulator.popularity
    return lambda observed: following(shares, observed["liked"]) + ties
