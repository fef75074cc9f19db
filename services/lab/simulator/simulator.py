"""A fitted simulator: products and users of one period, and how those users behave. A folder of safetensors and JSON.

simulator.json           dynamics, ids, what it was fitted on
arrays.safetensors       popularity, products, tastes, and each user's record
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from shared.process.errors import Unusable

DESCRIPTION, ARRAYS = "simulator.json", "arrays.safetensors"
MOST_WORTH = 5.0  # mean prices that a purchase is worth at most


class Dynamics(BaseModel):
    """How the users of one period behave: every constant.

    A visit goes on slate by slate. A user looks at the places of each slate in turn and clicks the first product that
    appeals:

        appeal    = offset + popularity_weight·popularity + taste_weight·(taste · product) - satiation_weight·satiation
        P(click)  = attention^place · logistic(appeal)
        taste     = (1 - need_share)·lasting taste + need_share·present need
        satiation = similar products looked at lately, decaying by `satiation_decay` with each product looked at
        P(satisfied | click) = logistic(satisfied_offset + satisfied_taste·taste part + satisfied_popularity·popularity)
        P(purchase | satisfied) = purchase_share

    What draws a click and what satisfies are two things. Patience falls by one with each product looked at in vain, and
    by `disappointment` with a click that does not satisfy; a satisfying click builds it up by `trust`, up to
    `patience_most`. Without patience the user leaves, and with a small chance at any product. A need is over with a
    purchase, and sometimes with a click: the next is similar to another product of the user's record. A newcomer
    behaves like all others, but the shop knows nothing of what it liked before.

    What a log shows is fitted. It does not show what was seen and not wanted, so the rest is assumed: see `ASSUMED`. A
    caller may change those values to see what depends on them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Fitted.
    popularity_weight: float = Field(1.0, ge=0)  # of log-popularity in what is chosen, conditional logit
    taste_weight: float = Field(8.0, ge=0)  # of the taste's match; the inverse of the noise in choices
    need_share: float = Field(0.5, ge=0, le=1)  # what the present need counts beside the lasting taste
    need_persistence: float = Field(0.9, ge=0, le=1)  # chance that a need outlives a click
    drift: float = Field(0.05, ge=0)  # lasting taste's random step from one visit to the next, length
    satisfied_offset: float = 0.0
    satisfied_taste: float = 0.5  # per unit of appeal by taste
    satisfied_popularity: float = 0.0  # per unit of log-popularity
    purchase_share: float = Field(0.3, ge=0, le=1)  # purchases among clicks that satisfied
    leave: float = Field(0.02, ge=0, le=1)  # chance to leave at any product looked at, patience or not
    newcomers: float = Field(0.3, ge=0, le=1)  # share of visits by users whom the shop knows nothing of yet
    dwell_log_mean: float = 3.4  # of the logarithm of seconds on a product's page: half a minute
    dwell_log_deviation: float = Field(1.0, ge=0)
    dwell_satisfied: float = 0.3  # added to the logarithm's mean where the product satisfies

    # Assumed: `ASSUMED` says why.
    random_click: float = Field(0.02, gt=0, lt=1)
    attention: float = Field(0.95, gt=0, le=1)
    satiation_weight: float = Field(0.1, ge=0)
    satiation_decay: float = Field(0.95, ge=0, lt=1)
    satiation_bought: float = Field(3.0, ge=0)
    patience: float = Field(20.0, gt=0)
    patience_most: float = Field(40.0, gt=0)
    trust: float = Field(5.0, ge=0)
    disappointment: float = Field(5.0, ge=0)
    reward_click: float = 0.1
    reward_purchase: float = 0.7
    reward_price: float = Field(0.0, ge=0, le=2)


# Name of an assumed constant → where its value comes from.
ASSUMED = {
    "random_click": "click rate of products drawn at random: untargeted placements get one to three in a hundred",
    "attention": "what each further place is looked at beside the one above: the position bias of click models",
    "satiation_weight": "log-odds of a click lost per like product looked at just now: ten leave a third of the "
    "odds. That repetition tires is seen wherever impressions are logged; how much differs from shop to shop",
    "satiation_decay": "share of satiation left after another product: half is gone after 14",
    "satiation_bought": "a bought product satiates as that many seen ones: few need two of a kind at once",
    "patience": "products in a row looked at in vain, on average, that a user bears: two screens of ten",
    "patience_most": "the most patience that good recommendations can build up: twice what a user comes with",
    "trust": "patience that a satisfying click gives: a quarter of what a user comes with",
    "disappointment": "patience that a click without satisfaction takes: as much as a satisfying one gives",
    "reward_click": "the reward of a click, as FRESHET_FEATURES_REWARD_CLICK",
    "reward_purchase": "the reward of a purchase beside its click's, as FRESHET_FEATURES_REWARD_PURCHASE",
    "reward_price": "power of the price, in mean prices, that the reward of a purchase is multiplied by: 0 counts "
    "purchases, 1 turnover",
}


class Provenance(BaseModel):
    """What a simulator was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = ""  # name of the file
    from_ms: int = 0  # event time of the first event
    until_ms: int = 0  # event time of the last one
    events: int = 0
    seed: int = 0
    figures: dict[str, float] = {}  # how the fit went, by name


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dynamics: Dynamics
    origin: Provenance
    product_ids: list[str]
    user_ids: list[str]


@dataclass(frozen=True, slots=True)
class Simulator:
    """A products and U users in D dimensions."""

    dynamics: Dynamics
    origin: Provenance
    product_ids: tuple[str, ...]  # (A,)
    user_ids: tuple[str, ...]  # (U,)
    popularity: NDArray[np.float64]  # (A,) log of the smoothed share, 0 on average over products drawn at random
    vectors: NDArray[np.float64]  # (A, D) of length up to 1: shorter where less is known
    tastes: NDArray[np.float64]  # (U, D) means of the users' records
    prices: NDArray[np.float64]  # (A,) NaN where none is known
    record_starts: NDArray[np.int64]  # (U + 1,)
    record: NDArray[np.int64]  # products of each user in the order of time

    @property
    def offset(self) -> float:
        """The appeal's constant, with which products drawn at random are clicked with the chance `random_click`."""
        d = self.dynamics
        users = np.arange(0, len(self.tastes), max(1, len(self.tastes) // 200))
        match = (1 - d.need_share) * self.tastes[users] @ self.vectors.T  # (≤ 400, A)
        match += d.need_share * self.vectors[self.record[self.record_starts[users]]] @ self.vectors.T
        utility = d.popularity_weight * self.popularity + d.taste_weight * match
        low, high = -40.0, 40.0
        for _ in range(60):
            middle = (low + high) / 2
            rate = float(np.mean(1 / (1 + np.exp(-np.clip(utility + middle, -60, 60)))))
            low, high = (middle, high) if rate < d.random_click else (low, middle)
        return (low + high) / 2

    @property
    def worth(self) -> NDArray[np.float64]:
        """What a purchase of each product is rewarded with, (A,): by its price up to `MOST_WORTH` mean prices."""
        known = np.isfinite(self.prices) & (self.prices > 0)
        relative = np.ones(len(self.prices))
        if known.any():
            relative[known] = np.minimum(self.prices[known] / self.prices[known].mean(), MOST_WORTH)
        return np.asarray(self.dynamics.reward_purchase * relative**self.dynamics.reward_price)

    def changed(self, changes: Mapping[str, float]) -> Simulator:
        """The same with other constants.

        Raises:
            Unusable: there is no such constant, or it can't have that value.
        """
        unknown = sorted(set(changes) - set(Dynamics.model_fields))
        if unknown:
            raise Unusable(f"no constant is called {unknown[0]}; there are {', '.join(Dynamics.model_fields)}")
        try:
            return replace(self, dynamics=Dynamics(**self.dynamics.model_dump() | dict(changes)))
        except ValidationError as error:
            wrong = error.errors()[0]
            raise Unusable(f"{wrong['loc'][0]}={wrong['input']}: {wrong['msg']}") from None

    def save(self, folder: Path) -> None:
        """Write it into a folder, made where it is missing.

        Raises:
            Unusable: the folder can't be written.
        """
        described = _Description(
            dynamics=self.dynamics,
            origin=self.origin,
            product_ids=list(self.product_ids),
            user_ids=list(self.user_ids),
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file({name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}, folder / ARRAYS)
            (folder / DESCRIPTION).write_text(described.model_dump_json(indent=1), encoding="utf-8")
        except OSError as error:
            raise Unusable(f"{folder} can't be written ({error.strerror or error}); name another folder") from error

    @classmethod
    def load(cls, folder: Path) -> Simulator:
        """What `save` wrote.

        Raises:
            Unusable: there is none, or it is damaged.
        """
        again = "make it with `freshet simulate fit`"
        try:
            described = _Description.model_validate_json((folder / DESCRIPTION).read_bytes())
            arrays = load_file(folder / ARRAYS)
        except FileNotFoundError as error:
            raise Unusable(f"{folder} holds no simulator: {again}") from error
        except (OSError, ValidationError, SafetensorError, json.JSONDecodeError) as error:
            raise Unusable(f"the simulator in {folder} is damaged ({str(error)[:200]}); {again}") from error
        made = (
            cls(
                dynamics=described.dynamics,
                origin=described.origin,
                product_ids=tuple(described.product_ids),
                user_ids=tuple(described.user_ids),
                **{name: arrays[name] for name in _ARRAYS if name in arrays},
            )
            if set(arrays) == set(_ARRAYS)
            else None
        )
        if made is None or not made._fits():
            raise Unusable(f"the simulator in {folder} is damaged (its arrays don't fit together); {again}")
        return made

    def _fits(self) -> bool:
        products, users = len(self.product_ids), len(self.user_ids)
        shapes = (
            self.popularity.shape == self.prices.shape == (products,)
            and self.vectors.ndim == 2
            and self.vectors.shape[0] == products
            and self.tastes.shape == (users, self.vectors.shape[1])
            and self.record_starts.shape == (users + 1,)
        )
        return bool(
            shapes
            and users
            and self.record_starts[0] == 0
            and (np.diff(self.record_starts) > 0).all()
            and self.record_starts[-1] == len(self.record)
            and ((self.record >= 0) & (self.record < products)).all()
            and all(np.isfinite(array).all() for array in (self.popularity, self.vectors, self.tastes))
        )


_ARRAYS = tuple(
    field.name for field in fields(Simulator) if field.name not in ("dynamics", "origin", "product_ids", "user_ids")
)
