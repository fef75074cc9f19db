"""What a report's figures show is computed as by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from services.lab import report_figures as tables
from services.lab.report import ReportFigure, page
from shared.pb.freshet.v1.events_pb2 import IMPUTED_PRICE, IMPUTED_SENTIMENT, StateVector
from shared.policies.contract import StepReport

DAY_MS = 86_400_000
YEAR_2001, YEAR_2002, YEAR_2003 = (days * DAY_MS for days in (11_323, 11_688, 12_053))


def test_reviews_are_shared_out_by_the_compound_thresholds() -> None:
    scores = [(YEAR_2001, 0.05), (YEAR_2001, 0.049), (YEAR_2002, -0.05), (YEAR_2002, -0.049), (YEAR_2003, 0.9)]
    states = [StateVector(event_time_ms=t, sentiment=s, imputed=[IMPUTED_PRICE]) for t, s in scores]
    states.append(StateVector(event_time_ms=YEAR_2001, imputed=[IMPUTED_SENTIMENT]))  # no text
    table = tables.sentiment_shares(states)
    assert list(table.index) == ["all", "2001", "2002", "2003"]
    assert table.loc["all"].tolist() == pytest.approx([0.4, 0.4, 0.2, 5])
    assert table.loc["2001"].tolist() == pytest.approx([0.5, 0.5, 0.0, 2])
    assert table.loc["2002"].tolist() == pytest.approx([0.0, 0.5, 0.5, 2])
    few = tables.sentiment_shares(states, most_periods=3)
    assert list(few.index) == ["all", "before 2002", "2002", "2003"]
    assert few.loc["before 2002"].tolist() == table.loc["2001"].tolist()
    assert tables.sentiment_shares([]).empty


def test_precision_recall_and_reward_are_those_of_questions_and_of_hits() -> None:
    table = tables.training_table(events(), {1: 1.0, 2: 0.5, 3: -1.0, 4: 0.25}, periods=2)
    rows = {(row.policy, row.events): row for row in table.itertuples()}
    # The first half is one question with two right answers, of which "good" held one and "bad" none.
    assert rows["good", 2].precision == pytest.approx(1 / 10)
    assert rows["good", 2].recall == pytest.approx(1 / 2)
    assert rows["good", 4].precision == pytest.approx((1 / 10 + 0) / 2)
    assert rows["good", 4].recall == pytest.approx(1 / 2)
    assert [rows["good", n].reward for n in (2, 4)] == pytest.approx(
        [1.0, 0.0]
    )  # places 1 and, with a reward of -1, 10
    assert [rows["bad", n].reward for n in (2, 4)] == pytest.approx([0.0, 0.25])
    assert tables.training_table(events(), {}, periods=2)["reward"].isna().all()


def test_rewards_are_the_mean_of_the_seeds() -> None:
    twice = pd.concat([events(), events().assign(seed=8)])
    rewards = {1: 1.0, 2: 0.5, 3: -1.0, 4: 0.25}
    assert tables.training_table(twice, rewards, periods=2).equals(tables.training_table(events(), rewards, periods=2))


def test_accuracy_over_time_is_the_mean_of_each_part_within_its_interval() -> None:
    table = tables.over_time_table(events(), "hr@10", seed=7, periods=2)
    assert table[["policy", "events", "mean"]].values.tolist() == [
        ["good", 2, 0.5], ["good", 4, 0.5], ["bad", 2, 0.0], ["bad", 4, 0.5],
    ]  # fmt: skip
    good = table[(table["policy"] == "good") & (table["events"] == 4)].iloc[0]
    assert (good["low"], good["high"]) == (0.0, 1.0)  # one user has all, the other none
    assert table.equals(tables.over_time_table(events(), "hr@10", seed=7, periods=2))


def test_convergence_is_the_mean_of_the_steps_between_points() -> None:
    steps = [StepReport(0.0, 0.0, td, q) for td, q in ((4.0, 0.0), (2.0, 1.0), (1.0, 2.0), (0.5, 4.0))]
    table = tables.convergence_table(steps, points=2)
    assert table.values.tolist() == [[2.0, 0.5, 3.0], [4.0, 3.0, 0.75]]
    assert len(tables.convergence_table(steps)) == 4


def test_estimates_slices_and_coverage_come_from_the_document() -> None:
    def estimate(mean: float) -> dict[str, dict[str, float]]:
        return {"ndcg@10": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}}

    document = {
        "policies": {"a": estimate(0.2), "b": estimate(0.4)},
        "slices": {"new users": {"events": 3, "policies": {"a": estimate(0.1), "b": estimate(0.3)}}},
        "catalogue": {"a": {"coverage": {"coverage@10": 0.9}}, "b": {"coverage": {"coverage@10": 0.5}}},
    }
    assert tables.estimates(document, "ndcg@10")["policy"].tolist() == ["b", "a"]
    assert tables.coverage_table(document, "ndcg@10")[["policy", "coverage", "mean"]].values.tolist() == [
        ["b", 0.5, 0.4], ["a", 0.9, 0.2],
    ]  # fmt: skip
    assert tables.by_slice(document, ["new users", "lapsed users"], "ndcg@10")[
        ["slice", "events", "policy", "mean"]
    ].values.tolist() == [["new users", 3, "a", 0.1], ["new users", 3, "b", 0.3]]


def test_discounts_are_named_for_what_they_are() -> None:
    curve = [{"step": 100, "reward_per_slate": 0.5}]
    policies = ("trending", "dqn 0", f"dqn {tables.GAMMA}=0.9")
    document: dict[str, dict[str, object]] = {"policies": {policy: {} for policy in policies}}
    document["curves"] = {"dqn 0": curve}
    named = tables.with_gamma(document)
    assert list(named["policies"]) == ["trending", f"dqn {tables.GAMMA} = 0", f"dqn {tables.GAMMA} = 0.9"]
    assert tables.discounts_table(named).values.tolist() == [[f"dqn {tables.GAMMA} = 0", 100, 0.5]]


def test_the_page_holds_each_figure_and_escapes_every_name() -> None:
    drawn = ReportFigure("one", "<One>", "Shows <b>", "file & more", "freshet evaluate '<x>'", b"\x89PNG")
    missing = ReportFigure("two", "Two", "", "", "", None, "Missing: <this>.")
    html = page("Report on <script>", ["a & b"], [drawn, missing], "freshet report <y>")
    for text in (
        "<title>Report on &lt;script&gt;</title>", "a &amp; b", '<section id="one">', "&lt;One&gt;",
        "Shows &lt;b&gt;", "file &amp; more", "freshet evaluate &#x27;&lt;x&gt;&#x27;",
        "data:image/png;base64,iVBORw==",
        '<section id="two">', "Missing: &lt;this&gt;.", "freshet report &lt;y&gt;",
        "prefers-color-scheme: dark",
    ):  # fmt: skip
        assert text in html
    assert "<script" not in html
    assert "http" not in html  # nothing comes from another host


def events() -> pd.DataFrame:
    """Four judged events of two policies: the first two one question, each of the others one of its own."""
    users, questions, products = ["u", "u", "u", "v"], [0, 0, 1, 2], ["a", "b", "c", ""]
    places = {"good": [1.0, 11.0, 10.0, math.inf], "bad": [math.inf, 40.0, 11.0, 3.0]}
    frames = [
        pd.DataFrame(
            {
                "sequence": [1, 2, 3, 4], "user": users, "product": products, "question": questions, "policy": policy,
                "seed": 7, "place": place, "hr@10": [float(p <= 10) for p in place],
                "in_set@10": [p <= 10 for p in place],
            }
        )
        for policy, place in places.items()
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)
