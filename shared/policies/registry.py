"""Every policy by its name. A policy's module is imported only when it is made, with what that needs, torch say."""

from __future__ import annotations

import importlib
from typing import Any, cast

from shared.errors import Unusable
from shared.policies.policy import Policy
from shared.policies.stream import Stream

# Name → module and class; every class takes a stream, a seed and keyword arguments of its own.
POLICIES = {
    "trending": ("shared.policies.trending_policy", "TrendingPolicy"),
    "repeat": ("shared.policies.repeat", "RepeatPolicy"),
    "markov": ("shared.policies.markov", "MarkovPolicy"),
    "itemknn": ("shared.policies.itemknn", "ItemKnnPolicy"),
    "ease": ("shared.policies.ease", "EasePolicy"),
    "ials": ("shared.policies.ials", "IalsPolicy"),
    "bpr": ("shared.policies.bpr", "BprPolicy"),
    "gru4rec": ("shared.policies.gru4rec", "Gru4RecPolicy"),
    "sasrec": ("shared.policies.sasrec", "SasRecPolicy"),
    "dqn": ("shared.policies.dqn", "DqnPolicy"),
    "freshet": ("shared.policies.freshet.policy", "FreshetPolicy"),
}


def class_of(name: str) -> Any:
    """The class of a policy.

    Raises:
        Unusable: there is no such policy, or what it needs is not installed.
    """
    if name not in POLICIES:
        raise Unusable(f"no policy is called {name!r}; there are {', '.join(POLICIES)}")
    module, cls = POLICIES[name]
    try:
        return getattr(importlib.import_module(module), cls)
    except ModuleNotFoundError as error:
        lacking = str(error.name).partition(".")[0]
        raise Unusable(
            f"the policy {name} needs {lacking}: install the extra `evaluate`, or name another policy"
        ) from error


def make(name: str, stream: Stream, seed: int, **options: Any) -> Policy:
    """A policy that has learned nothing yet; `options` are its own constructor's.

    Raises:
        Unusable: there is no such policy.
    """
    return cast(Policy, class_of(name)(stream, seed, **options))
