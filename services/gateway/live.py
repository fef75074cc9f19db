"""How the policies fare live, as the evaluator's metrics say: what the page shows of it."""

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
FRESH_SECONDS = 1.0  # however many pages ask, the evaluator is asked once in that time

_PREFIX = "freshet_evaluator_"
_COUNTS = ("applied_events", "judged_events", "learned_events")
_FIGURES = ("hit_ratio", "ndcg_ratio", "mrr_ratio", "coverage_ratio", "novelty_bits")


class Row(BaseModel):
    """A policy's figures in one window; null where nothing was judged yet."""

    policy: str = Field(description="learned, which is what is served, or a baseline on the same events")
    window: str = Field(description="all judged events; learned, those that a learned version judged; recent ones")
    hit_ratio: float | None = Field(default=None, description="HR@k, 0 to 1")
    ndcg_ratio: float | None = Field(default=None, description="NDCG@k, 0 to 1")
    mrr_ratio: float | None = Field(default=None, description="mean reciprocal rank, 0 to 1")
    coverage_ratio: float | None = Field(
        default=None, description="share of the products in the answers, 0 to 1; recent only"
    )
    novelty_bits: float | None = Field(default=None, description="mean self-information of the answers; recent only")


class Live(BaseModel):
    """What was judged so far, each event before it was learned."""

    k: int = Field(default=K, description="the k of HR@k and NDCG@k: places of an answer that count")
    applied_events: int = Field(default=0, description="events applied, judged or not")
    judged_events: int = Field(default=0, description="events that all policies ranked the catalogue for")
    learned_events: int = Field(default=0, description="those of them that a learned version judged")
    leaderboard: list[Row] = Field(default_factory=list, description="a row for each policy and window")


def read(exposition: str) -> Live:
    """The figures in the text of the evaluator's metrics."""
    live = Live()
    rows: dict[tuple[str, str], Row] = {}
    for family in text_string_to_metric_families(exposition):
        name = family.name.removeprefix(_PREFIX)
        for sample in family.samples:
            labels = sample.labels
            if name in _COUNTS and sample.name.endswith("_total"):
                setattr(live, name, int(sample.value))
            elif name in _FIGURES and labels.get("k", str(K)) == str(K):
                window = labels.get("window", "recent")
                row = rows.setdefault((labels["policy"], window), Row(policy=labels["policy"], window=window))
                setattr(row, name, sample.value if sample.value == sample.value else None)
    live.leaderboard = list(rows.values())
    return live


class Evaluator:
    """The evaluator's metrics behind a URL; opened and closed with the application."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._found: bytes | Problem = b""

    async def show(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """The newest figures, a second old at most.

        Raises:
            Problem: there is no evaluator, or it does not answer.
        """
        if not self._url:
            raise Problem(503, "no evaluator is known here; FRESHET_GATEWAY_EVALUATOR_METRICS names one")
        async with self._asking:
            if time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._found = await self._look()
                self._asked_at = time.monotonic()
        if isinstance(self._found, Problem):
            raise self._found
        return web.Response(body=self._found, content_type="application/json")

    async def _look(self) -> bytes | Problem:
        # A connection a second at most: none is kept, so none is found dead when the evaluator was started again.
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS)) as session,
                session.get(self._url, params=_asked_for()) as answer,
            ):
                answer.raise_for_status()
                return read(await answer.text()).model_dump_json().encode()
        except (aiohttp.ClientError, TimeoutError):
            return Problem(503, "the evaluator does not answer; ask again in a moment")


def _asked_for() -> list[tuple[str, str]]:
    """The metrics that are read, by the names of their samples."""
    names = [*(f"{name}_total" for name in _COUNTS), *_FIGURES]
    return [("name[]", f"{_PREFIX}{name}") for name in names]
