"""How simulated users behave: every constant, with where it comes from.

A visit goes on slate by slate. Of each slate a user looks at the places in turn and takes the first that appeals:

    appeal    = offset + popularity_weight·popularity + taste_weight·(taste · product) - satiation_weight·satiation
    P(click)  = attention^place · logistic(appeal)
    taste     = (1 - need_share)·lasting taste + need_share·what the user needs now
    satiation = what was looked at of the like lately, decaying by `satiation_decay` with each product looked at
    P(satisfied | click) = logistic(satisfied_offset + satisfied_taste·taste part + satisfied_popularity·popularity)
    P(purchase | satisfied) = purchase_share

What draws a click (popularity and taste) and what satisfies (which of them, the data say) are two things. Patience
falls by one with each product looked at in vain, and by `disappointment` with a click that does not satisfy; a
satisfying click builds it up by `trust`, up to `patience_most`. At no patience the user leaves, and with a small chance
at any product. A need is over with a purchase, and sometimes with a click: the next is like another product of the
user's own record. A newcomer behaves as all do, but the shop knows nothing of what it liked before.

What a log can tell is fitted. A log tells nothing of what was shown and not wanted, so the rest is assumed: see
`ASSUMED`, whose values a caller may change to see what depends on them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Dynamics(BaseModel):
    """The constants of one period's users."""

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
