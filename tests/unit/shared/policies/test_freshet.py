"""That `freshet` learns: order of products, new rows, no future in the state; and that a trainer keeps all of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.features.core import SourceRecord
from services.features.core import describe as described_by_features
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from services.trainer import publish
from services.trainer.learner import Learner, LearnerSnapshot
from services.trainer.settings import TrainerSettings
from shared.log.ordered import ReaderSnapshot
from shared.log.records import kinds_of
from shared.model.candidates import FEATURES, HEADS, NONE_RANKED, F, Ranker, Reranked, describe, outputs, rerank
from shared.model.mixture import context_of, expert_shares, groups
from shared.model.scoring import Scorer, load_scorer
from shared.model.served import served_scores
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.policies.freshet.policy import GOLDEN_STEPS, FreshetPolicy, MixturePolicy
from shared.policies.freshet.validation import UNDECIDED
from shared.state.histories import Histories, Window
from shared.state.shop import ShopSettings
from shared.state.stream import Stream
from tests.support.states import review, shoppers

FloatArray = NDArray[np.float32]

VALUE = HEADS.index("q")
SMALL = {
    "hidden": 16, "batch": 32, "warmup_transitions": 64, "transitions_per_step": 4, "most_transitions_per_step": 4,
    "holdout_every": 5, "learning_rate": 0.01,
}  # fmt: skip
SHOP = ShopSettings(history_length=8)
# What the tally keeps of products alone; all else is of users.
OF_PRODUCTS = {"epochs", "counts", "totals", "popular", "rewards"}


GLAD = "Wonderful, I love it. It works perfectly."
SORRY = "Terrible, I hate it. It broke at once."
SENTIMENT = Sentiment()


def a_learner(**settings: object) -> Learner:
    return Learner(TrainerSettings.model_validate(SMALL | settings), SHOP)


def freshet(learner: Learner) -> FreshetPolicy:
    assert isinstance(learner.policy, FreshetPolicy)
    return learner.policy


def published(learner: Learner, folder: Path) -> Scorer:
    """What serving scores with, through the disk."""
    shop = ShopSettings(history_length=SHOP.history_length, models_dir=folder)
    reader: ReaderSnapshot = {"positions": {}, "watermarks": {}, "marks": {}, "ordered": True}
    manifest, sha256 = publish.write(learner, reader, learner.settings, shop)
    stream = learner.stream
    return load_scorer(folder / manifest.version_id, sha256, stream.rows.__getitem__, lambda: len(stream.products))


def put_in_order(learner: Learner, window: Window | None, heads: tuple[float, float]) -> tuple[Reranked, FloatArray]:
    """What the heads add to the candidates with these weights, and what is served then."""
    policy, known = freshet(learner), learner.stream.known
    ranker = Ranker(policy.ranker.network, np.array(heads, np.float32))
    values = served_scores(policy, window, known)
    return rerank(ranker, known, window, policy.mixture, values), values


def two_products(seed: int, *, shuffled: bool, share_of_good: float = 0.5, users: int = 400) -> list[pb.StateVector]:
    """After `start` this share of the users choose `good` and the others `bad`, with other rewards.

    Nobody is disappointed: what is disliked no counts recommend, and Q would have nothing to add.

    Background shopping on forty more products. `shuffled`: the same rewards, dealt out at random.
    """
    rng = random.Random(seed)
    states, rewards = [], []
    good_ones = [n < share_of_good * users for n in range(users)]
    rng.shuffle(good_ones)  # nothing but the reward tells which comes next
    for n, is_good in enumerate(good_ones):
        day = n // 4
        states.append(review(f"u{n}", "start", day, reward=0.2))
        states.append(review(f"u{n}", "good" if is_good else "bad", day, reward=1.0 if is_good else 0.05))
        rewards.append(states[-1].reward)
        states.append(review(f"b{n}", f"p{rng.randrange(40)}", day, reward=0.2))
    if shuffled:
        rng.shuffle(rewards)
        for state, reward in zip([s for s in states if s.product_id in ("good", "bad")], rewards, strict=True):
            state.reward = state.sentiment = reward
    return states


def two_texts(seed: int, *, shuffled: bool) -> list[pb.StateVector]:
    """The same shopping with four stars for everything: only what people write tells `good` from `bad`."""
    rng = random.Random(seed)
    states = two_products(seed, shuffled=False)
    reviewed = [state for state in states if state.product_id in ("good", "bad")]
    texts = [GLAD if state.product_id == "good" else SORRY for state in reviewed]
    if shuffled:
        rng.shuffle(texts)
    text_of = {id(state): text for state, text in zip(reviewed, texts, strict=True)}
    described = []
    for n, state in enumerate(states):
        event = pb.Event(
            kind=state.kind, user_id=state.user_id, product_id=state.product_id, event_time_ms=state.event_time_ms,
            event_id=f"e{n}", rating=4.0, text=text_of.get(id(state), ""),
        )  # fmt: skip
        described.append(described_by_features(event, SourceRecord("events", 0, n, 0), FeaturesSettings(), SENTIMENT))
    return described


# Few negatives, and a loss in which values count more than choices: it is the values that are asked about.
OF_VALUES = {"negatives": 2, "td_weight": 2.0}


def lead_of_good(states: list[pb.StateVector], seed: int) -> float:
    """By how much the value head alone has `good` outscore `bad` after `start`."""
    learner = a_learner(seed=seed, transitions_per_step=1, most_transitions_per_step=1, **OF_VALUES)
    for state in states:
        learner.apply(state)
    newcomer = Histories(8, kinds_of(["review"]))
    row = newcomer.apply(review("new", "start", 200, reward=0.2), learner.stream.rows["start"])
    candidates, adds = put_in_order(learner, newcomer.window(row), (0.0, 1.0))[0]
    good, bad = (int(np.flatnonzero(candidates == learner.stream.rows[name])[0]) for name in ("good", "bad"))
    return float(adds[VALUE, good] - adds[VALUE, bad])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("states", "least"), [(two_products, 0.3), (two_texts, 0.15)])
def test_q_ranks_the_better_liked_of_two_equally_frequent_products_first(
    states: Callable[..., list[pb.StateVector]], least: float
) -> None:
    seeds = (1, 2, 3)
    real = [lead_of_good(states(seed, shuffled=False), seed) for seed in seeds]
    dealt = [lead_of_good(states(seed, shuffled=True), seed) for seed in seeds]
    assert min(real) > least, real
    assert max(map(abs, dealt)) < 0.5 * min(real), (real, dealt)


def test_the_validation_gives_q_a_weight_only_where_rewards_tell_what_counts_get_wrong() -> None:
    learned_from = {}
    for shuffled in (False, True):
        learner = a_learner(**OF_VALUES)
        for state in two_products(5, shuffled=shuffled, share_of_good=0.35, users=600):
            learner.apply(state)
        learned_from[shuffled] = learner.policy.learned()
    metrics = learned_from[False].metrics
    assert learned_from[False].heads["q"] > 0.0
    assert metrics["validation_reward_ndcg_at_10"] > metrics["validation_reward_ndcg_at_10_without_q"] + 0.05
    assert learned_from[True].heads["q"] == 0.0


def test_a_new_product_is_a_candidate_at_once() -> None:
    learner = a_learner()
    for state in shoppers(200):
        learner.apply(state)
    learner.apply(review("u1", "brand-new", 30))
    row = learner.stream.rows["brand-new"]
    for window in (None, learner.stream.histories.window(0)):
        reranked, values = put_in_order(learner, window, (1.0, 1.0))
        assert row in reranked.rows
        assert np.isfinite(values[row])


def test_a_product_of_the_catalogue_without_an_event_hinders_neither_ranking_nor_publishing(tmp_path: Path) -> None:
    learner = a_learner()
    for state in shoppers(200):
        learner.apply(state)
    policy, stream = freshet(learner), learner.stream
    policy.choice = replace(UNDECIDED, ce=1.0, q=0.5)
    known = len(stream.products)
    stream.known.products.row_of("never bought")
    version = published(learner, tmp_path)
    assert version.products == known + 1
    for window in (None, stream.histories.window(0)):
        both = []
        for scores in (policy, version):
            values = served_scores(scores, window, stream.known)
            both.append((rerank(scores.ranker, stream.known, window, scores.mixture, values).adds, values))
        assert len(both[0][1]) == known + 1
        assert both[0][0].any()
        assert all(np.array_equal(one, other) for one, other in zip(*both, strict=True))


def test_serving_says_of_the_newest_candidates_what_the_learner_does() -> None:
    learner = a_learner()
    for state in shoppers(300):
        learner.apply(state)
    learned = learner.policy.learned()
    golden, network = learned.golden_candidates, learned.parts.network
    assert golden is not None
    assert network is not None
    assert golden.features.shape == (F, GOLDEN_STEPS * (1 + learner.settings.negatives))
    assert np.ptp(golden.outputs, axis=1).min() > 0.01, "it has learned something"
    assert outputs(network, golden.features) == pytest.approx(golden.outputs, abs=1e-5)


def test_what_an_event_says_shapes_the_state_after_it_and_never_the_state_it_is_judged_from() -> None:
    def states_of(reward: float, rating: float) -> tuple[NDArray[np.float16], FloatArray]:
        """The candidates of an event as they are learned from, and those of the same user's state after it."""
        learner = a_learner()
        policy, stream = freshet(learner), learner.stream
        for n, state in enumerate(shoppers(200, users=7)):
            state.event_time_ms += n  # none is a whole day
            if n < 199:
                learner.apply(state)
        user = stream.histories.row(state.user_id)
        assert user is not None
        window = stream.histories.window(user, now_ms=state.event_time_ms)
        state.reward, state.rating, state.sentiment = reward, rating, reward
        row = stream.rows[state.product_id]
        before = describe(stream.known, window, policy.mixture, np.arange(len(stream.products))).features
        learner.apply(state)
        kept = policy.buffer.to_arrays()
        place = int(np.flatnonzero(kept["serials"] == 199)[0])
        assert kept["reward"][place] == np.float32(reward)
        if kept["has_action"][place]:  # its place among the candidates changes no more than what is best beside it
            of_user = slice(FEATURES.index("times"), None)
            assert kept["candidates"][place, 0, of_user] == pytest.approx(before[of_user, row], abs=1e-3)
        after = stream.histories.window(user, now_ms=state.event_time_ms)
        return kept["candidates"][place], describe(stream.known, after, policy.mixture, np.array([row])).features

    (glad_before, glad_after), (sad_before, sad_after) = states_of(1.0, 5.0), states_of(-1.0, 1.0)
    assert np.array_equal(glad_before, sad_before)
    for name in ("mood", "last_reward", "worth"):
        assert glad_after[FEATURES.index(name)] > sad_after[FEATURES.index(name)]


def test_experts_are_judged_by_what_was_known_just_before_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the tally nor a history holds the event, nor does it matter what the event says."""
    learned = []
    for reward, rating, price in ((0.5, 4.0, 0.0), (1.0, 5.0, 0.9)):
        learner = a_learner()
        weights, noted, expected = freshet(learner).weights, [], []
        note, note_ranked = weights.note, weights.note_ranked
        monkeypatch.setattr(weights, "note", lambda *a: (noted.append(a), note(*a)))  # noqa: B023
        monkeypatch.setattr(weights, "note_ranked", lambda *a: (noted.append(a), note_ranked(*a)))  # noqa: B023
        stream = learner.stream
        for n, state in enumerate(shoppers(300, users=7, products=30)):
            state.event_time_ms += n  # none is a whole day
            state.reward = abs(state.reward)
            user, row = stream.histories.row(state.user_id), stream.rows.get(state.product_id)
            judged = n >= 140 and user is not None and row is not None and row not in stream.histories.masked(user)
            if judged:
                assert user is not None
                assert row is not None
                state.reward, state.rating, state.price_scaled = reward, rating, price
                window = stream.histories.window(user, now_ms=state.event_time_ms)
                context = context_of(int(window.lengths[0]), window.since_ms)
                of_experts = expert_shares(stream.known, window, row)
                of_groups = groups(stream.known, window, weights.mixed(context).astype(np.float32), stream.tally.size)
                expected = [
                    (of_groups, row, stream.histories.masked(user), context),
                    (of_experts, int(window.lengths[0]), context),
                ]
                noted.clear()
            learner.apply(state)
            if judged:
                break
        assert len(noted) == len(expected) == 2
        for arguments, wanted in zip(noted, expected, strict=True):
            assert all(np.array_equal(one, other) for one, other in zip(arguments, wanted, strict=True))
        learned.append({name: array.tobytes() for name, array in weights.to_arrays().items()})
    assert learned[0] == learned[1]


def test_what_disappointed_teaches_no_expert() -> None:
    learner = a_learner()
    for state in shoppers(150, users=7, products=9):
        state.reward = abs(state.reward)
        learner.apply(state)
    before = freshet(learner).weights.to_arrays()
    learner.apply(review("u1", "p3", 40, rating=1.0))
    learner.apply(review("", "p3", 40))
    learner.apply(review("u1", "never seen", 40))
    assert all(np.array_equal(array, before[name]) for name, array in freshet(learner).weights.to_arrays().items())
    learner.apply(review("somebody new", "p3", 40))
    assert not np.array_equal(freshet(learner).weights.to_arrays()["held"][0], before["held"][0])


def test_products_listed_since_the_last_event_hinder_no_look() -> None:
    learner = a_learner(holdout_every=2)
    for n, state in enumerate(shoppers(300)):
        if n > 200:
            learner.stream.known.products.row_of(f"listed {n}")
        learner.apply(state)
    assert len(learner.stream.products) > freshet(learner).stream.histories.length
    assert freshet(learner).choice.events > 0


def everything(snapshot: LearnerSnapshot) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in snapshot.arrays.items()} | {"state": repr(snapshot.state).encode()}


@pytest.mark.parametrize("cut", [50, 201, 333])
def test_learning_on_from_a_snapshot_is_learning_without_a_pause(cut: int) -> None:
    states = list(shoppers(500))
    whole = a_learner(buffer_size=150, holdout_size=10)
    for state in states:
        whole.apply(state)
    first = a_learner(buffer_size=150, holdout_size=10)
    for state in states[:cut]:
        first.apply(state)
    second = Learner.restore(first.settings, SHOP, first.snapshot())
    first.apply(states[0])  # a snapshot shares nothing with what goes on
    for state in states[cut:]:
        second.apply(state)
    assert everything(second.snapshot()) == everything(whole.snapshot())


def test_publishing_changes_nothing_that_is_learned() -> None:
    quiet, loud = a_learner(), a_learner()
    for state in shoppers(300):
        quiet.apply(state)
        loud.apply(state)
        if loud.applied % 50 == 0:
            loud.policy.learned()
    assert everything(quiet.snapshot()) == everything(loud.snapshot())


def test_epsilon_decays_over_transitions_to_its_end() -> None:
    learner = a_learner(epsilon_start=0.8, epsilon_decay=0.99, epsilon_end=0.3, warmup_transitions=10_000)
    assert freshet(learner).epsilon == 0.8
    for n, state in enumerate(shoppers(60), start=1):
        learner.apply(state)
        assert freshet(learner).epsilon == pytest.approx(0.8 * 0.99**n)
    for state in shoppers(60):
        learner.apply(state)
    assert freshet(learner).epsilon == 0.3


def test_disliked_and_returned_products_are_no_choices_to_imitate() -> None:
    learner = a_learner(warmup_transitions=10_000)
    kinds = (pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_DISLIKE, pb.EVENT_KIND_RETURN, pb.EVENT_KIND_VIEW)
    for product in (*(f"p{kind}" for kind in kinds), "two stars", "a sorry text without stars"):
        learner.apply(review("somebody", product, 0))
    before = len(freshet(learner).buffer)
    for kind in kinds:
        state = review("u", f"p{kind}", 1)
        state.kind = kind
        learner.apply(state)
    learner.apply(review("u", "two stars", 1, rating=2.0))
    learner.apply(review("u", "a sorry text without stars", 1, reward=-0.1, rating=0.0))
    learner.apply(review("u", "never seen before", 1))
    kept = freshet(learner).buffer.to_arrays()
    assert kept["chosen"][before:].tolist() == [True, False, False, True, False, False, True]
    assert kept["has_action"][before:].tolist() == [True] * 6 + [False], "what nobody had chosen was no candidate"


def test_guests_count_for_popularity_and_worth_and_for_nothing_else() -> None:
    """With guests in between, the learner has learned the same of everybody else."""
    with_guests, without = a_learner(), a_learner()
    shopping = list(shoppers(400))
    popular = [review("", "p0", 0) for _ in range(200)]
    for n, state in enumerate(shopping):
        without.apply(state)
        with_guests.apply(state)
        if n >= len(shopping) - len(popular):
            popular[0].event_time_ms = state.event_time_ms
            assert with_guests.apply(popular[0]) is None
    assert with_guests.applied == without.applied + 200
    assert with_guests.stream.histories.users == without.stream.histories.users
    assert with_guests.stream.assembler.serial == without.stream.assembler.serial
    assert len(freshet(with_guests).buffer) == len(freshet(without).buffer)
    first = without.stream.rows["p0"]
    assert with_guests.stream.known.share(first) > 0.3 > without.stream.known.share(first)
    with_counts, counts = (
        {name: array.tolist() for name, array in learner.stream.tally.to_arrays().items() if name not in OF_PRODUCTS}
        for learner in (with_guests, without)
    )
    assert with_counts == counts
    assert np.any(counts["users"])
    assert np.any(counts["pairs"])


def test_without_its_network_it_ranks_as_the_mixture_does_and_learns_the_same_weights() -> None:
    whole = a_learner()
    without = MixturePolicy(stream := Stream(SHOP), 7)
    for state in shoppers(600):
        whole.apply(state)
        without.learn(stream.apply(state))
    assert freshet(whole).dqn.steps > 0
    assert without.dqn.steps == 0
    assert np.array_equal(without.mixture, freshet(whole).mixture)
    assert without.gauges().shares == {"mixture": 1.0, "ce": 0.0, "q": 0.0}
    assert without.gauges().weighted == {"ce": 0.0, "q": 0.0}
    window = stream.histories.window(0)
    values = served_scores(without, window, stream.known)
    assert rerank(without.ranker, stream.known, window, without.mixture, values) == NONE_RANKED


def test_a_version_says_what_share_of_the_score_each_head_had_and_at_how_many_events() -> None:
    learner = a_learner(holdout_size=200)
    for state in shoppers(600):
        learner.apply(state)
    policy = freshet(learner)
    events = policy.stream.assembler.serial
    assert policy.gauges().weighted["ce"] <= 1.0
    policy.choice = replace(policy.choice, ce=0.5, q=0.25, shares=(0.6, 0.3, 0.1))
    before = policy.gauges().weighted
    learner.apply(next(iter(shoppers(1))))
    after = policy.gauges().weighted
    assert after["q"] == pytest.approx((before["q"] * events + 1) / (events + 1), abs=2e-3)
    metrics = learner.policy.learned().metrics
    assert metrics["events_share_q"] == after["q"]
    shares = [metrics[f"score_share_{part}"] for part in ("mixture", "ce", "q")]
    assert sum(shares) == pytest.approx(1.0)
