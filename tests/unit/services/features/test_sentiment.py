"""VADER without its quadratic cost: the library's own scores, on every text."""

from __future__ import annotations

import csv
import gzip
import heapq
import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import (
    BOOSTER_DICT,
    NEGATE,
    SPECIAL_CASES,
    SentimentIntensityAnalyzer,
)

from services.features.sentiment import MOST_CHARACTERS, MOST_WORDS, Sentiment

STOCK = SentimentIntensityAnalyzer()
OURS = Sentiment()

MOST_TEXTS_PER_FILE = 1500  # the stock class takes a minute for them all
LONGEST_PER_FILE = 3

# Every word that a rule mentions, so that random texts meet the rules.
RULE_WORDS = sorted(
    {"but", "no", "or", "nor", "never", "so", "this", "without", "doubt", "least", "at", "very", "kind", "of", "n't"}
    | set(NEGATE)
    | set(chain.from_iterable(phrase.split() for phrase in chain(SPECIAL_CASES, BOOSTER_DICT)))
)
SENTIMENT_WORDS = ["good", "bad", "great", "GREAT", "awful", "love", "kiss", "death", "die", "beating", "shit", "no"]
TOKENS = st.one_of(
    st.sampled_from(RULE_WORDS),
    st.sampled_from(SENTIMENT_WORDS),
    st.sampled_from(sorted(STOCK.lexicon)),
    st.sampled_from(sorted(STOCK.emojis)),
    st.sampled_from(["but", "the", "guitar", ":)", ":(", "!", "!!!!!", "?", "???", "...", "\u2019", "n't", "İ", "ΣΑΣ"]),
    st.text(max_size=6),
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Words of the rules in any case, with any punctuation at either side and any space between them."""
    parts = []
    for token in draw(st.lists(TOKENS, max_size=40)):
        shape = draw(st.sampled_from([str, str.upper, str.title, str.swapcase]))
        before, after = draw(st.sampled_from(["", "", '"', "("])), draw(st.sampled_from(["", "", ".", "!", "?", ",)"]))
        parts.append(f"{before}{shape(token)}{after}{draw(st.sampled_from([' ', ' ', '  ', chr(10), '']))}")
    return "".join(parts)


def reviews_2014(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            review = json.loads(line)
            yield f"{review.get('summary') or ''}\n{review.get('reviewText') or ''}"


def fine_foods(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            yield f"{row['Summary']}\n{row['Text']}"


FILES = {
    "amazon-2014/Musical_Instruments_5.json.gz": reviews_2014,
    "amazon-2018/All_Beauty_5.json.gz": reviews_2014,
    "amazon-2018/AMAZON_FASHION_5.json.gz": reviews_2014,
    "amazon-2018/Gift_Cards_5.json.gz": reviews_2014,
    "finefoods/Reviews_first5k.csv.gz": fine_foods,
    "tablets/reviews_tablets.json.gz": reviews_2014,
}


@pytest.mark.parametrize("name", FILES)
def test_real_reviews_score_as_in_the_library(data: Path, name: str) -> None:
    all_texts = list(FILES[name](data / name))
    sample = all_texts[:: max(1, len(all_texts) // MOST_TEXTS_PER_FILE)]
    for text in sample + heapq.nlargest(LONGEST_PER_FILE, all_texts, key=len):
        assert OURS.polarity_scores(text) == STOCK.polarity_scores(text), text


@settings(max_examples=600, deadline=None)
@given(texts())
def test_any_text_scores_as_in_the_library(text: str) -> None:
    assert OURS.polarity_scores(text) == STOCK.polarity_scores(text)


# Built to mislead: parts of idioms, runs of punctuation, letters without case, emojis of several characters.
TRAPS = st.sampled_from(
    [
        "the", "bomb", "shit", "bad", "ass", "bus", "stop", "yeah", "right", "kiss", "of", "death", "to", "die", "for",
        "beating", "heart", "just", "enough", "kind", "sort", "at", "very", "least", "BUT", "But,", "never", "so",
        "this", "SO", "NEVER", "without", "doubt", "no", "No.", "or", "nor", "n't", "ain't", "ISN'T", "good", "GOOD",
        "bad!", "great???", "(love)", "...", "!!!", "\u4e2d\u6587", "\u01c5", "\u0130", "\ufb01ne",
        "\U0001f3f3\ufe0f\u200d\U0001f308",
        "\U0001f60d", "\u2764\ufe0f", "good\u00a0bad", "good\u2028bad", "\x1cgood", "\ud83d",
    ]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(TRAPS, max_size=12))
def test_no_trap_changes_a_score(words: list[str]) -> None:
    text = " ".join(words)
    scores = STOCK.polarity_scores(text)
    assert OURS.polarity_scores(text) == scores
    assert OURS.compound(text) == scores["compound"]


def test_words_that_were_forgotten_score_as_before() -> None:
    """More different words than are remembered, and one longer than any that is."""
    flood = " ".join(f"w{n}" for n in range(MOST_WORDS + 10))
    OURS.compound(flood)
    for text in ("it was never so GOOD!", "x" * (MOST_CHARACTERS + 1) + " good", "g" * 3 + "!" * MOST_CHARACTERS):
        assert OURS.polarity_scores(text) == STOCK.polarity_scores(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "kiss of death",
        "The Kiss of Death!",
        "a dress to die for",
        "it was never so good",
        "never this GOOD",
        "so good, this good",
        "without a doubt good",
        "without doubt the good one",
        "not bad at all",
        "at least good",
        "the least good",
        "least good",
        "very least good",
        "no good or bad, nor great",
        "kind of good",
        "it is sort of really good",
        "yeah right, the bomb",
        "bus stop good bus stop",
        "good but bad but good good bad bad but awful",
        "but",
        "BUT good",
        "it isn't good, it ain't bad, it Can't be great",
        "good😁bad 😁 😁😁good",
        "🏳️‍🌈 👍🏽 ☹️",
        "GOOD good GOOD BAD",
        "GOOD BAD",
        "good!!!!! bad????",
        "no",
        "no no no good",
    ],
)
def test_each_rule_is_kept(text: str) -> None:
    assert OURS.polarity_scores(text) == STOCK.polarity_scores(text)


def test_but_weighs_equal_words_as_the_library_does() -> None:
    """The library changes the first entry that equals each one, which may have been changed before."""
    for text in ("good " * 5 + "but " + "good " * 5, "good nice good but nice bad good bad", "love but " * 8):
        assert OURS.polarity_scores(text) == STOCK.polarity_scores(text)


def test_the_compound_score_by_hand() -> None:
    """ "good" is 1.9 in the lexicon: 1.9 / sqrt(1.9² + 15), Hutto & Gilbert's normalisation."""
    assert OURS.compound("good") == round(1.9 / (1.9**2 + 15) ** 0.5, 4) == 0.4404
    assert OURS.compound("not good") == round(-1.9 * 0.74 / ((1.9 * 0.74) ** 2 + 15) ** 0.5, 4)
    assert OURS.compound("") == 0.0


@pytest.mark.parametrize("unit", ["good ", "good but bad ", "x ", "😁", "no never so good ", "a.b "])
def test_the_cost_grows_with_the_text_alone(unit: str) -> None:
    """Counted in calls, not in seconds: twice the text, at most twice the calls and a little."""

    def calls(times: int) -> int:
        count = 0

        def counted(_: FrameType, what: str, __: object) -> None:
            nonlocal count
            count += what in ("call", "c_call")

        sys.setprofile(counted)
        try:
            OURS.compound(unit * times)
        finally:
            sys.setprofile(None)
        return count

    assert calls(400) <= 2.2 * calls(200)
