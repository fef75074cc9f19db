"""What the learner has learned, as it is published: parts, how much each counts, and how they do on what is held out.

Reads the learner and changes nothing in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from services.trainer import validation
from services.trainer.learner import Learner
from services.trainer.network import HEADS, at, to_onnx
from shared.history import EVENT_FEATURES, Window
from shared.models import Golden, NeighbourPart, Parts
from shared.neighbours import Neighbours, Related
from shared.policies.cooccurrence import RELATIONS
from shared.policies.served import mix
from shared.transitions import Transition

# Products and users of the golden queries.
GOLDEN_USERS = 8
GOLDEN_PRODUCTS = 32

# Most numbers a validation looks at: the newest held-out transitions are taken that fit.
VALIDATION_SCORES = 20_000_000


@dataclass(frozen=True, slots=True)
class Learned:
    """What is published: the parts, how to check them, and how they did."""

    parts: Parts
    golden: Golden
    heads: dict[str, float]
    popularity_weight: float
    neighbours: dict[str, NeighbourPart]
    metrics: dict[str, float]


def what_is_learned(learner: Learner) -> Learned:
    """What there is to publish. Changes nothing."""
    neighbours = {c.relation.name: c.neighbours(len(learner.products)) for c in learner.cooccurrences}
    choice, vectors = _validate(learner, neighbours)
    heads = {"ce": choice.ce, "q": choice.q}
    popularity_weight, *shares = learner.mixture.weights.tolist()
    parts = Parts(
        encoder=to_onnx(learner.dqn.encoder),
        input=vectors["input"],
        outputs={head: vectors[f"output.{head}"] for head in HEADS},
        biases={head: vectors[f"bias.{head}"] for head in HEADS},
        products=list(learner.products),
        neighbours=neighbours,
    )
    metrics = {
        "validation_events": float(choice.events),
        "validation_hr_at_10": choice.hit_ratio,
        "validation_ndcg_at_10": choice.ndcg,
        "validation_reward_ndcg_at_10": choice.value,
        "validation_reward_ndcg_at_10_without_q": choice.value_without_q,
        "validation_ndcg_at_10_mixture": choice.ndcg_of_mixture,
        "validation_ndcg_at_10_popularity": choice.ndcg_of_popularity,
    }
    how = {
        relation.name: NeighbourPart(weight=share, decay=relation.decay)
        for relation, share in zip(RELATIONS, shares, strict=True)
    }
    return Learned(parts, _golden(learner, parts, heads), heads, popularity_weight, how, metrics)


def _validate(
    learner: Learner, neighbours: Mapping[str, Neighbours]
) -> tuple[validation.Choice, dict[str, NDArray[np.float32]]]:
    vectors = {name: t[: learner.dqn.tables.size].numpy().copy() for name, t in learner.dqn.tables.values.items()}
    most = max(1, VALIDATION_SCORES // max(1, len(learner.products)))
    asked = [t for t in learner.held_out if t.was_possible and len(t.products[t.judged])][-most:]
    if not asked or not learner.dqn.steps:
        return validation.UNDECIDED, vectors
    queries = _queries(
        learner,
        _windows([(t.products[t.judged], t.features[t.judged]) for t in asked], learner.settings.history_length),
    )  # (V, H, D)
    logits, q = (queries[:, h] @ vectors[f"output.{head}"].T + vectors[f"bias.{head}"] for h, head in enumerate(HEADS))
    log_popularity = learner.eras.of(np.array([t.serial for t in asked]), None, len(learner.products))
    choice = validation.choose(
        logits,
        q,
        log_popularity,
        _mixed(learner, log_popularity, asked, neighbours),
        np.array([t.action for t in asked], np.int64),
        np.array([t.reward for t in asked], np.float32),
        [t.masked for t in asked],
    )
    return choice, vectors


def _mixed(
    learner: Learner,
    log_popularity: NDArray[np.float32],
    asked: Sequence[Transition],
    neighbours: Mapping[str, Neighbours],
) -> NDArray[np.float32]:
    """Log of the mixture as it would be served after each of V histories, (V, A)."""
    popularity_weight, *weights = learner.mixture.weights.tolist()
    parts = [(w, relation.decay, 0, neighbours[relation.name]) for relation, w in zip(RELATIONS, weights, strict=True)]
    related = Related(parts, len(learner.products))
    result = np.empty_like(log_popularity)
    for n, transition in enumerate(asked):
        shares = related.shares(transition.products[transition.judged])
        result[n] = np.log(mix(np.exp(log_popularity[n]), popularity_weight, shares))
    return result


def _queries(learner: Learner, window: Window) -> NDArray[np.float32]:
    """Queries of B states, (B, H, D)."""
    with torch.no_grad():
        vectors = learner.dqn.tables.values["input"][torch.from_numpy(window.products).long().clamp(min=0)]
        hidden = learner.dqn.encoder.hidden(vectors, torch.from_numpy(window.features))
        state = at(hidden, torch.from_numpy(window.lengths).long())
        queries: NDArray[np.float32] = learner.dqn.encoder.queries(state).numpy()
    return queries


def _golden(learner: Learner, parts: Parts, heads: dict[str, float]) -> Golden:
    """Scores of the users that came last, computed by the learner's own engine."""
    users = range(len(learner.histories.users))[-GOLDEN_USERS:]
    windows = [learner.histories.window(row) for row in users]
    pairs = [(w.products[0, : w.lengths[0]], w.features[0, : w.lengths[0]]) for w in windows]
    window = _windows(pairs, learner.settings.history_length)
    k = min(GOLDEN_PRODUCTS, len(learner.products))
    rows = np.linspace(0, max(0, len(learner.products) - 1), k, dtype=np.int32)  # (K,)
    queries = _queries(learner, window)
    scores = sum(
        weight * (queries[:, h] @ parts.outputs[head][rows].T + parts.biases[head][rows])
        for h, (head, weight) in enumerate(heads.items())
    )
    return Golden(window, np.tile(rows, (len(windows), 1)), np.asarray(scores, np.float32))


def _windows(histories: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]], length: int) -> Window:
    """Histories of any lengths, padded to one `length`: products (n,) and features (n, F) of each."""
    products = np.full((len(histories), length), -1, np.int32)
    features = np.zeros((len(histories), length, len(EVENT_FEATURES)), np.float32)
    for i, (own_products, own_features) in enumerate(histories):
        products[i, : len(own_products)] = own_products
        features[i, : len(own_features)] = own_features
    return Window(products, features, np.array([len(own) for own, _ in histories], np.int32))
