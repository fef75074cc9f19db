"""The live figures as the page gets them, and the settings that a browser's safety depends on."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.evaluator.accuracy import KS, POLICIES, WINDOWS, EvaluatorMetrics
from services.gateway.live import K, read
from services.gateway.settings import GatewaySettings
from shared.process.errors import Unusable
from shared.process.settings import load


def test_the_evaluators_own_metrics_are_understood() -> None:
    assert K in KS
    registry = CollectorRegistry()
    metrics = EvaluatorMetrics(registry)
    metrics.judged.inc(7)
    metrics.hit.labels(str(K), "markov", "all").set(0.25)
    metrics.hit.labels("5", "markov", "all").set(0.125)
    metrics.novelty.labels("markov").set(3.5)
    live = read(generate_latest(registry).decode())
    assert live.judged_events == 7
    rows = {(row.policy, row.window): row for row in live.leaderboard}
    assert set(rows) == {(policy, window) for policy in POLICIES for window in WINDOWS}
    assert rows["markov", "all"].hit_ratio == 0.25
    assert rows["markov", "all"].ndcg_ratio is None, "NaN, before anything was judged"
    assert rows["markov", "recent"].novelty_bits == 3.5
    assert rows["markov", "all"].novelty_bits is None


def test_an_evaluator_that_says_nothing_has_judged_nothing() -> None:
    assert read("").model_dump() == {
        "k": K, "applied_events": 0, "judged_events": 0, "learned_events": 0, "leaderboard": []
    }  # fmt: skip


def test_names_and_origins_are_listed_with_commas() -> None:
    settings = load(
        GatewaySettings,
        {
            "FRESHET_GATEWAY_ALLOWED_HOSTS": "Shop.example, [::1]",
            "FRESHET_GATEWAY_ALLOWED_ORIGINS": "https://shop.example,http://localhost:3000",
        },
    )
    assert settings.hosts == {"shop.example", "[::1]"}
    assert settings.origins == {"https://shop.example", "http://localhost:3000"}
    assert load(GatewaySettings, {}).origins == frozenset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "shop.example"),
        ("ALLOWED_ORIGINS", "https://shop.example/"),
        ("ALLOWED_ORIGINS", "https://shop.example,null"),
        ("EVALUATOR_METRICS", "127.0.0.1:9464"),
        ("EVALUATOR_METRICS", "file:///etc/passwd"),
    ],
)
def test_what_is_no_origin_or_url_is_refused(name: str, value: str) -> None:
    with pytest.raises(Unusable, match=f"FRESHET_GATEWAY_{name}"):
        load(GatewaySettings, {f"FRESHET_GATEWAY_{name}": value})
