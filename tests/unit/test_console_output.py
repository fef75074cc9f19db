"""What the demo shows: moves, progress, histories, verdicts, ways to call."""

from __future__ import annotations

import io
import json
import math
import shlex
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.console import howto, progress, reviews, verdict
from services.console.moves import left, moves
from services.console.people import Person, choose
from services.console.scrape import parse
from services.console.shop import Change
from services.console.terminal import PLAIN_COLUMNS, Terminal, cut
from shared.pb.freshet.v1 import events_pb2 as events
from shared.pb.freshet.v1 import recommender_pb2 as pb


def test_moves_say_how_far_each_product_went() -> None:
    assert moves(["a", "b", "c", "d"], ["c", "b", "x", "a"]) == ["▲2", "=", "new", "▼3"]
    assert left(["a", "b", "c", "d"], ["c", "b", "x", "a"]) == ["d"]


@given(st.permutations(list("abcdefghij")), st.permutations(list("abcdefghij")))
def test_moves_cancel_out_when_nobody_enters(before: list[str], after: list[str]) -> None:
    steps = {"▲": 1, "▼": -1}
    assert sum(steps[move[0]] * int(move[1:]) for move in moves(before, after) if move != "=") == 0


def test_the_progress_line_fits_and_names_what_it_shows() -> None:
    replay = {
        "freshet_replay_events_total": 1_234_567.0,
        "freshet_replay_progress_ratio": 0.3712,
        "freshet_replay_event_time_seconds": 1_300_000_000.0,
        "freshet_replay_behind_seconds": 0.2,
    }
    trainer = {
        "freshet_trainer_steps_total": 154_320.0,
        "freshet_trainer_loss": 5.43219,
        "freshet_trainer_mean_max_q": -0.41678,
        "freshet_trainer_epsilon": 0.6123,
    }
    line = progress.line(replay, trainer, 201.4)
    assert line == (
        "   37%  1,234,567 events    201/s  2011-03-13 │ learner: 154,320 steps  loss 5.432  mean max-Q -0.417  ε 0.61"
    )
    assert len(line) <= PLAIN_COLUMNS
    late = replay | {"freshet_replay_behind_seconds": 12.3}
    assert "  2011-03-13  12 s behind │ learner: " in progress.line(late, trainer, 0.0, 130)
    assert "  12 s late │ learner " in progress.line(late, trainer, 0.0, PLAIN_COLUMNS)


def test_the_progress_line_before_anything_flows() -> None:
    assert progress.line({}, {}, 0.0) == "  replay: reading the file │ learner: collecting its first events"


@given(
    steps=st.integers(1, 9_999_000),
    rate=st.floats(0, 300_000),
    behind=st.floats(0, 999),
    loss=st.floats(0, 99),
    q=st.floats(-9.99, 9.99),
)
@example(steps=9_999_000, rate=9999.0, behind=999.0, loss=99.0, q=-9.99)
def test_on_eighty_columns_the_line_is_whole(steps: int, rate: float, behind: float, loss: float, q: float) -> None:
    replay = {
        "freshet_replay_events_total": 9_000_000.0,
        "freshet_replay_progress_ratio": 1.0,
        "freshet_replay_event_time_seconds": 1_300_000_000.0,
        "freshet_replay_behind_seconds": behind,
    }
    trainer = {
        "freshet_trainer_steps_total": float(steps),
        "freshet_trainer_loss": loss,
        "freshet_trainer_mean_max_q": q,
        "freshet_trainer_epsilon": 0.61,
    }
    line = progress.line(replay, trainer, rate, progress.SHORT)
    assert len(line) <= progress.SHORT == 79
    assert line.endswith(f"maxQ {q:.2f}  ε 0.61")


def test_the_short_line_names_the_same() -> None:
    replay = {
        "freshet_replay_events_total": 600.0,
        "freshet_replay_progress_ratio": 0.05,
        "freshet_replay_event_time_seconds": 1_300_000_000.0,
    }
    trainer = {
        "freshet_trainer_steps_total": 63.0,
        "freshet_trainer_loss": 5.014,
        "freshet_trainer_mean_max_q": 0.7,
        "freshet_trainer_epsilon": 0.45,
    }
    told = "learner 63 steps  loss 5.01  maxQ 0.70  ε 0.45"
    assert progress.line(replay, trainer, 201.4, 79) == f"   5%  201/s  2011-03 │ {told}"
    late = replay | {"freshet_replay_behind_seconds": 12.3}
    assert progress.line(late, trainer, 12_345.0, 109) == f"   5%  12k/s  12 s late │ {told}"
    done = replay | {"freshet_replay_done": 1.0}
    assert progress.line(done, trainer | {"freshet_trainer_applied_events_total": 600.0}, 0.0, 79) == (
        f"  replay done │ {told}"
    )
    assert progress.line(done, trainer | {"freshet_trainer_applied_events_total": 222.0}, 0.0, 79) == (
        f"  all sent, 37% learned │ {told}"
    )
    assert progress.line(done, {}, 0.0) == "  all sent, 0% learned │ learner: collecting its first events"


def test_the_rate_is_of_the_last_seconds() -> None:
    rate = progress.Rate()
    assert rate.at(0.0, 0) == 0.0
    assert rate.at(1.0, 100) == pytest.approx(100.0)
    for second in range(2, 10):
        rate.at(float(second), 100)
    assert rate.at(10.0, 100) == 0.0


def test_a_version_that_goes_live_tells_what_it_learned() -> None:
    version = events.ModelVersion(version_id="000000004000-1a2b3c4d", applied_events=4000)
    version.metrics.update({"validation_ndcg_at_10": 0.1417, "validation_ndcg_at_10_popularity": 0.0712})
    assert progress.gone_live(version) == (
        "  ● model 000000004000-1a2b3c4d is live: learned from 4,000 events, "
        "validation NDCG@10 0.142 (popularity alone 0.071)"
    )
    del version.metrics["validation_ndcg_at_10"], version.metrics["validation_ndcg_at_10_popularity"]
    assert progress.gone_live(version).endswith("validation NDCG@10 -")


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
    text = "\n".join(verdict.lines(judged(0.21, 0.07), 1500))
    assert "1,000 events judged" in text
    assert "900 of them (90%) by a learned version" in text
    assert "31 were of a product not known before" in text
    assert "Left out are 12 events" in text
    assert "the learned policy's NDCG@10 is 3.00 times that of trending and 1.50 times that of markov." in text
    assert "ahead" not in text
    row = next(line for line in text.splitlines() if "judged by a learned version" in line and "0." in line)
    assert row.split()[-6:] == ["0.4200", "0.1400", "0.2800", "0.2100", "0.0700", "0.1400"]
    assert "\n  the last 1,500 judged  " in text


def test_the_verdict_names_what_else_was_left_out() -> None:
    figures = judged(0.21, 0.07) | {
        "freshet_evaluator_guest_events_total": 1350.0,
        "freshet_evaluator_late_total": 3.0,
        "freshet_evaluator_unwanted_events_total": 0.0,
    }
    assert "  So are events that nothing can be asked of: 1,350 of guests, 3 late." in verdict.lines(figures, 1500)
    assert not [line for line in verdict.lines(judged(0.21, 0.07), 1500) if "So are" in line]


def test_the_verdict_admits_who_is_ahead() -> None:
    both, markov, trending = (
        "\n".join(verdict.lines(judged(*values), 2000))
        for values in ((0.05, 0.07, 0.1), (0.1, 0.07, 0.2), (0.1, 0.2, 0.1))
    )
    assert "0.71 times that of trending and 0.50 times that of markov" in both
    assert "Trending is ahead" in both and "Markov is ahead" in both
    assert "Markov is ahead" in markov and "Trending is ahead" not in markov
    assert "Trending is ahead" in trending and "Markov is ahead" not in trending


def test_the_verdict_divides_by_nothing() -> None:
    assert "is 0.1000 beside 0 of trending and 1.00 times that of markov." in "".join(
        verdict.lines(judged(0.1, 0.0, 0.1), 9)
    )


def test_the_verdict_compares_nothing_without_a_learned_version() -> None:
    assert "nothing to compare" in verdict.lines(judged(math.nan, math.nan, by_learned=0), 2000)[-1]
    assert verdict.lines({}, 2000) == ["  The evaluator has not judged any event yet."]


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
    words = shlex.split(howto.grpcurl("127.0.0.1:50051", user))
    assert json.loads(words[words.index("-d") + 1]) == {"user_id": user, "count": 5}
    assert words[-2:] == ["127.0.0.1:50051", "freshet.v1.RecommenderService/Recommend"]
    code = howto.snippet("python", "127.0.0.1:50051", user).split("<<'EOF'\n")[1].removesuffix("EOF")
    compile(code, "snippet", "exec")
    assert json.dumps(user) in code
    called, url = shlex.split(howto.curl("http://127.0.0.1:8080/", user))
    path = urlsplit(url).path
    assert (called, path.count("/")) == ("curl", 4)
    assert unquote(path.split("/")[3]) == user


def test_metrics_are_read_with_their_labels() -> None:
    text = '# TYPE a_total counter\na_total 3.0\n# TYPE b gauge\nb{z="1",k="x"} 0.5\n'
    assert parse(text) == {"a_total": 3.0, 'b{k="x",z="1"}': 0.5}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_gets_whole_status_lines_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    terminal = Terminal(stream, clock)
    for tick in range(10):
        clock.now = tick * 0.5
        terminal.status(f"at {clock.now}")
    terminal.say("done")
    assert stream.getvalue() == "at 0.0\nat 3.0\ndone\n"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_rewrites_its_status_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Screen()
    terminal = Terminal(stream, Clock())
    terminal.status("a longer one")
    terminal.status("short")
    terminal.say("done")
    assert stream.getvalue() == "\ra longer one\rshort       \r     \rdone\n"


def test_the_status_line_keeps_off_the_terminals_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Screen()
    terminal = Terminal(stream, Clock())
    terminal.status("x" * 90)
    assert stream.getvalue() == "\r" + "x" * 79
    assert terminal.status_columns == 79
    assert Terminal(io.StringIO(), Clock()).status_columns == PLAIN_COLUMNS


def test_text_is_cut_to_one_line() -> None:
    assert cut("two\n words", 20) == "two words"
    assert cut("abcdefgh", 5) == "abcd…"
