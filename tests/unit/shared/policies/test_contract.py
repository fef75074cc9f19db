"""What every policy promises: it ranks now as what it publishes does, and goes on from a snapshot without a pause."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from services.trainer.learner import Learner
from services.trainer.settings import TrainerSettings
from shared.log.records import DAY_MS
from shared.model import ranking
from shared.model.candidates import rerank
from shared.model.files import read_version, write_version
from shared.model.format import Manifest
from shared.model.mixture import GROUPS, POPULARITY
from shared.model.scoring import Scorer
from shared.model.served import Places, Scores, Served, served, served_scores
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.policies.contract import Fitted, Policy, PolicySnapshot, no_golden
from shared.policies.freshet.policy import FreshetPolicy
from shared.policies.freshet.settings import FreshetSettings
from shared.policies.networks.dqn import DqnSettings
from shared.policies.networks.sequences import Passes
from shared.policies.registry import POLICIES, class_of, make
from shared.process.errors import Unusable
from shared.process.settings import load
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.known import Known
from shared.state.shop import ShopSettings, StreamSettings
from shared.state.stream import Stream
from shared.state.tally import SMOOTHING
from tests.support.states import START_MS, review, shoppers

NAMES = list(POLICIES)
PUBLISHED = [name for name in NAMES if class_of(name).published]
WEIGHING = ("mixture", "freshet")  # those that weigh the tally's experts
SETTINGS = StreamSettings(history_length=8, masked_kinds="")
HOUR_MS = DAY_MS // 24
NOW_MS = START_MS + 30 * DAY_MS
OPTIONS = {
    "freshet": {
        "settings": FreshetSettings(hidden=8, batch=16, warmup_transitions=50, transitions_per_step=4, holdout_every=2)
    },
    "ials": {"factors": 8},
    "bpr": {"factors": 8, "iterations": 5},
    "gru4rec": {"dimension": 8, "refit": Passes(most=2)},
    "dqn": {"settings": DqnSettings(hidden=8, batch=16, warmup=50)},
    "sasrec": {"dimension": 8, "refit": Passes(most=2)},
    "markov-sasrec": {"refit": Passes(most=2)},
}


def events(count: int) -> list[pb.StateVector]:
    """Shopping of products with prices; some users come back to what they had, and guests come between."""
    rng = random.Random(11)
    states = list(shoppers(count))
    for n, state in enumerate(states):
        state.price_scaled, state.helpfulness_scaled = rng.random(), rng.random()
        if n % 17 == 5:
            state.user_id = ""
        if n % 11 == 3:
            state.product_id = "again"
    return states


def learned(name: str, count: int) -> tuple[Stream, Policy]:
    stream = Stream(SETTINGS)
    policy = make(name, stream, 7, **OPTIONS.get(name, {}))
    for state in events(count):
        policy.learn(stream.apply(state))
    policy.refit()
    return stream, policy


def everything(snapshot: PolicySnapshot) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in snapshot.arrays.items()} | {"": repr(snapshot.state).encode()}


def published(stream: Stream, policy: Policy, root: Path) -> Scorer:
    """What serving would score with, through the disk."""
    version = policy.learned()
    manifest = Manifest(
        version_id="v", policy=policy.name, heads=version.heads, popularity_weight=version.popularity_weight,
        neighbours=version.neighbours, history_length=SETTINGS.history_length, event_features=list(EVENT_FEATURES),
        dimension=version.parts.input.shape[1], products=len(stream.products), epsilon=version.epsilon,
        discount=version.discount, positions={}, applied_events=0, steps=version.steps, ordered=True,
    )  # fmt: skip
    golden = version.golden or no_golden(SETTINGS.history_length)
    _, sha256 = write_version(root, manifest, version.parts, golden, version.golden_candidates)
    return Scorer(*read_version(root / "v", sha256), stream.rows.__getitem__, lambda: len(stream.products))


def liked(policy: Policy) -> None:
    """Let both heads of `freshet` count, as a validation that liked them would."""
    if isinstance(policy, FreshetPolicy):
        policy.choice = replace(policy.choice, ce=0.75, q=0.5)


def ranked(version: Scores, window: Window | None, known: Known, places: Places | None = None) -> Served:
    """What is served, its candidates put in order."""
    scored = served(version, window, known, places)
    reranked = rerank(version.ranker, known, window, version.mixture, scored.values)
    return scored._replace(reranked=reranked)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_ranks_as_the_policy_does_now(name: str, tmp_path: Path) -> None:
    stream, policy = learned(name, 600)
    assert policy.name == name
    liked(policy)
    scorer = published(stream, policy, tmp_path)
    windows = [stream.histories.window(user, now_ms=NOW_MS + user * HOUR_MS) for user in range(20)]
    for window in (None, *windows):
        one, other = (ranked(version, window, stream.known) for version in (policy, scorer))
        now, then = one.values, other.values
        assert np.allclose(now, then, rtol=1e-3, atol=1e-3)
        assert np.array_equal(one.reranked.adds, other.reranked.adds)
        assert one.reranked.adds.any() == (name == "freshet")
        top, other = (ranking.top_k(values, 20) for values in (now, then))
        assert np.allclose(now[top], now[other], rtol=1e-3, atol=1e-3)


def test_of_freshet_users_without_a_history_get_the_versions_blend_of_half_lives(tmp_path: Path) -> None:
    stream, policy = learned("freshet", 600)
    for n in range(200):  # newcomers choose what many bought today
        policy.learn(stream.apply(review(f"new {n}", f"p{n % 2}", 31)))
    scorer = published(stream, policy, tmp_path)
    known, mixture = stream.known, policy.mixture
    assert mixture is not None
    nobody = served_scores(scorer, None, known)
    blend = sum(mixture[0, h] * known.tally.weights(h)[0] / known.tally.weights(h)[1] for h in range(POPULARITY))
    evenly = mixture[0, :POPULARITY].sum() / len(stream.products)
    assert np.exp(nobody) == pytest.approx((1.0 - SMOOTHING) * blend + SMOOTHING * evenly, rel=1e-4)
    assert not np.allclose(nobody, known.tally.log_popularity(), atol=0.1), "nor is it trending alone"
    assert not mixture[0, POPULARITY:].any(), "there is nothing else to go by"


@pytest.mark.parametrize("name", PUBLISHED)
def test_who_weighs_the_tallys_experts_publishes_no_neighbours(name: str, tmp_path: Path) -> None:
    stream, policy = learned(name, 300)
    version = policy.learned()
    assert (policy.mixture is None) == (version.parts.mixture is None) == (name not in WEIGHING)
    assert (published(stream, policy, tmp_path).mixture is None) == (name not in WEIGHING)
    if name in WEIGHING:
        assert not version.neighbours
        assert not version.parts.neighbours


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_looks_at_each_event_once_before_it_is_applied_if_at_all(name: str) -> None:
    stream, policy = learned(name, 100)
    arrays, state = stream.snapshot()
    resumed = Stream.restore(SETTINGS, arrays, state)
    again = make(name, resumed, 7, **OPTIONS.get(name, {}))
    again.restore(policy.snapshot())
    assert len(stream.on_each) == len(resumed.on_each) == (1 if name in WEIGHING else 0)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_on_from_a_snapshot_as_without_a_pause(name: str) -> None:
    stream, policy = learned(name, 300)
    arrays, state = stream.snapshot()
    kept = policy.snapshot()
    resumed = Stream.restore(SETTINGS, arrays, state)
    again = make(name, resumed, 7, **OPTIONS.get(name, {}))
    again.restore(kept)
    for event in events(500)[300:]:
        policy.learn(stream.apply(event))
        again.learn(resumed.apply(event))
    for one in (policy, again):
        one.refit()
    assert everything(policy.snapshot()) == everything(again.snapshot())
    for one in (policy, again):
        liked(one)
    window = stream.histories.window(0)
    assert np.array_equal(policy.related(window), again.related(window))
    assert np.array_equal(policy.scores(window), again.scores(window))
    for pause_ms in (0, HOUR_MS, 40 * DAY_MS):
        window = window._replace(since_ms=pause_ms)
        one, other = (ranked(p, window, s.known).values for p, s in ((policy, stream), (again, resumed)))
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_events_under_the_same_seed_make_the_same_policy_and_publishing_changes_nothing(name: str) -> None:
    quiet, loud = learned(name, 300)[1], learned(name, 300)[1]
    if loud.published:
        loud.learned()
    assert everything(quiet.snapshot()) == everything(loud.snapshot())


@pytest.mark.parametrize("name", NAMES)
def test_a_class_declares_all_that_callers_need_before_they_make_one(name: str) -> None:
    policy = class_of(name)
    assert policy.name == name
    assert policy.fitted in get_args(Fitted)
    assert isinstance(policy.seeded, bool)
    assert policy.reads_future == (name == "dqn")
    assert policy.published == (name != "vmis-knn")
    assert (policy.fit_sequences is not None) == (name in ("gru4rec", "sasrec", "markov-sasrec"))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PUBLISHED])
def test_what_is_not_published_says_so_and_the_trainer_refuses_it(name: str) -> None:
    with pytest.raises(Unusable, match=f"{name} is a baseline for `freshet evaluate`"):
        learned(name, 100)[1].learned()
    settings = load(TrainerSettings, {"FRESHET_TRAINER_POLICY": name})
    with pytest.raises(Unusable, match=f"FRESHET_TRAINER_POLICY={name}: .* name another policy here"):
        Learner(settings, ShopSettings())


@pytest.mark.parametrize("name", NAMES)
def test_what_can_be_watched_is_the_learners(name: str) -> None:
    gauges = learned(name, 300)[1].gauges()
    assert (gauges.buffer_size > 0) == (0.0 < gauges.epsilon < 1.0) == (name in ("dqn", *WEIGHING))
    assert (sum(gauges.mixture.values()) == pytest.approx(1.0)) == (name in WEIGHING)
    assert set(gauges.mixture) == (set(GROUPS) if name in WEIGHING else set())
    assert set(gauges.heads) == ({"ce", "q"} if name in WEIGHING else set())
    assert (gauges.validated > 0) == (name == "freshet")
    assert set(gauges.shares) == ({"mixture", "ce", "q"} if name in WEIGHING else set())
    assert (sum(gauges.shares.values()) == pytest.approx(1.0)) == (name in WEIGHING)


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(Unusable, match="no policy is called 'markow'; there are trending, repeat, markov"):
        make("markow", Stream(SETTINGS), 7)


def test_repeat_ranks_the_users_own_products_first_and_markov_what_followed_the_last_ones() -> None:
    shopping = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("b", "z"), ("c", "z"), ("c", "x")]
    shopping += [(f"d{n}", "w") for n in range(9)]
    ranked = {}
    for name in ("trending", "repeat", "markov"):
        stream = Stream(SETTINGS)
        policy = make(name, stream, 7)
        for day, (user, product) in enumerate(shopping):
            policy.learn(stream.apply(review(user, product, day)))
        window = stream.histories.window(2)
        rows = ranking.top_k(served_scores(policy, window, stream.known), 3)
        ranked[name] = "".join(stream.products[row] for row in rows)
    assert ranked == {"trending": "wxz", "repeat": "xzw", "markov": "yxz"}
