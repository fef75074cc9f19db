"""Learning what each expert counts: one event by hand, what contexts borrow, which blend leads, and how soon."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.model.mixture import CONTEXTS, DEFAULT, EXPERTS, ITSELF, NEXT, POPULARITY, SESSIONS, TOGETHER
from shared.model.session_neighbours import LAGS
from shared.policies.freshet.weights import BLENDS, BORROWED, BORROWED_GAINS, MEMBERS, MEMORY, PRIOR, ExpertWeights

FloatArray = NDArray[np.float32]
KEPT = 1.0 - 1.0 / MEMORY
NOTHING = np.zeros(0, np.int32)
A_CONTEXT, ANOTHER = 5, 9
TURNED_OVER = 1 + int(MEMORY * np.log(2.0))  # events that outweigh any number before them


def lag(relation: int, n: int) -> int:
    """An expert's place: a relation beside the event n before the newest."""
    return POPULARITY + relation * LAGS + n


def shares(**of: float | dict[int, float]) -> NDArray[np.float64]:
    """How probable each expert held a product."""
    result = np.zeros(EXPERTS)
    for name, value in of.items():
        if isinstance(value, dict):
            relation = {"following": NEXT, "together": TOGETHER, "itself": ITSELF}[name]
            for n, share in value.items():
                result[lag(relation, n)] = share
        else:
            result[slice(0, POPULARITY) if name == "popularity" else SESSIONS] = value
    return result


def test_before_any_event_the_default_is_served_where_there_is_a_history() -> None:
    weights = ExpertWeights()
    assert weights.served()[1:] == pytest.approx(DEFAULT[1:])
    assert weights.served()[0, :POPULARITY] == pytest.approx(1.0 / POPULARITY), "each half-life alike"
    assert not weights.served()[0, POPULARITY:].any()


def test_one_event_is_shared_out_by_how_probable_each_expert_held_it() -> None:
    weights = ExpertWeights()
    before = weights.mixed(A_CONTEXT)
    held = shares(popularity=0.1, following={0: 0.4}, itself={0: 1.0}, sessions=0.3)
    weights.note(held, LAGS, A_CONTEXT)
    taken = before * held / (before @ held)
    # In all contexts together `PRIOR` events are in, all forgotten a little; here none, and `BORROWED` are lent.
    everywhere = PRIOR * KEPT * before + taken
    here = taken + BORROWED * everywhere / everywhere.sum()
    assert weights.mixed(A_CONTEXT) == pytest.approx(here / here.sum())
    assert weights.mixed(A_CONTEXT)[lag(ITSELF, 0)] > before[lag(ITSELF, 0)]
    assert weights.served()[A_CONTEXT] == pytest.approx(weights.mixed(A_CONTEXT), rel=1e-5)
    unchanged = weights.to_arrays()
    weights.note(np.zeros(EXPERTS), LAGS, A_CONTEXT)  # nobody held it possible: nothing is learned
    assert all(np.array_equal(array, unchanged[name]) for name, array in weights.to_arrays().items())


def test_the_weights_move_to_the_expert_that_tells_the_truth_and_forget_what_was_long_ago() -> None:
    weights = ExpertWeights()
    for _ in range(3000):
        weights.note(shares(popularity=0.01, following={1: 0.2}), LAGS, A_CONTEXT)
    assert weights.mixed(A_CONTEXT)[lag(NEXT, 1)] > 0.8
    assert weights.mixed(A_CONTEXT).sum() == pytest.approx(1.0)
    assert weights.shares()["next"] > 0.8
    for _ in range(8000):
        weights.note(shares(popularity=0.1, following={1: 0.001}), LAGS, A_CONTEXT)
    assert weights.mixed(A_CONTEXT)[:POPULARITY].sum() > 0.9
    assert weights.shares()["popularity"] > 0.9
    assert sum(weights.shares().values()) == pytest.approx(1.0)


def test_what_is_watched_is_what_is_served_by_the_events_of_each_context() -> None:
    weights = ExpertWeights()
    assert weights.shares()["next"] == pytest.approx(DEFAULT[1, POPULARITY : POPULARITY + LAGS].sum(), rel=1e-5)
    for _ in range(3000):
        weights.note(shares(following={0: 0.2}), LAGS, A_CONTEXT)
    for _ in range(100):
        weights.note(shares(sessions=0.2), LAGS, ANOTHER)
    assert weights.shares()["next"] > 10 * weights.shares()["sessions"] > 0.1
    before = weights.shares()["sessions"]
    weights.note_ranked(members_with(MEMBERS - 1), 0, NOTHING, A_CONTEXT)
    assert weights.leading(A_CONTEXT) != 0
    assert weights.shares()["sessions"] > 2 * before, "the blend that leads turns the others down"
    assert sum(weights.shares().values()) == pytest.approx(1.0)


def test_a_short_history_says_nothing_of_what_longer_ones_hold() -> None:
    weights = ExpertWeights()
    beyond = weights.mixed(A_CONTEXT).reshape(-1)[POPULARITY:SESSIONS].reshape(-1, LAGS)[:, 1:].copy()
    for _ in range(2000):
        weights.note(shares(popularity=0.1, following={0: 0.4}), 1, A_CONTEXT)
    now = weights.mixed(A_CONTEXT)
    assert now[POPULARITY:SESSIONS].reshape(-1, LAGS)[:, 1:] == pytest.approx(beyond)
    assert now[lag(NEXT, 0)] > 10 * now[lag(TOGETHER, 0)]
    assert now[SESSIONS] < 0.001, "sessions were possible, and held it impossible"


def test_a_context_borrows_from_all_with_a_history_until_it_knows_better() -> None:
    weights = ExpertWeights()
    nobody = weights.mixed(0)
    for _ in range(5000):
        weights.note(shares(following={0: 0.5}), LAGS, A_CONTEXT)
    assert weights.mixed(ANOTHER)[lag(NEXT, 0)] > 0.9, "of which no event came"
    assert weights.mixed(0) == pytest.approx(nobody), "where there is no history, popularity alone counts"
    for _ in range(1000):
        weights.note(shares(sessions=0.5), LAGS, ANOTHER)
    assert weights.mixed(ANOTHER)[SESSIONS] > 0.8
    assert weights.mixed(A_CONTEXT)[lag(NEXT, 0)] > 0.8
    only_first = np.zeros(EXPERTS)
    only_first[2] = 0.5
    for _ in range(1000):
        weights.note(only_first, 0, 0)
    assert weights.mixed(0)[2] > 0.85
    assert not weights.mixed(0)[POPULARITY:].any()
    assert weights.mixed(ANOTHER)[SESSIONS] > 0.8, "newcomers say nothing of those with a history"


def test_blends_leave_all_as_they_are_turn_some_down_or_leave_one_alone() -> None:
    assert BLENDS.shape[1] == MEMBERS
    assert BLENDS[0].tolist() == [1.0] * MEMBERS
    assert len({blend.tobytes() for blend in BLENDS}) == len(BLENDS)
    assert (BLENDS > 0.0).all(), "what one expert ties, the others may order"
    alone = [set(np.flatnonzero(blend >= 100 * blend.min()).tolist()) for blend in BLENDS]
    for member in range(MEMBERS):
        assert {member} in alone, "each member leads one blend nearly alone"


def members_with(best: int, products: int = 30) -> FloatArray:
    """Members that rank product 0 last, but for one, which ranks it first."""
    members = np.tile(np.linspace(0.1, 1.0, products, dtype=np.float32) / 10, (MEMBERS, 1))
    members[best] = members[best, ::-1]
    return members


def test_the_leading_blend_is_served_in_its_context_and_lends_its_lead_to_others() -> None:
    weights = ExpertWeights()
    weights.note_ranked(members_with(POPULARITY), 0, NOTHING, A_CONTEXT)
    leading = weights.leading(A_CONTEXT)
    assert leading != 0
    assert BLENDS[leading, POPULARITY] > 10 * BLENDS[leading, POPULARITY + 1]
    served, mixed = weights.served()[A_CONTEXT], weights.mixed(A_CONTEXT)
    spread = BLENDS[leading][[*range(POPULARITY), *np.arange(3).repeat(LAGS) + POPULARITY, MEMBERS - 1]]
    assert served == pytest.approx(mixed * spread, rel=1e-5)
    assert weights.leading(ANOTHER) == leading
    assert weights.leading(0) == 0, "no history, nothing to lend"
    for _ in range(int(BORROWED_GAINS) + 1):
        weights.note_ranked(members_with(MEMBERS - 1), 0, NOTHING, ANOTHER)
    assert BLENDS[weights.leading(ANOTHER), MEMBERS - 1] > 10 * BLENDS[weights.leading(ANOTHER), POPULARITY]


@pytest.mark.parametrize("best", range(MEMBERS))
@pytest.mark.parametrize("events", [0, 3000])
def test_an_expert_alone_that_is_ahead_leads_before_long(best: int, events: int) -> None:
    """The regret is bounded: all that came before is halved after MEMORY · ln 2 events, 1,387, so these outweigh it."""
    weights = ExpertWeights()
    other = (best + 1) % MEMBERS
    for _ in range(events):  # another one was ahead for long
        weights.note_ranked(members_with(other), 0, NOTHING, A_CONTEXT)
    regret = 0.0
    for _ in range(TURNED_OVER):
        weights.note_ranked(members_with(best), 0, NOTHING, A_CONTEXT)
        served = BLENDS[weights.leading(A_CONTEXT)] @ members_with(best)
        place = 1 + int((served > served[0]).sum())
        regret += 1.0 - (1.0 / np.log2(1.0 + place) if place <= 10 else 0.0)
    served = BLENDS[weights.leading(A_CONTEXT)] @ members_with(best)
    assert served.argmax() == 0, "what it ranks first is first"
    assert regret <= (0.0 if not events else 0.9 * TURNED_OVER)


def test_masked_products_do_not_count_for_a_blend() -> None:
    gains = {}
    for masked in (NOTHING, np.arange(1, 30, dtype=np.int32)):
        weights = ExpertWeights()
        weights.note_ranked(members_with(POPULARITY), 0, masked, A_CONTEXT)
        gains[len(masked)] = weights.to_arrays()["gains"][A_CONTEXT]
    assert gains[0].min() == 0.0
    assert gains[29].tolist() == [1.0] * len(BLENDS)


def test_it_goes_on_from_what_it_kept_bit_for_bit() -> None:
    rng = np.random.default_rng(4)

    def learn(weights: ExpertWeights, events: int) -> None:
        for _ in range(events):
            context, length = int(rng.integers(0, CONTEXTS)), int(rng.integers(0, LAGS + 1))
            weights.note(rng.random(EXPERTS) * (rng.random(EXPERTS) < 0.3), length if context else 0, context)
            weights.note_ranked(rng.random((MEMBERS, 12), np.float32), int(rng.integers(12)), NOTHING, context)

    whole, again = ExpertWeights(), ExpertWeights()
    learn(whole, 200)
    kept = whole.to_arrays()
    again.restore(kept)
    state = rng.bit_generator.state
    for weights in (whole, again):
        rng.bit_generator.state = state
        learn(weights, 200)
    assert whole.served().tobytes() == again.served().tobytes()
    for name, array in whole.to_arrays().items():
        assert array.tobytes() == again.to_arrays()[name].tobytes()
        assert array.tobytes() != kept[name].tobytes(), "a checkpoint shares nothing with what goes on"
