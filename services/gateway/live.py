"""The live figures of the policies, which `/v1/live` reads from the evaluator's metrics for the page."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field

from services.gateway.problems import Problem

K: Final = 10
TIMEOUT_SECONDS = 2.0
FRESH_SECONDS = 1.0  # the evaluator is asked at most once in this time, however many pages are open

_PREFIX = "freshet_evaluator_"
_COUNTS = ("applied_events", "judged_events", "learned_events")
_FIGURES = ("hit_ratio", "ndcg_ratio", "mrr_ratio", "coverage_ratio", "novelty_bits")


class PolicyFigures(BaseModel):
    """A policy's figures in one window; null before the first evaluated event."""

    policy: str = Field(description="learned (what is served), or a baseline on the same events")
    window: str = Field(description="which evaluated events: all, learned (those of a learned version), or recent")
    hit_ratio: float | None = Field(default=None, description="HR@k, 0 to 1")
    ndcg_ratio: float | None = Field(default=None, description="NDCG@k, 0 to 1")
    mrr_ratio: float | None = Field(default=None, description="mean reciprocal rank, 0 to 1")
    coverage_ratio: float | None = Field(
        default=None, description="share of the catalogue that is recommended, 0 to 1; only of recent"
    )
    novelty_bits: float | None = Field(
        default=None, description="mean self-information of recommended products; only of recent"
    )


class Live(BaseModel):
    """The evaluation so far, of each event before it is learned."""

    k: int = Field(default=K, description="the k of HR@k and NDCG@k")
    applied_events: int = Field(default=0, description="events applied, evaluated or not")
    judged_events: int = Field(default=0, description="events for which every policy ranked the catalogue")
    learned_events: int = Field(default=0, description="those of them that a learned version evaluated")
    leaderboard: list[PolicyFigures] = Field(default_factory=list, description="the figures of each policy and window")


def read(exposition: str) -> Live:
    """The figures in the evaluator's metrics."""
    live = Live()
    rows: dict[tuple[str, str], PolicyFigures] = {}
    for family in text_string_to_metric_families(exposition):
        name = family.name.removeprefix(_PREFIX)
        for sample in family.samples:
            labels = sample.labels
            if name in _COUNTS and sample.name.endswith("_total"):
                setattr(live, name, int(sample.value))
            elif name in _FIGURES and labels.get("k", str(K)) == str(K):
                window = labels.get("window", "recent")
                row = rows.setdefault((labels["policy"], window), PolicyFigures(policy=labels["policy"], window=window))
                setattr(row, name, sample.value if sample.value == sample.value else None)
    live.leaderboard = list(rows.values())
    return live


class EvaluatorMetricsReader:
    """Reads the figures from the evaluator's metrics at a URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = asyncio.Lock()
        self._fetched_at = float("-inf")
        self._answer: bytes | Problem = b""  # the newest

    async def show(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """Answer with figures that are at most a second old.

        Raises:
            Problem: no evaluator is configured, or it does not answer.
        """
        if not self._url:
            raise Problem(503, "no evaluator is configured; set FRESHET_GATEWAY_EVALUATOR_METRICS")
        async with self._lock:
            if time.monotonic() - self._fetched_at > FRESH_SECONDS:
                self._answer = await self._fetch()
                self._fetched_at = time.monotonic()
        if isinstance(self._answer, Problem):
            raise self._answer
        return web.Response(body=self._answer, content_type="application/json")

    async def _fetch(self) -> bytes | Problem:
        # No connection is kept, so none is stale after a restart of the evaluator.
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS)) as session,
                session.get(self._url, params=_parameters()) as answer,
            ):
                answer.raise_for_status()
                return read(await answer.text()).model_dump_json().encode()
        except (aiohttp.ClientError, TimeoutError):
            return Problem(503, "the evaluator does not answer; try again in a moment")


def _parameters() -> list[tuple[str, str]]:
    """The query that limits the metrics to those that are read."""
    names = [*(f"{name}_total" for name in _COUNTS), *_FIGURES]
    return [("name[]", f"{_PREFIX}{name}") for name in names]
