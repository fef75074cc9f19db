"""A Double-Q agent that learns online in a simulated shop; a discount of 0 makes it greedy on the next slate.

It sees what a shop sees. Before it begins it knows of products what the log of the training period shows, their vectors
and popularity; it never sees those of a test period.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from services.lab.simulator.environment import PLACES, Observation, ShopVector, follows, slate_of
from services.lab.simulator.simulator import Simulator
from services.lab.simulator.visits import NOTHING
from shared.policies.freshet.double_dqn import td_targets

VECTORS = 4  # of the state: liked for long, liked lately, shown, clicked
FACTS = 4  # features of a product beside its matches: popularity, price, how often it followed, and 1

_SCALE = 4.0  # of inner products, to be about as large as the other features
_DECAY = 0.9  # of what was shown and clicked, a place of the history
_LEAST_RATE = 0.05  # of the learning rate, which falls from step to step


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What the log of the training period shows of A products."""

    vectors: Tensor  # (A, D)
    popularity: Tensor  # (A,) of deviation 1
    price: Tensor  # (A,) its logarithm, 0 on average and where it is not known
    follows: Tensor  # (A + 1, A) as `baselines.follows`; the last row, nothing, is followed by nothing
    decay: Tensor  # (PLACES,)

    @classmethod
    def of(cls, simulator: Simulator) -> ProductFacts:
        """The facts of a simulator's period."""
        shares = follows(simulator)
        price = np.log(np.where(simulator.prices > 0, simulator.prices, np.nan))
        price -= np.nanmean(price) if np.isfinite(price).any() else 0.0
        popular = simulator.popularity / max(1e-9, float(simulator.popularity.std()))
        return cls(
            vectors=torch.tensor(simulator.vectors, dtype=torch.float32),
            popularity=torch.tensor(popular, dtype=torch.float32),
            price=torch.tensor(np.nan_to_num(price), dtype=torch.float32),
            follows=torch.tensor(np.vstack([shares, np.zeros(len(shares))]), dtype=torch.float32),
            decay=torch.tensor(0.7 ** np.arange(PLACES), dtype=torch.float32),
        )


class SlateQNetwork(nn.Module):
    """Q(s, a) = V(s) + sum_m u_m(s) sigmoid(w_m(s) · f(s, a)), of a trunk with two ReLU layers.

    Whether a product is wanted is a chance, and what follows is worth more or less: sigmoids, each with its worth.
    f says how a product matches each of the state's vectors (what is liked for long and lately, what was shown and
    clicked), its popularity, its price, and how often it followed what is liked.
    """

    def __init__(self, state: int, products: ProductFacts, hidden: int, chances: int) -> None:
        """`state`: S, of which the first `VECTORS` · D are vectors."""
        super().__init__()
        self.products = products
        self.chances = chances
        self.trunk = nn.Sequential(nn.Linear(state, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.value = nn.Linear(hidden, 1)
        self.weights = nn.Linear(hidden, chances * (VECTORS + FACTS))
        self.worth = nn.Linear(hidden, chances)
        with torch.no_grad():  # begin with a fair guess: what is like the liked, is popular, and followed it before
            bias = self.weights.bias.view(chances, VECTORS + FACTS)
            bias[:] = torch.tensor([1.0, 1.0, -0.2, 0.0, 0.5, 0.0, 0.5, -2.0])
            self.worth.bias.fill_(0.1)

    def forward(self, state: Tensor, liked: Tensor) -> Tensor:
        """(B, S), (B, H) rows of what was liked last → (B, A)."""
        k = self.products
        vectors = state[:, : VECTORS * k.vectors.shape[1]].view(len(state), VECTORS, -1)
        with torch.no_grad():
            followed = torch.einsum("bh,bha->ba", k.decay.expand(len(state), -1), k.follows[liked])  # NOTHING: zeros
            facts = torch.stack(
                [
                    k.popularity.expand(len(state), -1),
                    k.price.expand(len(state), -1),
                    torch.log1p(500 * followed) / 2,
                    torch.ones_like(followed),
                ],
                dim=1,
            )
            features = torch.cat([_SCALE * vectors @ k.vectors.T, facts], dim=1)  # (B, VECTORS + FACTS, A)
        trunk = self.trunk(state)
        weights = self.weights(trunk).view(len(state), self.chances, -1)
        wanted = torch.sigmoid(torch.bmm(weights, features))  # (B, M, A)
        result: Tensor = self.value(trunk) + torch.bmm(self.worth(trunk)[:, None], wanted)[:, 0]
        return result


class AgentSettings(BaseModel):
    """How an agent learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    discount: float = Field(default=0.9, ge=0, lt=1)  # gamma
    steps: int = Field(default=4000, ge=1)  # slates shown to each of the users, and gradient steps
    users: int = Field(default=128, ge=1)  # visited side by side
    batch: int = Field(default=128, ge=1)
    buffer: int = Field(default=100_000, ge=1)
    warmup: int = Field(default=20, ge=1)  # slates before the first gradient step
    hidden: int = Field(default=128, ge=1)
    chances: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    target_steps: int = Field(default=200, ge=1)  # gradient steps between copies into the target network
    # The paper's schedule, as the trainer's defaults have it, by gradient steps.
    epsilon_start: float = Field(default=1.0, ge=0, le=1)
    epsilon_end: float = Field(default=0.05, ge=0, le=1)
    epsilon_decay: float = Field(default=0.9995, gt=0, le=1)


@dataclass(frozen=True, slots=True)
class Step:
    """How far the learning is."""

    step: int
    epsilon: float
    loss: float
    mean_max_q: float
    reward_per_slate: float  # lately


class Agent:
    """Chooses slates by Q, and learns from what they bring."""

    def __init__(self, simulator: Simulator, settings: AgentSettings, seed: int) -> None:
        """`simulator`: of the training period."""
        self.settings = settings
        self.rng = np.random.default_rng(seed)
        products = ProductFacts.of(simulator)
        self._vectors = np.vstack([simulator.vectors, np.zeros(simulator.vectors.shape[1])]).astype(np.float32)
        self._popular = np.append(products.popularity.numpy(), np.float32(0))
        self.state_size = VECTORS * simulator.vectors.shape[1] + 6
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.online = SlateQNetwork(self.state_size, products, settings.hidden, settings.chances)
        self.target = copy.deepcopy(self.online).requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=settings.learning_rate, fused=True)

    def state(self, observed: Observation) -> NDArray[np.float32]:
        """The state of N users, (N, S): what they like for long and lately, saw and clicked, how the visit goes."""
        liked, shown = self._vectors[observed["liked"]], self._vectors[observed["shown"]]  # NOTHING is the last row: 0
        age = (_DECAY ** np.arange(shown.shape[1])).astype(np.float32)
        count = np.maximum(1, (observed["liked"] != NOTHING).sum(axis=1, keepdims=True))
        clicked = shown * (observed["clicked"] * age)[:, :, None]
        popular = self._popular[observed["liked"]].sum(axis=1, keepdims=True) / count
        recent = (observed["clicked"] * age).sum(axis=1, keepdims=True)
        return np.concatenate(
            [
                liked.sum(axis=1) / count,
                liked[:, :3].mean(axis=1),
                np.einsum("nhd,h->nd", shown, age),
                clicked.sum(axis=1),
                observed["visit"],
                popular,
                recent,
            ],
            axis=1,
        ).astype(np.float32)

    def scores(self, observed: Observation) -> NDArray[np.float64]:
        """Q of every product: (N, A)."""
        with torch.no_grad():
            state, liked = torch.from_numpy(self.state(observed)), torch.from_numpy(observed["liked"][:, :PLACES])
            values: NDArray[np.float64] = self.online(state, liked).numpy().astype(np.float64)
        return values

    def learn(self, shop: ShopVector, seed: int, look: Callable[[Step], None] = lambda _: None) -> None:
        """Learn online, ε-greedily, in a shop of `settings.users` users."""
        s = self.settings
        buffer = _Buffer(s.buffer, self.state_size, shop.history)
        observed, _ = shop.reset(seed=seed)
        everyone = np.arange(shop.num_envs)
        epsilon, lately, report = s.epsilon_start, 0.0, (0.0, 0.0)
        for step in range(1, s.steps + 1):
            state, liked = self.state(observed), observed["liked"][:, :PLACES]
            explores = self.rng.random(shop.num_envs) < epsilon
            scores = self.scores(observed)
            scores[explores] = self.rng.random((int(explores.sum()), scores.shape[1]))
            slates = slate_of(scores, observed, shop.slate)
            observed, reward, terminated, truncated, infos = shop.step(slates)
            ended = terminated | truncated
            after = observed
            if ended.any():
                final = infos["final_obs"]
                after = {
                    name: np.where(ended.reshape(-1, *[1] * (values.ndim - 1)), final[name], values)
                    for name, values in observed.items()
                }
            # The product that was clicked, or the first one, which was certainly looked at.
            action = slates[everyone, np.maximum(infos["place"], 0)]
            discount = np.where(terminated, 0.0, s.discount)
            buffer.add(state, liked, action, reward, discount, self.state(after), after)
            lately += (float(reward.mean()) - lately) * max(0.01, 1 / step)
            if step >= s.warmup:
                for group in self.optimizer.param_groups:
                    group["lr"] = s.learning_rate * max(_LEAST_RATE, 1 - step / s.steps)
                report = self._step(buffer.sample(s.batch, self.rng))
                epsilon = max(s.epsilon_end, epsilon * s.epsilon_decay)
                if step % s.target_steps == 0:
                    self.target.load_state_dict(self.online.state_dict())
            look(Step(step, epsilon, *report, lately))

    def _step(self, batch: _Transitions) -> tuple[float, float]:
        with torch.no_grad():
            after, liked_after = torch.from_numpy(batch.after), torch.from_numpy(batch.liked_after)
            next_online, next_target = self.online(after, liked_after), self.target(after, liked_after)
            user, place = np.nonzero(batch.shown != NOTHING)
            hidden = (torch.from_numpy(user), torch.from_numpy(batch.shown[user, place]))
            next_online[hidden] = -torch.inf  # what can't be shown next
            target = td_targets(
                torch.from_numpy(batch.reward), torch.from_numpy(batch.discount), next_online, next_target
            )
        q = self.online(torch.from_numpy(batch.state), torch.from_numpy(batch.liked))
        chosen = q.gather(1, torch.from_numpy(batch.action)[:, None])[:, 0]
        loss = functional.mse_loss(chosen, target)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(self.online.parameters(), 5.0)
        self.optimizer.step()
        return loss.item(), q.detach().amax(dim=1).mean().item()


@dataclass(frozen=True, slots=True)
class _Transitions:
    state: NDArray[np.float32]  # (B, S)
    liked: NDArray[np.int64]  # (B, PLACES)
    action: NDArray[np.int64]  # (B,)
    reward: NDArray[np.float32]  # (B,)
    discount: NDArray[np.float32]  # (B,)
    after: NDArray[np.float32]  # (B, S)
    liked_after: NDArray[np.int64]  # (B, PLACES)
    shown: NDArray[np.int64]  # (B, H) what can't be shown next


class _Buffer:
    """The newest transitions (Lin 1992), sampled uniformly."""

    def __init__(self, capacity: int, state: int, history: int) -> None:
        self._slots = _Transitions(
            state=np.zeros((capacity, state), np.float32),
            liked=np.full((capacity, PLACES), NOTHING, np.int64),
            action=np.zeros(capacity, np.int64),
            reward=np.zeros(capacity, np.float32),
            discount=np.zeros(capacity, np.float32),
            after=np.zeros((capacity, state), np.float32),
            liked_after=np.full((capacity, PLACES), NOTHING, np.int64),
            shown=np.full((capacity, history), NOTHING, np.int64),
        )
        self._capacity = capacity
        self._added = 0

    def add(
        self,
        state: NDArray[np.float32],
        liked: NDArray[np.int64],
        action: NDArray[np.int64],
        reward: NDArray[np.float64],
        discount: NDArray[np.float64],
        after: NDArray[np.float32],
        observed_after: Observation,
    ) -> None:
        """Put N transitions in the place of the oldest ones."""
        slots = (self._added + np.arange(len(action))) % self._capacity
        rows = self._slots
        rows.state[slots], rows.liked[slots], rows.action[slots] = state, liked, action
        rows.reward[slots], rows.discount[slots], rows.after[slots] = reward, discount, after
        rows.liked_after[slots], rows.shown[slots] = observed_after["liked"][:, :PLACES], observed_after["shown"]
        self._added += len(action)

    def sample(self, batch: int, rng: np.random.Generator) -> _Transitions:
        """Transitions drawn with replacement."""
        drawn = rng.integers(0, min(self._added, self._capacity), batch)
        return _Transitions(*(getattr(self._slots, field.name)[drawn] for field in fields(_Transitions)))
