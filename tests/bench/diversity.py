"""What diversity costs and gives: NDCG@10 and how alike the ten are, at four strengths, on real events.

The stream is judged as it is served: a version as the trainer publishes it, popularity as it is, `ordered` as a call
has it. For every other event of the stream's second half, the product that the user chose is the right answer.
Musical Instruments has no categories: there, products are alike by their learned vectors. In Taobao, of which a tenth
of the users is read, each product has one.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from replay.order.ordered_copy import Selection
from services.inference.answer.recommend import ordered, traits
from services.inference.knowledge.catalogue import Attributes
from services.lab.datasets import Describing
from services.lab.runs import one_thread
from services.trainer.learner import Learner
from services.trainer.settings import TrainerSettings
from shared.log.records import DAY_MS
from shared.model import ranking
from shared.model.candidates import rerank
from shared.model.format import Manifest
from shared.model.scoring import Scorer
from shared.model.served import served_scores
from shared.pb.freshet.v1.events_pb2 import Product, StateVector
from shared.policies.contract import no_golden
from shared.state.histories import EVENT_FEATURES, UNCOUNTED_KINDS
from shared.state.shop import ShopSettings
from tests.bench.figures import BenchSettings, Figure
from tests.support import snap

MUSIC = "amazon-2014/Musical_Instruments_5.json.gz"
TAOBAO = "taobao/UserBehavior_users815_84475.csv.gz"
STRENGTHS = (0.0, 0.25, 0.5, 0.75)
COUNT = 10
PUBLISH_EVENTS = 1_000
JUDGED_EVERY = 2


@dataclass(slots=True)
class Lists:
    """Measures of the lists at one strength."""

    ndcg: list[float] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)  # mean over the pairs of a list
    categories: list[int] = field(default_factory=list)  # different ones in a list


def run(settings: BenchSettings) -> list[Figure]:
    """Two figures a strength and dataset."""
    if settings.data is None:
        settings.say("left out: the real reviews are not on this machine")
        return []
    figures: list[Figure] = []
    for name, file, users in (("Musical Instruments", MUSIC, 1.0), ("Taobao", TAOBAO, 0.1)):
        states = list(_states(settings.data / file, settings.folder / name, users))
        categories = _categories(settings.data / file) if file == TAOBAO else {}
        if settings.quick:
            states = states[:3_000]
        settings.say(f"{name}: {len(states):,} events")
        with one_thread():
            lists_at = _judged(states, categories)
        figures += _figures(name, lists_at, bool(categories))
    return figures


def _judged(states: Sequence[StateVector], categories: dict[str, str]) -> dict[float, Lists]:
    learner = Learner(TrainerSettings(policy="freshet", seed=1), ShopSettings())
    attributes, scorer = Attributes(), None
    lists_at = {strength: Lists() for strength in STRENGTHS}
    for n, state in enumerate(states):
        if scorer is not None and n >= len(states) // 2 and n % JUDGED_EVERY == 0 and state.kind not in UNCOUNTED_KINDS:
            _judge(state, learner, scorer, attributes, lists_at)
        known = len(learner.stream.products)
        learner.apply(state)
        for row in range(known, len(learner.stream.products)):
            category = categories.get(learner.stream.products[row])
            attributes.set(row, Product(categories=[category] if category else []))
        if (n + 1) % PUBLISH_EVENTS == 0:
            scorer = _published(learner)
    return lists_at


def _judge(
    state: StateVector, learner: Learner, scorer: Scorer, attributes: Attributes, lists_at: dict[float, Lists]
) -> None:
    histories, chosen = learner.stream.histories, learner.stream.rows.get(state.product_id, -1)
    user = histories.row(state.user_id)
    if user is None or chosen in histories.masked(user):
        return
    window = histories.window(user, before_ms=None if state.event_time_ms % DAY_MS else state.event_time_ms)
    values = served_scores(scorer, window, learner.stream.known)
    ranking.mask(values, histories.masked(user))
    rerank(scorer.ranker, learner.stream.known, window, scorer.mixture, values)
    for strength, lists in lists_at.items():
        rows = ordered(values, COUNT, strength, attributes, scorer)
        place = np.flatnonzero(rows == chosen)
        lists.ndcg.append(ranking.ndcg(1.0 + place[0], COUNT) if len(place) else 0.0)
        alike = ranking.likeness(rows, traits(len(values), attributes, scorer))
        lists.alike.append(float(np.mean([alike[a, b] for a, b in combinations(range(len(rows)), 2)])))
        lists.categories.append(len(np.unique(attributes.tags[rows, 0])))


def _published(learner: Learner) -> Scorer:
    learned = learner.policy.learned()
    manifest = Manifest(
        version_id=f"{learner.applied}",
        policy="freshet",
        heads=learned.heads,
        popularity_weight=learned.popularity_weight,
        neighbours=learned.neighbours,
        history_length=learner.stream.settings.history_length,
        event_features=list(EVENT_FEATURES),
        dimension=learned.parts.input.shape[1],
        products=len(learned.parts.products),
        epsilon=0.0,
        discount=learned.discount,
        positions={},
        applied_events=learner.applied,
        steps=learned.steps,
        ordered=True,
    )
    golden = learned.golden or no_golden(learner.stream.settings.history_length)
    rows = learner.stream.rows
    return Scorer(manifest, learned.parts, golden, learned.golden_candidates, rows.__getitem__, rows.__len__)


def _states(file: Path, folder: Path, users: float) -> Iterator[StateVector]:
    copy = snap.ordered(file, folder)
    everything, describing = Selection(users_share=users), Describing({})
    for stored in copy.events(everything, copy.extent(everything)):
        stored.event.sequence = stored.sequence
        yield describing(stored.event)
    copy.close()


def _categories(file: Path) -> dict[str, str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return {product: category for _, product, category, *_ in csv.reader(lines)}


def _figures(name: str, lists_at: dict[float, Lists], has_categories: bool) -> list[Figure]:
    figures = []
    plain = lists_at[0.0]
    for strength, lists in lists_at.items():
        note = f"{len(lists.ndcg):,} events judged"
        if has_categories:
            note += f"; {np.mean(lists.categories):.1f} categories among the ten"
        for what, values, before in (("NDCG@10", lists.ndcg, plain.ndcg), ("alike", lists.alike, plain.alike)):
            title = f"{name}, diversity {strength:g}: {what}"
            figures.append(
                Figure(
                    title,
                    float(np.mean(values)),
                    "",
                    float(np.mean(before)),
                    "diversity 0",
                    None,
                    at_least=what != "alike",
                    note=note,
                )
            )
    return figures
