"""What the demo shows: moves, progress, histories, verdicts, ways to call."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.demo import demo, reviews, verdict
from services.demo import stream as progress
from services.demo.demo import how_long, where_to_call
from services.demo.reviews import Person, choose, left, moves, share_of_single
from services.embedded.running import Change
from services.embedded.system import plan
from shared.pb.freshet.v1 import events_pb2 as events
from shared.pb.freshet.v1 import recommender_pb2 as pb


def test_moves_say_how_far_each_product_went() -> None:
    assert moves(["a", "b", "c", "d"], ["c", "b", "x", "a"]) == ["▲2", "=", "new", "▼3"]
    assert left(["a", "b", "c", "d"], ["c", "b", "x", "a"]) == ["d"]


@given(st.permutations(list("abcdefghij")), st.permutations(list("abcdefghij")))
def test_moves_cancel_out_when_nobody_enters(before: list[str], after: list[str]) -> None:
    steps = {"▲": 1, "▼": -1}
    assert sum(steps[move[0]] * int(move[1:]) for move in moves(before, after) if move != "=") == 0


def sent(events: float, share: float, *, done: bool = False) -> dict[str, float]:
    figures = {"freshet_replay_events_total": events, "freshet_replay_progress_ratio": share}
    return figures | ({"freshet_replay_done": 1.0} if done else {})


def test_the_progress_line_says_how_far_it_is_and_what_is_left() -> None:
    line = progress.line(sent(4_440, 0.3712), 4_100, 4, 47.6)
    assert line == "   37% sent, about 48 s left, 4,440 events, 4,100 learned, 4 versions live"
    assert progress.line(sent(600, 0.05), 0, 1, None) == "    5% sent, 600 events, 0 learned, 1 version live"
    ahead = progress.line(sent(4_413, 0.88), 4_423, 4, None)  # read a moment later
    assert ahead == "   88% sent, 4,413 events, 4,413 learned, 4 versions live"
    assert progress.line({}, 0, 0, None) == "  Reading the file …"
    done = sent(12_000, 1.0, done=True)
    assert progress.line(done, 11_000, 11, 5.0) == (
        "  all sent, about 5 s left, 12,000 events, 11,000 learned, 11 versions live"
    )
    assert (
        progress.line(done, 12_000, 12, 0.0)
        == "  all sent and learned, 12,000 events, 12,000 learned, 12 versions live"
    )


@given(
    events=st.integers(1, 99_000_000),
    share=st.floats(0, 1),
    versions=st.integers(0, 99_999),
    left=st.floats(0, 1e6),
    width=st.integers(20, 200),
)
@example(events=99_000_000, share=1.0, versions=99_999, left=7199.0, width=79)
def test_the_progress_line_fits(events: int, share: float, versions: int, left: float, width: int) -> None:
    line = progress.line(sent(events, share), events, versions, left, width)
    assert len(line) <= width
    assert "% sent" in line


def test_what_is_left_goes_by_the_slower_of_the_replay_and_the_learner() -> None:
    half = sent(500, 0.5)  # 1,000 in all
    assert progress.left_seconds(half, 500, 50.0, 100.0, 60.0) == pytest.approx(10.0)
    assert progress.left_seconds(half, 100, 50.0, 30.0, 60.0) == pytest.approx(30.0)  # 900 of 30 a second
    assert progress.left_seconds(half, 100, 50.0, 1.0, 60.0) == pytest.approx(70.0), "the learner is waited for 60 s"
    assert progress.left_seconds(half, 0, 50.0, 0.0, 60.0) == pytest.approx(70.0)
    done = sent(1000, 1.0, done=True)
    assert progress.left_seconds(done, 900, 0.0, 10.0, 60.0) == pytest.approx(10.0)
    assert progress.left_seconds(done, 900, 0.0, 10.0, 4.0) == pytest.approx(4.0)
    assert progress.left_seconds(done, 1000, 0.0, 0.0, 60.0) in (0.0, 60.0)
    assert progress.left_seconds({}, 0, 0.0, 0.0, 60.0) is None
    assert progress.left_seconds(sent(1, 0.001), 0, 9.0, 9.0, 60.0) is None, "too early to tell"


def test_times_are_for_people() -> None:
    assert [progress.lasting(seconds) for seconds in (0.4, 60.0, 119.0, 120.0, 7199.0, 7200.0)] == [
        "0 s", "60 s", "119 s", "2 min", "120 min", "2 h",
    ]  # fmt: skip


def test_the_rate_is_of_the_last_seconds() -> None:
    rate = progress.Rate()
    assert rate.at(0.0, 0) == 0.0
    assert rate.at(1.0, 100) == pytest.approx(100.0)
    for second in range(2, 20):
        rate.at(float(second), 100)
    assert rate.at(20.0, 100) == 0.0


def version(
    events_learned: int, ndcg: float = math.nan, popularity: float = math.nan, of_counts: float = math.nan
) -> events.ModelVersion:
    made = events.ModelVersion(version_id=f"{events_learned:012}-1a2b3c4d", applied_events=events_learned)
    if not math.isnan(ndcg):
        made.metrics.update({"validation_ndcg_at_10": ndcg, "validation_ndcg_at_10_popularity": popularity})
    if not math.isnan(of_counts):
        made.metrics["score_share_mixture"] = of_counts
    return made


def test_versions_are_listed_with_what_they_learned() -> None:
    head, first, second = progress.of_versions([version(1000), version(2000, 0.1417, 0.0712, of_counts=0.75)])
    assert head.split() == ["version", "learned", "from", "NDCG@10", "popularity", "network"]
    assert first.split() == ["000000001000-1a2b3c4d", "1,000", "events", "-", "-", "-"]
    assert second.split() == ["000000002000-1a2b3c4d", "2,000", "events", "0.142", "0.071", "25%"]
    many = progress.of_versions([version(n) for n in range(1, 101)])
    assert [line.split()[1] for line in many[1:]] == ["1", "26", "51", "75", "100"], "the first and the last among them"
    assert all(len(line) <= 80 for line in many)


def test_the_learner_says_how_it_stands() -> None:
    figures = {
        "freshet_trainer_steps_total": 154_320.0,
        "freshet_trainer_loss": 5.43219,
        "freshet_trainer_mean_max_q": -0.41678,
        "freshet_trainer_epsilon": 0.6123,
    }
    assert progress.of_learner(figures) == ("  The learner made 154,320 steps: loss 5.432, mean max-Q -0.417, ε 0.61.")
    assert progress.of_learner({}) == ""


def judged(learned: float, trending: float, markov: float = 0.14, *, by_learned: int = 900) -> dict[str, float]:
    figures = {
        "freshet_evaluator_judged_events_total": 1000.0,
        "freshet_evaluator_learned_events_total": by_learned,
        "freshet_evaluator_unknown_products_total": 31.0,
        "freshet_evaluator_masked_events_total": 12.0,
    }
    for window in ("all", "learned", "recent"):
        for policy, value in (("learned", learned), ("trending", trending), ("markov", markov)):
            figures[f'freshet_evaluator_hit_ratio{{k="10",policy="{policy}",window="{window}"}}'] = 2 * value
            figures[f'freshet_evaluator_ndcg_ratio{{k="10",policy="{policy}",window="{window}"}}'] = value
    return figures


def test_the_verdict_names_the_share_that_a_learned_version_judged() -> None:
    lines = verdict.lines(judged(0.21, 0.07), 1500)
    text = "\n".join(lines)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "1,000 events judged, 900 of them (90%) by a learned version" in text
    assert "31 were of a product not known before" in text
    assert "Left out are 12 events" in text
    assert "On these 900 events, the learned policy's NDCG@10 is" in text
    assert "\n  3.00 times that of trending and\n  1.50 times that of markov." in text
    assert "ahead" not in text and "had not yet learned" not in text
    rows = [line.split() for line in lines if line.count("0.") == 6]
    assert [row[:-7] for row in rows] == [["by", "a", "version"], ["as", "served"], ["the", "last"]]
    assert [row[-7] for row in rows] == ["900", "1,000", "1,000"], "no more recent ones than were judged"
    assert rows[0][-6:] == ["0.4200", "0.1400", "0.2800", "0.2100", "0.0700", "0.1400"]


def test_the_verdict_names_what_else_was_left_out() -> None:
    figures = judged(0.21, 0.07) | {
        "freshet_evaluator_guest_events_total": 1350.0,
        "freshet_evaluator_late_total": 3.0,
        "freshet_evaluator_unwanted_events_total": 0.0,
    }
    assert "  So are events that can't be judged: 1,350 of guests, 3 late." in verdict.lines(figures, 1500)
    assert not [line for line in verdict.lines(judged(0.21, 0.07), 1500) if "So are" in line]


def test_the_verdict_admits_who_is_ahead() -> None:
    both, markov, trending = (
        "\n".join(verdict.lines(judged(*values), 2000))
        for values in ((0.05, 0.07, 0.1), (0.1, 0.07, 0.2), (0.1, 0.2, 0.1))
    )
    assert "0.71 times that of trending and\n  0.50 times that of markov" in both
    assert "Trending is ahead" in both and "Markov is ahead" in both
    assert "Markov is ahead" in markov and "Trending is ahead" not in markov
    assert "Trending is ahead" in trending and "Markov is ahead" not in trending


def test_the_verdict_divides_by_nothing() -> None:
    assert "0.1000 beside 0 of trending and\n  1.00 times that of markov." in "".join(
        verdict.lines(judged(0.1, 0.0, 0.1), 9)
    )


def test_the_verdict_compares_nothing_without_a_learned_version() -> None:
    assert "nothing to compare" in verdict.lines(judged(math.nan, math.nan, by_learned=0), 2000)[-1]
    assert verdict.lines({}, 2000) == ["  The evaluator has not judged any event yet."]


def test_the_verdict_of_a_learner_that_fell_behind_says_so_and_compares_no_handful() -> None:
    text = "\n".join(verdict.lines(judged(0.21, 0.07, by_learned=99), 2000, unlearned=700))
    assert "The learner had not yet learned 700 events" in text
    assert "A version has judged only 99 events: too few to compare" in text
    assert "times that of" not in text
    assert "times that of" in "\n".join(verdict.lines(judged(0.21, 0.07, by_learned=100), 2000, unlearned=700))


def test_a_line_of_history_shows_day_stars_sentiment_and_title() -> None:
    event = pb.HistoryEvent(
        kind=events.EVENT_KIND_REVIEW, product_id="B000", event_time_ms=1_300_000_000_000, rating=4.0, sentiment=-0.5
    )
    assert reviews.history_line(event, {"B000": "Capo  for\nguitars"}, 80) == (
        "2011-03-13  ★★★★☆  sentiment -0.50  Capo for guitars"
    )
    event.rating = event.sentiment = 0.0
    assert reviews.history_line(event, {}, 80) == "2011-03-13  -----  sentiment +0.00  B000"
    event.kind = events.EVENT_KIND_PURCHASE
    assert reviews.history_line(event, {}, 80) == "2011-03-13  purchase   B000"


def change(before: str, after: str, *, version: str = "v1") -> Change:
    def answer(products: str, version: str) -> pb.RecommendResponse:
        listed = [pb.RecommendedProduct(product_id=product) for product in products]
        return pb.RecommendResponse(products=listed, model_version=version, strategy=pb.STRATEGY_LEARNED)

    return Change(answer(before, "v1"), answer(after, version), events.LogPosition(), 0.01)


def test_both_rankings_stand_side_by_side() -> None:
    lines = reviews.table(change("abc", "bax"), {"a": "A very long title " * 9}, 100)
    assert all(len(line) <= 100 for line in lines)
    assert [line.split()[-1] for line in lines[1:4]] == ["▲1", "▼1", "new"]
    assert lines[4].strip() == "Left the first 3: c"


def test_products_that_read_alike_carry_their_ids() -> None:
    long = "A very long title " * 9
    titles = {"a": "Capo", "b": "Capo", "c": "Strap", "d": f"{long} one", "e": f"{long} two"}
    lines = reviews.table(change("abcd", "bced"), titles, 100)
    assert all(len(line) <= 100 for line in lines)
    assert lines[1].split() == ["1", "Capo", "[a]", "Capo", "[b]", "▲1"]
    assert lines[3].count("[") == 1, "only the two with one beginning"
    assert "… [d] " in lines[4]
    assert lines[2].split()[-2:] == ["Strap", "▲1"]
    assert lines[5].strip() == "Left the first 4: Capo [a]"
    assert reviews.names(["a", "a", "c"], titles, 20) == {"a": "Capo", "c": "Strap"}


def explained(*scores: tuple[float, float], reviewed: float | None = None) -> pb.RecommendResponse:
    """Products with what popularity and their sequence add; `reviewed`: what the review of "r" adds to the latter."""
    answer = pb.RecommendResponse(strategy=pb.STRATEGY_LEARNED)
    for popularity, sequence in scores:
        product = answer.products.add(product_id="p", score=popularity + sequence)
        product.reasons.add(part=pb.PART_TRENDING, score=popularity)
        reason = product.reasons.add(part=pb.PART_SEQUENCE, score=sequence)
        reason.events.add(product_id="other", score=0.4)
        if reviewed is not None:
            reason.events.add(product_id="r", score=-reviewed)
    return answer


def test_a_list_that_does_not_move_says_why() -> None:
    trending = pb.RecommendResponse(strategy=pb.STRATEGY_TRENDING, fallback=pb.FALLBACK_NO_MODEL)
    assert "Popularity ranks here" in reviews.why_unmoved(trending, "r", 0.1)[0]
    counted = explained((1.0, 5.0), (2.0, 0.2))
    counted.strategy, counted.fallback = pb.STRATEGY_COUNTED, pb.FALLBACK_NO_MODEL
    assert "not among the events that count most" in reviews.why_unmoved(counted, "r", 0.1)[0]
    by_popularity = reviews.why_unmoved(explained((3.0, 0.1), (2.0, 0.2), reviewed=0.01), "r", 0.94)
    assert by_popularity[0].startswith("Popularity alone gives the same order")
    assert by_popularity[1].startswith("94% of the users have one event only")
    assert reviews.why_unmoved(explained((1.0, 5.0), (2.0, 0.2), reviewed=0.0123), "r", 0.1) == [
        "The review adds 0.012 to a score at most, less than what lies between two places."
    ]
    assert "not among the events that count most" in reviews.why_unmoved(explained((1.0, 5.0), (2.0, 0.2)), "r", 0.1)[0]


def test_how_many_users_have_one_event() -> None:
    known = {name: Person(name, count, 1) for name, count in (("a", 1), ("b", 1), ("c", 3), ("d", 1))}
    assert share_of_single(known) == 0.75
    assert share_of_single({}) == 0.0


def test_it_says_when_nothing_moved_and_when_the_model_changed() -> None:
    assert reviews.table(change("abc", "abc"), {}, 100)[-1].strip() == "No place changed."
    assert "not every move is the review's" in reviews.table(change("abc", "bac", version="v2"), {}, 100)[-1]


def test_users_with_a_history_come_first_and_always_the_same() -> None:
    people = {name: Person(name, count, newest) for name, count, newest in
              (("a", 9, 5), ("b", 2, 9), ("c", 3, 7), ("d", 4, 7), ("e", 3, 7))}  # fmt: skip
    assert [person.user_id for person in choose(people, 3)] == ["d", "c", "e"]
    assert len(choose(people, 9)) == 4


def test_the_ways_to_call_survive_any_user_id() -> None:
    user = """O'Brien "the $HOME" `x` \\ ü"""
    words = shlex.split(demo.grpcurl("127.0.0.1:50051", user).replace("\\\n", ""))  # as a shell joins lines
    assert json.loads(words[words.index("-d") + 1]) == {"user_id": user, "wishes": {"count": 5}}
    assert words[-2:] == ["127.0.0.1:50051", "freshet.v1.RecommenderService/Recommend"]
    code = demo.snippet("python", "127.0.0.1:50051", user).split("<<'EOF'\n")[1].removesuffix("EOF")
    compile(code, "snippet", "exec")
    assert json.dumps(user) in code
    called, url = shlex.split(demo.curl("http://127.0.0.1:8080/", user))
    path = urlsplit(url).path
    assert (called, path.count("/")) == ("curl", 4)
    assert unquote(path.split("/")[3]) == user


@pytest.mark.parametrize("kept", [True, False])
def test_where_to_call_fits(kept: bool) -> None:
    system = plan(Path("state"), {})
    lines = "\n".join(where_to_call(system, "A00245B5VXREUJ", kept=kept)).splitlines()
    assert [line for line in lines if len(line) > 80 and sys.executable not in line] == []
    assert f"  Kafka:    {system.bootstrap_servers}" in lines
    assert all(len(line) <= 80 for line in how_long(7199).splitlines())


def test_how_long_it_takes_goes_by_the_replay() -> None:
    assert how_long(60).startswith("  This takes about 2 minutes, of which the replay takes 60 s;")
    assert how_long(86_400).startswith("  This takes about 25 hours, of which the replay takes 24 h;")
