"""`markov-sasrec`: counts and a fitted encoder as one version, on whole sequences and on a stream."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.model.files import read_version, write_version
from shared.model.format import Manifest
from shared.model.scoring import Scorer
from shared.model.served import served_scores
from shared.policies.contract import no_golden
from shared.policies.networks.markov_sasrec import WEIGHTS, MarkovSasRecPolicy, window_of
from shared.policies.networks.sequences import Passes
from shared.state.histories import EVENT_FEATURES
from shared.state.shop import StreamSettings
from shared.state.stream import Stream
from tests.support.states import review

SETTINGS = StreamSettings(history_length=6)
PRODUCTS = 12


def sequences(seed: int) -> list[NDArray[np.int32]]:
    """Each product is followed by the next one of 12, nine times in ten."""
    rng = random.Random(seed)
    walks = []
    for _ in range(80):
        walk = [rng.randrange(PRODUCTS)]
        while len(walk) < 6:
            walk.append((walk[-1] + 1) % PRODUCTS if rng.random() < 0.9 else rng.randrange(PRODUCTS))
        walks.append(np.array(walk, np.int32))
    return walks


def fitted(validation: list[int] | None = None) -> tuple[Stream, MarkovSasRecPolicy]:
    stream = Stream(SETTINGS)
    for product in range(PRODUCTS):
        stream.apply(review(f"u{product}", f"p{product}", 0))
    policy = MarkovSasRecPolicy(stream, 7, whole=Passes(most=20, batch=16))
    policy.fit_sequences(sequences(1), validation)
    return stream, policy


def scored(stream: Stream, policy: MarkovSasRecPolicy | Scorer, *history: int) -> NDArray[np.float32]:
    return served_scores(policy, window_of(np.array(history, np.int32), SETTINGS.history_length), stream.known)


def test_it_ranks_by_both_and_what_is_published_ranks_alike(tmp_path: Path) -> None:
    stream, policy = fitted()
    learned = policy.learned()
    manifest = Manifest(
        version_id="v", policy=policy.name, heads=learned.heads, popularity_weight=learned.popularity_weight,
        neighbours=learned.neighbours, history_length=6, event_features=list(EVENT_FEATURES),
        dimension=learned.parts.input.shape[1], products=PRODUCTS,
        epsilon=0.0, discount=0.5, positions={}, applied_events=0, steps=0, ordered=True,
    )  # fmt: skip
    _, sha256 = write_version(tmp_path, manifest, learned.parts, learned.golden or no_golden(6))
    scorer = Scorer(*read_version(tmp_path / "v", sha256), stream.rows.__getitem__, lambda: PRODUCTS)
    for newest in range(PRODUCTS):
        now = scored(stream, policy, 3, newest)
        assert now.argmax() == (newest + 1) % PRODUCTS
        assert np.allclose(now, scored(stream, scorer, 3, newest), rtol=1e-3, atol=1e-3)
        alone = served_scores(policy.counts, window_of(np.array([3, newest], np.int32), 6), stream.known)
        assert not np.allclose(now - now.mean(), alone - alone.mean()), "the encoder counts, too"


def test_a_snapshot_holds_it() -> None:
    stream, policy = fitted([(walk[-1] + 1) % PRODUCTS for walk in map(np.ndarray.tolist, sequences(1))])
    kept = policy.snapshot()
    again = MarkovSasRecPolicy(stream, 7)
    again.restore(kept)
    assert np.array_equal(scored(stream, policy, 1, 2), scored(stream, again, 1, 2))
    assert again.weight == policy.weight


@pytest.mark.parametrize("useful", [True, False])
def test_the_weight_is_chosen_by_what_followed(useful: bool) -> None:
    """An encoder that is right counts; one that says the opposite of what is right, after half of its products, not."""
    followed = [int(walk[-1] + 1) % PRODUCTS for walk in sequences(1)]
    _, policy = fitted(followed)
    policy.encoder.items = policy.encoder.items if useful else -policy.encoder.items
    gains = policy._gains(sequences(1), followed)
    assert (gains.argmax() > 0) == (useful and gains.max() > gains[0])
    assert (gains[-1] < gains[0]) == (not useful)
    assert policy.weight in WEIGHTS


@pytest.mark.slow
def test_whole_sequences_take_the_place_of_what_was_counted_before() -> None:
    stream, policy = fitted()
    _, once = fitted()
    policy.fit_sequences(sequences(1))
    assert np.array_equal(scored(stream, policy, 3, 4), scored(stream, once, 3, 4))


def test_a_product_that_came_after_the_fit_is_ranked_by_the_counts_alone() -> None:
    stream, policy = fitted()
    policy.learn(stream.apply(review("u1", "new", 1)))
    window = window_of(np.array([1], np.int32), SETTINGS.history_length)
    assert policy.scores(window)[stream.rows["new"]] == 0.0
    assert policy.related(window)[stream.rows["new"]] > 0.0
    parts = policy.learned().parts
    assert parts.products == stream.products
    assert not parts.outputs["dot"][stream.rows["new"]].any()
