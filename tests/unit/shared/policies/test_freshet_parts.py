"""The smaller parts of `freshet`: transitions, replay buffer, popularity eras, validation, tables, encoder."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from shared.policies.freshet.eras import PopularityEras
from shared.policies.freshet.tables import ProductTables

from shared.log.records import DAY_MS, kinds_of
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.freshet.network import HEADS, Encoder, at, folded, to_onnx
from shared.policies.freshet.replay_buffer import ReplayBuffer
from shared.policies.freshet.validation import LEAST_EVENTS, UNDECIDED, Choice, Validation
from shared.state.histories import EVENT_FEATURES, Histories
from shared.state.transitions import Assembler, Continued, Transition, stack, unstack
from tests.support.states import review

F = len(EVENT_FEATURES)


def assembler(length: int = 3) -> Assembler:
    return Assembler(Histories(length, kinds_of(["review"])), session_gap_ms=30 * DAY_MS)


def applied(
    a: Assembler, state: StateVector, product: int, *, known: bool = True
) -> tuple[Transition, Continued | None]:
    """Apply one event between the assembler's two steps."""
    start = a.before(state)
    a.histories.apply(state, product)
    return a.after(start, state, product, known=known), start.continued


def a_transition(serial: int, products: list[int]) -> Transition:
    return Transition(
        serial=serial,
        products=np.array(products, np.int32),
        features=np.full((len(products), F), serial, np.float32),
        reward=serial / 100,
        discount=0.0,
        masked=np.array(products[:-1], np.int32),
        known=serial % 2 == 0,
        chosen=serial % 3 > 0,
        today=serial % 2,
    )


def test_a_transition_goes_from_the_history_before_an_event_to_the_one_after_it() -> None:
    a = assembler()
    first, continued = applied(a, review("u", "a", 0), 10, known=False)
    assert (first.products.tolist(), first.action, continued, first.masked.tolist()) == ([10], 10, None, [])
    second, continued = applied(a, review("u", "b", 5, reward=0.9), 11)
    assert (second.products.tolist(), second.reward, continued, second.masked.tolist()) == (
        [10, 11],
        0.9,
        Continued(0),
        [10],
    )
    third, continued = applied(a, review("u", "c", 99), 12)
    assert continued is None, "the pause was longer than the session gap"
    fourth, _ = applied(a, review("u", "d", 100), 13)
    fifth, _ = applied(a, review("u", "e", 101), 14)
    assert fifth.products.tolist() == [11, 12, 13, 14], "the state holds the last three events"
    assert fifth.masked.tolist() == [10, 11, 12, 13], "the mask holds all of them"
    assert [t.discount for t in (first, second, third, fourth)] == [0.0] * 4


def test_a_whole_day_is_judged_from_its_beginning() -> None:
    """Where times are whole days, the order within one says nothing; the events of a finer clock do."""
    a = assembler(length=5)
    for product, day in ((10, 0), (11, 7), (12, 7)):
        made, _ = applied(a, review("u", f"p{product}", day), product)
    assert made.products[made.judged].tolist() == [10, 11], "the start of these tests' time is no midnight"
    for product, day in ((20, 0), (21, 7), (22, 7), (23, 7)):
        state = review("v", f"p{product}", day)
        state.event_time_ms -= state.event_time_ms % DAY_MS
        made, _ = applied(a, state, product)
    assert made.products.tolist() == [20, 21, 22, 23]
    assert made.products[made.judged].tolist() == [20]
    assert made.features[made.judged].shape == (1, F)


def test_nothing_is_judged_from_what_came_after_it() -> None:
    """A late event's user is known to have gone on already."""
    a = assembler(4)
    for product, day in enumerate([1, 3, 9]):
        applied(a, review("u", f"p{product}", day), product)
    for late in (review("u", "p3", 2), review("u", "p3", 2)):
        late.event_time_ms += 5  # whole days have a rule of their own
        transition, continued = applied(a, late, 3)
        assert continued is not None
        assert len(transition.products[:-1]) >= 3, "it is learned from all that came before it in the log"
        assert len(transition.products[transition.judged]) == 0
    transition, _ = applied(a, review("u", "p4", 10), 4)
    assert len(transition.products[transition.judged]) == 4


def test_users_do_not_mix() -> None:
    a = assembler()
    applied(a, review("u", "a", 0), 1, known=False)
    other, continued = applied(a, review("v", "b", 0), 2, known=False)
    assert (other.products.tolist(), continued) == ([2], None)
    mine, continued = applied(a, review("u", "c", 1), 3, known=False)
    assert (mine.products.tolist(), continued) == ([1, 3], Continued(0))


def test_transitions_survive_being_stacked() -> None:
    given_ones = [a_transition(n, list(range(n + 1))) for n in range(4)]
    back = unstack(stack(given_ones, length=5))
    for one, other in zip(given_ones, back, strict=True):
        assert one.products.tolist() == other.products.tolist()
        assert np.array_equal(one.features, other.features)
        assert one.masked.tolist() == other.masked.tolist()
        assert (one.serial, one.reward, one.known, one.chosen) == (
            other.serial,
            other.reward,
            other.known,
            other.chosen,
        )
    assert unstack(stack([], length=5)) == []


def test_the_buffer_keeps_the_newest_and_draws_evenly_under_its_seed() -> None:
    buffer = ReplayBuffer(capacity=4, length=3, features=F)
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
    buffer = ReplayBuffer(capacity=2, length=3, features=F)
    for serial in range(3):
        buffer.add(a_transition(serial, [serial]))
    buffer.set_discount(2, 0.5)
    buffer.set_discount(0, 0.9)  # long gone
    assert sorted(buffer.to_arrays()["discount"].tolist()) == [0.0, 0.5]


def test_popularity_is_looked_up_as_it_stood_then() -> None:
    eras = PopularityEras()
    eras.note(0, np.array([-1.0, -2.0], np.float32), oldest=0)
    eras.note(10, np.array([-3.0, -4.0, -5.0], np.float32), oldest=0)
    popularity = eras.of(np.array([9, 10, 25]), None, 4)
    # Products that came later count as the least popular of their time.
    assert popularity.tolist() == [[-1, -2, -2, -2], [-3, -4, -5, -5], [-3, -4, -5, -5]]
    assert eras.of(np.array([10]), np.array([2, 0]), 4).tolist() == [[-5, -3]]
    again = PopularityEras.from_arrays(eras.to_arrays())
    assert np.array_equal(again.of(np.array([9, 10]), None, 4), eras.of(np.array([9, 10]), None, 4))
    eras.note(20, np.zeros(3, np.float32), oldest=12)
    assert eras.of(np.array([9]), None, 3).tolist() == [[-3, -4, -5]], "the first snapshot is needed no more"


NOTHING = np.zeros(0, np.int32)


def validated(events: int, q_of_action: float, mixture_of_action: float, reward: float = 1.0) -> Choice:
    """What is chosen after events of which the logit knows nothing and Q and the mixture as much as is said."""
    rng = np.random.default_rng(3)
    validation = Validation(size=200)
    a = 40
    for _ in range(events):
        action = int(rng.integers(0, a))
        one_hot = np.eye(a, dtype=np.float32)[action]
        noise = rng.normal(0, 0.1, a).astype(np.float32)
        mixture = mixture_of_action * one_hot
        validation.note(noise, q_of_action * one_hot, mixture, mixture - one_hot, action, reward, NOTHING)
    return validation.choose()


def test_validation_chooses_the_weights_that_rank_what_users_were_glad_of() -> None:
    choice = validated(120, 1.0, -0.9)
    assert choice.q >= 1.0
    assert choice.value > 0.9 > choice.value_without_q
    assert choice.hit_ratio > 0.9
    assert choice.ndcg_of_mixture < 0.1
    assert choice.events == 120
    worse = validated(120, -1.0, 0.9)
    assert (worse.ce, worse.q, worse.ndcg) == (0.0, 0.0, 1.0)
    few = validated(LEAST_EVENTS - 1, 1.0, -0.9)
    assert (few.ce, few.q) == (0.0, 0.0), "too few to tell"
    assert validated(0, 1.0, -0.9) == UNDECIDED
    assert validated(500, 1.0, -0.9).events == 200, "the newest count"


def test_validation_takes_no_masked_product_for_a_better_one() -> None:
    values = np.array([3.0, 2.0, 1.0], np.float32)
    for masked, gain in (([], 1 / np.log2(4)), ([0], 1 / np.log2(3)), ([0, 1], 1.0)):
        validation = Validation(size=2)
        validation.note(values * 0, values * 0, values, -values, 2, 1.0, np.array(masked, np.int32))
        assert validation.choose().ndcg == pytest.approx(gain)
        assert validation.choose().ndcg_of_popularity == 1.0


def test_validation_goes_on_from_what_it_kept() -> None:
    values = np.array([3.0, 2.0, 1.0], np.float32)
    one, other = Validation(size=3), Validation(size=3)
    for n in range(4):
        one.note(values, values, values, values, n % 3, float(n), NOTHING)
    other.restore(one.to_arrays())
    for validation in (one, other):
        validation.note(values, values, values, values, 1, 1.0, NOTHING)
    assert one.choose() == other.choose()


def test_serving_scores_as_the_heads_do_with_one_query_for_all() -> None:
    torch.manual_seed(4)
    encoder = Encoder(8)
    outputs, biases = torch.randn(len(HEADS), 7, 8).numpy(), torch.randn(len(HEADS), 7).numpy()
    session = onnxruntime.InferenceSession(to_onnx(encoder), providers=["CPUExecutionProvider"])
    products, features = torch.randn(5, 6, 8), torch.randn(5, 6, F)
    lengths = torch.tensor([6, 1, 3, 0, 5])
    with torch.no_grad():
        of_heads = encoder.queries(at(encoder.hidden(products, features), lengths)).numpy()
    served, after_each = session.run(
        None, {"products": products.numpy(), "features": features.numpy(), "lengths": lengths.numpy().astype(np.int32)}
    )
    assert served.shape == (5, 1, 8)
    assert np.allclose(after_each[0, -1], served[0, 0]), "the state after all six events"
    for h, head in enumerate(HEADS):
        output, bias = folded(encoder, head, outputs[h], biases[h])
        assert np.allclose(of_heads[:, h] @ outputs[h].T + biases[h], served[:, 0] @ output.T + bias, atol=1e-4)


def test_adam_moves_a_row_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(2)
    tables = ProductTables(4, generator)
    tables.grow_to(3)
    reference = tables.values["input"][:3].clone().requires_grad_()
    optimizer = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.1)
    for step in range(1, 6):
        rows = tables.gather(None)
        (rows.values["input"] ** 3).sum().backward()
        tables.adam(rows, step, learning_rate=0.01, weight_decay=0.1)
        optimizer.zero_grad()
        (reference**3).sum().backward()
        optimizer.step()
    assert torch.allclose(tables.values["input"][:3], reference.detach(), rtol=1e-3)


def test_tables_keep_what_they_hold_when_they_grow() -> None:
    tables = ProductTables(4, torch.Generator().manual_seed(2), capacity=2)
    tables.grow_to(2)
    before = tables.values["output.q"][:2].clone()
    tables.grow_to(9)
    assert torch.equal(tables.values["output.q"][:2], before)
    assert bool((tables.values["output.q"][:9].abs().sum(dim=1) > 0).all())
    restored = ProductTables(4, torch.Generator().manual_seed(9), capacity=2)
    restored.restore(tables.to_tensors())
    assert restored.size == 9
    assert torch.equal(restored.values["output.q"][:9], tables.values["output.q"][:9])
    with pytest.raises(KeyError):
        restored.restore({})
