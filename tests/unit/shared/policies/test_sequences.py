"""Networks of the next product: examples and losses by hand, and orders of products that must be learned."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from shared.policies.networks.sequence_policies import (
    LOW_FREQUENCIES,
    Gru4RecPolicy,
    SasRecPolicy,
    SelfAttention,
    SequencePolicy,
    low_pass,
)
from shared.policies.networks.sequences import (
    FullSoftmax,
    Passes,
    Progress,
    SequenceNetwork,
    batches,
    dropout,
    ndcg_at_10,
    padded,
    prefixes,
)
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.shop import StreamSettings
from shared.state.stream import Stream
from tests.support.states import review

POLICIES = [Gru4RecPolicy, SasRecPolicy]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rows(*products: int) -> NDArray[np.int32]:
    return np.array(products, np.int32)


def test_every_event_but_a_users_first_follows_what_was_before_it() -> None:
    examples = prefixes([rows(4, 5, 6, 7), rows(9), rows(), rows(8, 4)], length=2)
    pairs = []
    for n in range(len(examples)):
        products, lengths, followed = examples.batch(np.array([n]))
        pairs.append((products[0, : lengths[0]].tolist(), int(followed[0])))
    assert pairs == [([4], 5), ([4, 5], 6), ([5, 6], 7), ([8], 4)]
    products, lengths, followed = examples.batch(np.array([1, 3]))
    assert products.tolist() == [[4, 5], [8, -1]]
    assert (lengths.tolist(), followed.tolist()) == ([2, 1], [6, 4])
    assert len(prefixes([], 2)) == 0


def test_batches_hold_every_example_once_and_little_padding() -> None:
    examples = prefixes([np.arange(n, dtype=np.int32) for n in range(2, 40)], length=50)
    drawn = list(batches(examples, 8, np.random.default_rng(1)))
    assert sorted(np.concatenate(drawn).tolist()) == list(range(len(examples)))
    lengths = examples.ends - examples.starts
    spread = np.mean([np.ptp(lengths[chosen]) for chosen in drawn])
    assert spread < 10, "at random it would be about 27"


def test_the_full_softmax_is_torchs_cross_entropy_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    query, table = (torch.randn(n, 4, generator=generator).requires_grad_() for n in (3, 7))
    followed = torch.tensor([6, 0, 6])
    for factor in (1.0, 2.5):
        (factor * FullSoftmax.apply(query, table, followed)).backward()
        gradients = [query.grad, table.grad]
        query.grad = table.grad = None
        expected = factor * torch.nn.functional.cross_entropy(query @ table.T, followed)
        expected.backward()
        for gradient, wanted in zip(gradients, (query.grad, table.grad), strict=True):
            torch.testing.assert_close(gradient, wanted)
        query.grad = table.grad = None


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    factors = dropout(0.25, np.random.default_rng(1))((200, 100))
    assert (factors == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert factors.mean().item() == pytest.approx(1.0, abs=0.02)
    assert (dropout(0.0, np.random.default_rng(1))((9, 9)) == 1).all()


def test_the_low_pass_keeps_slow_waves_and_nothing_else() -> None:
    projection, time = low_pass(20), torch.arange(20) / 20
    for frequency in range(11):
        wave = torch.cos(2 * torch.pi * frequency * time)
        torch.testing.assert_close(projection @ wave, wave * (frequency < LOW_FREQUENCIES), atol=1e-5, rtol=0)
    torch.testing.assert_close(projection @ projection, projection, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cls", POLICIES)
def test_neither_padding_nor_the_others_of_a_batch_change_a_query(cls: type[SequencePolicy]) -> None:
    network = policy_of(cls, 10).network(10)
    alone = network.queries(*padded([rows(3, 1)], 6))
    among = network.queries(*padded([rows(5, 6, 7, 8, 9, 1), rows(3, 1), rows(2)], 6))
    torch.testing.assert_close(alone[0], among[1])


@pytest.mark.parametrize("cls", POLICIES)
def test_the_encoder_is_the_network_also_of_a_padded_batch(cls: type[SequencePolicy]) -> None:
    policy = policy_of(cls, 10, passes=1)
    policy.fit_sequences([np.arange(6, dtype=np.int32)])
    assert policy._network is not None
    products, lengths = padded([rows(5, 6, 7, 8, 9, 1), rows(3, 1), rows(2)], 6)
    with torch.no_grad():
        for parameter in policy._network.parameters():
            parameter.normal_(0, 0.5)
        expected = policy._network.queries(products, lengths).numpy()
    vectors = np.where(products[..., None] >= 0, policy.items[products], np.float32(0.0))
    session = onnxruntime.InferenceSession(policy.encoder(), providers=["CPUExecutionProvider"])
    features = np.zeros((3, 6, len(EVENT_FEATURES)), np.float32)
    (answered,) = session.run(None, {"products": vectors, "features": features, "lengths": lengths})
    np.testing.assert_allclose(answered[:, 0], expected, rtol=1e-3, atol=1e-5)


def test_places_are_counted_from_the_newest() -> None:
    network = SelfAttention(10, 8, 6)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.5)
    before = network.queries(*padded([rows(3, 4)], 6))
    for place, counts in ((0, True), (1, True), (2, False), (5, False)):
        network.places.data[place, 0] += 0.5  # of all it would be normalised away
        after = network.queries(*padded([rows(3, 4)], 6))
        assert torch.equal(after, before) != counts
        before = after


class Fixed(SequenceNetwork):
    """Gives product n the logit -n, whatever the history."""

    def __init__(self, products: int) -> None:
        super().__init__()
        self.vectors = torch.nn.Parameter(-torch.arange(products, dtype=torch.float32)[:, None])

    def encode(self, vectors: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.ones(len(vectors), 1)


def test_ndcg_leaves_out_what_the_user_had_and_asks_nothing_where_nothing_followed() -> None:
    """Place 2 of the first, since product 0 is in the history; place 11 of the second; none of the third."""
    ndcg = ndcg_at_10(Fixed(20), [rows(0), rows(15, 15), rows(1), rows()], [2, 10, -1, 3], 5)
    assert ndcg == pytest.approx(1 / np.log2(3) / 2)


def policy_of(cls: type[SequencePolicy], products: int, *, length: int = 6, passes: int = 25) -> SequencePolicy:
    stream = Stream(StreamSettings(history_length=length))
    for product in range(products):
        stream.known.products.row_of(f"p{product}")
    return cls(stream, 7, dimension=16, whole=Passes(most=passes, batch=32, learning_rate=0.02, dropout=0.1))


def best(policy: SequencePolicy, *history: int) -> int:
    features = np.zeros((1, len(history), len(EVENT_FEATURES)), np.float32)
    return int(policy.scores(Window(rows(*history)[None], features, np.array([len(history)], np.int32))).argmax())


@pytest.mark.parametrize("cls", POLICIES)
def test_what_follows_what_is_learned(cls: type[SequencePolicy]) -> None:
    """Each product is followed by the next one of 12, nine times in ten."""
    rng = random.Random(3)
    sequences = []
    for _ in range(80):
        walk = [rng.randrange(12)]
        while len(walk) < 6:
            walk.append((walk[-1] + 1) % 12 if rng.random() < 0.9 else rng.randrange(12))
        sequences.append(rows(*walk))
    policy = policy_of(cls, 12)
    policy.fit_sequences(sequences)
    assert [best(policy, n) for n in range(12)] == [(n + 1) % 12 for n in range(12)]


@pytest.mark.parametrize("cls", POLICIES)
def test_what_was_before_the_newest_product_counts_too(cls: type[SequencePolicy]) -> None:
    """0 then 2 leads to 3, and 1 then 2 to 4."""
    policy = policy_of(cls, 5)
    policy.fit_sequences([rows(0, 2, 3), rows(1, 2, 4)] * 60)
    assert best(policy, 0, 2) == 3
    assert best(policy, 1, 2) == 4


@pytest.mark.parametrize("cls", POLICIES)
def test_the_best_pass_is_kept_and_fitting_ends_when_none_is_better(cls: type[SequencePolicy]) -> None:
    rng = random.Random(1)
    sequences = [rows(*(rng.randrange(30) for _ in range(5))) for _ in range(40)]
    followed = [rng.randrange(30) for _ in range(40)]  # nothing to be learned of it
    policy = policy_of(cls, 30, passes=60)
    seen: list[Progress] = []
    policy.fit_sequences(sequences, followed, seen.append)
    validations = [progress.validation or 0.0 for progress in seen]
    assert len(seen) < 60
    assert validations.index(max(validations)) == len(seen) - 11, "ten passes without a better one"
    assert policy._network is not None
    assert ndcg_at_10(policy._network, sequences, followed, 6) == pytest.approx(max(validations))


@pytest.mark.parametrize("cls", POLICIES)
def test_whole_sequences_are_learned_anew_and_alike_under_one_seed(cls: type[SequencePolicy]) -> None:
    def fitted(sequences: Sequence[NDArray[np.int32]], policy: SequencePolicy) -> bytes:
        policy.fit_sequences(sequences)
        return policy.items.tobytes()

    sequences = [rows(0, 1, 2), rows(2, 1, 0)] * 4
    policy = policy_of(cls, 3, passes=3)
    first = fitted(sequences, policy)
    assert fitted([rows(0, 2, 1)] * 8, policy) != first
    assert fitted(sequences, policy) == first
    assert fitted(sequences, policy_of(cls, 3, passes=3)) == first


@pytest.mark.parametrize("cls", POLICIES)
def test_a_refit_goes_on_from_the_last_one_with_a_vector_for_what_came_since(cls: type[SequencePolicy]) -> None:
    stream = Stream(StreamSettings())
    policy = cls(stream, 7, dimension=8, refit=Passes(most=1))
    for day, product in enumerate("abcab"):
        policy.learn(stream.apply(review("user", product, day)))
    policy.refit()
    window = stream.histories.window(0)
    first, before = policy.items.copy(), policy.scores(window)
    policy.learn(stream.apply(review("user", "new", 9)))
    policy._refit = Passes(most=1, learning_rate=0.0)
    policy.refit()
    assert np.array_equal(policy.items[:3], first)
    np.testing.assert_allclose(policy.scores(window)[:3], before, rtol=1e-5, atol=1e-6)
    assert policy.items[3].any()


def test_no_more_steps_are_taken_than_allowed() -> None:
    policy = policy_of(Gru4RecPolicy, 30)
    policy._whole = Passes(most=9, most_steps=5, batch=4)
    seen: list[Progress] = []
    policy.fit_sequences([np.arange(9, dtype=np.int32)] * 2, on_progress=seen.append)  # 16 examples: 4 batches a pass
    assert [progress.done for progress in seen] == [1, 2]
