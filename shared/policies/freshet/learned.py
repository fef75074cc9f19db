"""What `freshet` has learned, as it is published. Reads the policy and changes nothing in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.event_features import EVENT_FEATURES
from shared.history import Window
from shared.models import Golden, Parts
from shared.policies.freshet.network import HEADS, folded, to_onnx
from shared.policies.policy import Learned

if TYPE_CHECKING:
    from shared.policies.freshet.policy import FreshetPolicy

# Products and users of the golden queries.
GOLDEN_USERS = 8
GOLDEN_PRODUCTS = 32


def learned_of(policy: FreshetPolicy) -> Learned:
    """What there is to publish."""
    stream, choice, tables = policy.stream, policy.choice, policy.dqn.tables
    a = tables.size
    vectors = {name: tensor[:a].numpy().copy() for name, tensor in tables.values.items()}
    heads = {"ce": choice.ce, "q": choice.q, "trend": 1.0}
    of_heads = {
        head: folded(policy.dqn.encoder, head, vectors[f"output.{head}"], vectors[f"bias.{head}"]) for head in HEADS
    }
    trend = policy.trend.scores(stream.trending.shares())  # (A,)
    parts = Parts(
        encoder=to_onnx(policy.dqn.encoder),
        input=vectors["input"],
        outputs={head: output for head, (output, _) in of_heads.items()},
        biases={head: bias for head, (_, bias) in of_heads.items()} | {"trend": trend},
        products=stream.products[:a],
        neighbours={relation.name: relation.neighbours(a) for relation in policy.relations},
    )
    return Learned(
        parts,
        heads=heads,
        popularity_weight=policy.popularity_weight,
        neighbours=policy.parts(),
        golden=_golden(policy, vectors | {"bias.trend": trend}, heads),
        metrics={
            "validation_events": float(choice.events),
            "validation_hr_at_10": choice.hit_ratio,
            "validation_ndcg_at_10": choice.ndcg,
            "validation_reward_ndcg_at_10": choice.value,
            "validation_reward_ndcg_at_10_without_q": choice.value_without_q,
            "validation_ndcg_at_10_mixture": choice.ndcg_of_mixture,
            "validation_ndcg_at_10_popularity": choice.ndcg_of_popularity,
        },
        steps=policy.dqn.steps,
        epsilon=policy.epsilon,
        discount=policy.settings.discount,
    )


def _golden(policy: FreshetPolicy, vectors: Mapping[str, NDArray[np.float32]], heads: Mapping[str, float]) -> Golden:
    """Scores of the users that came last, computed by the learner's own engine."""
    histories = policy.stream.histories
    users = range(len(histories.users))[-GOLDEN_USERS:]
    windows = [histories.window(row) for row in users]
    a = len(vectors["input"])
    k = min(GOLDEN_PRODUCTS, a)
    rows = np.linspace(0, max(0, a - 1), k, dtype=np.int32)  # (K,)
    scores = np.zeros((len(windows), k), np.float32)
    for g, window in enumerate(windows):
        n = int(window.lengths[0])
        queries = policy.heads_of(window.products[0, :n], window.features[0, :n])
        scores[g] = heads["trend"] * vectors["bias.trend"][rows]
        for head, query in zip(HEADS, queries, strict=True):
            scores[g] += np.float32(heads[head]) * (
                vectors[f"output.{head}"][rows] @ query + vectors[f"bias.{head}"][rows]
            )
    return Golden(_stacked(windows, histories.length), np.tile(rows, (len(windows), 1)), scores)


def _stacked(windows: list[Window], length: int) -> Window:
    products = np.full((len(windows), length), -1, np.int32)
    features: NDArray[np.float32] = np.zeros((len(windows), length, len(EVENT_FEATURES)), np.float32)
    for g, window in enumerate(windows):
        products[g], features[g] = window.products[0], window.features[0]
    return Window(products, features, np.array([int(window.lengths[0]) for window in windows], np.int32))
