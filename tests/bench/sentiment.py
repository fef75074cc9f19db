"""Sentiment: our VADER against the library's, on whole reviews, with identical scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from services.features.sentiment import Sentiment
from tests.bench.figures import BenchSettings, Figure
from tests.bench.repeats import interleaved
from tests.bench.reviews import events, ordered_reviews

WANTED = 5.0
TEXTS, TEXTS_QUICK = 3000, 600


def run(settings: BenchSettings) -> list[Figure]:
    """Score the same texts with both; fails where one score differs."""
    copy, origin = ordered_reviews(settings)
    every = [event.text for event in events(copy) if event.text]
    most = TEXTS_QUICK if settings.quick else TEXTS
    texts = every[:: max(1, len(every) // most)]
    ours, stock = Sentiment(), SentimentIntensityAnalyzer()

    def library(text: str) -> float:
        return float(stock.polarity_scores(text)["compound"])

    if [ours.compound(text) for text in texts] != [library(text) for text in texts]:
        raise AssertionError("our scores are not the library's")
    spreads = interleaved(
        {"ours": lambda: _rate(ours.compound, texts), "the library": lambda: _rate(library, texts)},
        2 if settings.quick else 5,
        say=settings.say,
    )
    words = sum(len(text.split()) for text in texts) / len(texts)
    return [
        Figure(
            "VADER",
            spreads["ours"].median,
            "texts/s",
            spreads["the library"].median,
            "vaderSentiment",
            WANTED,
            at_least=True,
            note=f"{len(texts):,} texts of {origin}, {words:.0f} words each; scores identical; {spreads['ours']}",
        )
    ]


def _rate(score: Callable[[str], float], texts: Sequence[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        score(text)
    return len(texts) / (time.perf_counter() - start)
