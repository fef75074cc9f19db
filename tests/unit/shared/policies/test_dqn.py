"""The paper's deep Q-network: values that can be worked out, and what it reads."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.policies.networks import dqn
from shared.policies.networks.dqn import DqnPolicy, DqnSettings
from shared.policies.networks.transition_buffer import TransitionBuffer
from shared.state.histories import EVENT_FEATURES, FUTURE_FEATURES, Window
from shared.state.shop import StreamSettings
from shared.state.stream import Stream
from tests.support.states import review
from tests.unit.shared.policies.test_freshet_parts import a_transition

SETTINGS = DqnSettings(hidden=16, batch=32, warmup=32, transitions_per_step=1, target_steps=20, learning_rate=0.01)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_rewarded_product_that_is_chosen_for_ever_is_worth_the_rewards_to_come() -> None:
    """0.3 / (1 - 0.5)"""
    stream = Stream(StreamSettings())
    policy = DqnPolicy(stream, 7, settings=replace(SETTINGS, discount=0.5))
    for day in range(500):
        policy.learn(stream.apply(review("user", "only", day, reward=0.3)))
    assert policy.scores(stream.histories.window(0))[0] == pytest.approx(0.6, abs=0.05)


def test_after_a_pause_nothing_to_come_counts() -> None:
    stream = Stream(StreamSettings(session_gap_days=5))
    policy = DqnPolicy(stream, 7, settings=replace(SETTINGS, discount=0.5))
    for day in range(500):
        policy.learn(stream.apply(review("user", "only", 10 * day, reward=0.3)))
    assert policy.scores(stream.histories.window(0))[0] == pytest.approx(0.3, abs=0.05)


def test_what_pays_after_a_good_rating_and_after_a_bad_one_is_told_apart() -> None:
    rng = random.Random(1)
    stream = Stream(StreamSettings(session_gap_days=5))
    policy = DqnPolicy(stream, 7, settings=SETTINGS)
    rating = 5.0
    for day in range(1200):
        product = rng.choice("ab")
        reward = 0.8 if (product == "a") == (rating == 5.0) else -0.8
        rating = rng.choice([1.0, 5.0])
        policy.learn(stream.apply(review("user", product, 10 * day, reward=reward, rating=rating)))
    a, b = stream.rows["a"], stream.rows["b"]
    for rating, better, worse in ((1.0, b, a), (5.0, a, b)):
        policy.learn(stream.apply(review("user", "a", 12000, reward=0.0, rating=rating)))
        values = policy.scores(stream.histories.window(0))
        assert values[better] > 0.4
        assert values[worse] < -0.4


def test_where_room_for_products_ends_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = []
    for capacity in (1024, 2):
        monkeypatch.setattr(dqn, "FIRST_CAPACITY", capacity)
        stream = Stream(StreamSettings())
        policy = DqnPolicy(stream, 7, settings=SETTINGS)
        for day in range(300):
            policy.learn(stream.apply(review("user", f"p{day % (2 + day // 30)}", day)))
        snapshots.append({name: array.tobytes() for name, array in policy.snapshot().arrays.items()})
    assert snapshots[0] == snapshots[1]


def test_it_reads_the_future_and_says_so_and_no_more_than_the_paper_has() -> None:
    stream = Stream(StreamSettings())
    policy = DqnPolicy(stream, 7, settings=SETTINGS)
    for day in range(100):
        policy.learn(stream.apply(review(f"user{day % 5}", f"p{day % 7}", day)))
    window = stream.histories.window(0)
    before, reads = policy.scores(window), set()
    for column, name in enumerate(EVENT_FEATURES):
        features = window.features.copy()
        features[0, :, column] += 0.5
        if not np.array_equal(policy.scores(Window(window.products, features, window.lengths)), before):
            reads.add(name)
    assert reads == {"user", "crawled_price", "helpfulness", "rating", "sentiment", "time"}
    assert reads >= FUTURE_FEATURES
    assert policy.reads_future


def test_exploration_decays_to_its_end_and_is_published() -> None:
    stream = Stream(StreamSettings())
    settings = replace(SETTINGS, epsilon_decay=0.9, epsilon_end=0.2, warmup=1000)
    policy = DqnPolicy(stream, 7, settings=settings)
    rates = []
    for day in range(40):
        policy.learn(stream.apply(review("user", "p", day)))
        rates.append(policy.epsilon)
    assert rates[:3] == pytest.approx([1.0, 0.9, 0.81]), "a user's first event is no transition"
    assert policy.learned().epsilon == rates[-1] == 0.2


def test_the_buffer_keeps_the_newest_transitions_and_draws_evenly_under_its_seed() -> None:
    buffer = TransitionBuffer(capacity=4, length=3, features=len(EVENT_FEATURES))
    for serial in range(6):
        buffer.add(a_transition(serial, [serial, serial + 1]))
    assert (len(buffer), buffer.oldest_serial) == (4, 2)
    batch = buffer.sample(4000, np.random.default_rng(1))
    counts = np.bincount(batch.serials, minlength=6)
    assert counts[:2].tolist() == [0, 0]
    assert counts[2:].min() > 900
    assert np.array_equal(batch.products, np.stack([batch.serials, batch.serials + 1], axis=1))
    assert np.array_equal(batch.reward, (batch.serials / 100).astype(np.float32))
    again = buffer.sample(4000, np.random.default_rng(1))
    assert np.array_equal(batch.serials, again.serials)


def test_the_buffer_corrects_a_discount_only_while_it_holds_the_transition() -> None:
    buffer = TransitionBuffer(capacity=2, length=3, features=len(EVENT_FEATURES))
    for serial in range(3):
        buffer.add(a_transition(serial, [serial]))
    buffer.set_discount(2, 0.5)
    buffer.set_discount(0, 0.9)  # long gone
    assert sorted(buffer.to_arrays()["discount"].tolist()) == [0.0, 0.5]
