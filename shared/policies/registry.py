"""Every policy by its name. A policy's module, and torch where it needs that, is imported only when it is made."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from shared.process.errors import Unusable

if TYPE_CHECKING:  # who only wants the names, as settings do, need not load what compiles
    from shared.policies.contract import Policy
    from shared.state.stream import Stream

# Name → module and class; every class takes a stream, a seed and its own keyword arguments.
POLICIES = {
    "trending": ("shared.policies.counts", "TrendingPolicy"),
    "repeat": ("shared.policies.counts", "RepeatPolicy"),
    "markov": ("shared.policies.counts", "MarkovPolicy"),
    "vmis-knn": ("shared.policies.sessions", "VmisKnnPolicy"),
    "itemknn": ("shared.policies.fitted.neighbourhood", "ItemKnnPolicy"),
    "ease": ("shared.policies.fitted.neighbourhood", "EasePolicy"),
    "ials": ("shared.policies.fitted.factors", "IalsPolicy"),
    "bpr": ("shared.policies.fitted.factors", "BprPolicy"),
    "gru4rec": ("shared.policies.networks.sequence_policies", "Gru4RecPolicy"),
    "sasrec": ("shared.policies.networks.sequence_policies", "SasRecPolicy"),
    "markov-sasrec": ("shared.policies.networks.markov_sasrec", "MarkovSasRecPolicy"),
    "dqn": ("shared.policies.networks.dqn", "DqnPolicy"),
    "mixture": ("shared.policies.freshet.policy", "MixturePolicy"),
    "freshet": ("shared.policies.freshet.policy", "FreshetPolicy"),
}


def class_of(name: str) -> type[Policy]:
    """The class of a policy.

    Raises:
        Unusable: there is no such policy, or what it needs is not installed.
    """
    if name not in POLICIES:
        raise Unusable(f"no policy is called {name!r}; there are {', '.join(POLICIES)}")
    module, policy = POLICIES[name]
    try:
        return cast("type[Policy]", vars(importlib.import_module(module))[policy])
    except ModuleNotFoundError as error:
        lacking = str(error.name).partition(".")[0]
        raise Unusable(
            f"the policy {name} needs {lacking}: install the extra `evaluate`, or name another policy"
        ) from error


def make(name: str, stream: Stream, seed: int, **options: Any) -> Policy:
    """A policy that has learned nothing yet; `options` are its constructor's keyword arguments.

    Raises:
        Unusable: there is no such policy.
    """
    constructor = cast("Callable[..., Policy]", class_of(name))
    return constructor(stream, seed, **options)
