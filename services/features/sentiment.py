"""VADER's sentiment of a text, sooner: each word is looked up once, and the rules see only words they know.

The library lower-cases all words again for each word it looks at, so its cost grows with the square of the text. Here a
table remembers what each written word means to the rules; most mean nothing to any and cost no more than the look-up.
Every rule and every float operation is the library's, in its order, so the scores are the same. Hutto & Gilbert, VADER,
ICWSM 2014; vaderSentiment 3.3.2.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from vaderSentiment.vaderSentiment import (
    BOOSTER_DICT,
    C_INCR,
    N_SCALAR,
    NEGATE,
    SPECIAL_CASES,
    SentimentIntensityAnalyzer,
    SentiText,
    normalize,
)

# Written words remembered, and the longest that is: together at most some tens of megabytes.
MOST_WORDS = 50_000
MOST_CHARACTERS = 40

_PHRASES = [phrase.split() for phrase in chain(SPECIAL_CASES, BOOSTER_DICT) if " " in phrase]
_OPENING = frozenset(words[0] for words in _PHRASES)
_NEGATIONS = frozenset(NEGATE)
_RULED = frozenset({"but", "no", "or", "nor", "never", "so", "this", "without", "doubt", "least", "at", "very", "of"})
_KNOWN = _RULED | _NEGATIONS | frozenset(BOOSTER_DICT) | frozenset(chain.from_iterable(_PHRASES))

_BEFORE, _AFTER = 3, 2  # how many places away a word may matter


@dataclass(frozen=True, slots=True)
class _Word:
    """A word that a rule knows, as it was written."""

    lower: str
    upper: bool  # all capitals
    scored: bool  # in the lexicon
    laden: bool  # in the lexicon, and no booster
    valence: float  # the lexicon's, 0 where it has none
    boost: float  # what it adds to a word after it
    negates: bool
    opens: bool  # whether a phrase begins with it


class _Words(dict[str, _Word | None]):
    """Written word, as `str.split` gives it → what it means to the rules; None: nothing."""

    def __init__(self, lexicon: Mapping[str, float]) -> None:
        super().__init__()
        self._lexicon = lexicon

    def __missing__(self, written: str) -> _Word | None:
        word = self._look_up(written)
        if len(written) <= MOST_CHARACTERS:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[written] = word
        return word

    def _look_up(self, written: str) -> _Word | None:
        lower = SentiText._strip_punc_if_word(written).lower()
        scored, negates = lower in self._lexicon, lower in _NEGATIONS or "n't" in lower
        if not (scored or negates or lower in _KNOWN):
            return None
        return _Word(
            lower=lower,
            upper=written.isupper(),  # punctuation has no case
            scored=scored,
            laden=scored and lower not in BOOSTER_DICT,
            valence=self._lexicon.get(lower, 0.0),
            boost=BOOSTER_DICT.get(lower, 0.0),
            negates=negates,
            opens=lower in _OPENING,
        )


class Sentiment(SentimentIntensityAnalyzer):  # type: ignore[misc]  # the library ships no types
    """The library's analyzer: it gives the library's scores, sooner."""

    def __init__(self) -> None:
        super().__init__()
        self._words = _Words(self.lexicon)
        self._any_emoji = re.compile(f"[{''.join(re.escape(char) for char in self.emojis if len(char) == 1)}]")

    def compound(self, text: str) -> float:
        """The compound score, -1 (negative) to 1 (positive)."""
        text = self._describe_emojis(text)
        total = float(sum(self._valences(text)))
        if total:
            emphasis = self._punctuation_emphasis(text)
            total = total + emphasis if total > 0 else total - emphasis
        return round(float(normalize(total)), 4)

    def polarity_scores(self, text: str) -> dict[str, float]:
        """The shares of negative, neutral and positive words and the compound score."""
        text = self._describe_emojis(text)
        scores: dict[str, float] = self.score_valence(self._valences(text), text)
        return scores

    def _describe_emojis(self, text: str) -> str:
        """Put each emoji's description in its place, with a space before it where there is none."""
        if text.isascii() or not self._any_emoji.search(text):
            return text
        emojis: dict[str, str] = self.emojis
        parts = []
        after_space = True
        for char in text:
            description = emojis.get(char)
            if description is None:
                parts.append(char)
                after_space = char == " "
            else:
                parts.append(description if after_space else f" {description}")
                after_space = False
        return "".join(parts)

    def _valences(self, text: str) -> list[float]:
        """What each word says, given the words around it; 0 where nothing."""
        written = text.split()
        words = [None, None, None, *map(self._words.__getitem__, written), None, None]
        valences = [0.0] * len(words)
        laden = []
        but = 0
        capitals = False
        for i, word in enumerate(words):
            if word is not None:
                if word.laden:
                    laden.append(i)
                elif not but and word.lower == "but":
                    but = i
                capitals = capitals or word.upper
        emphatic = capitals and not all(map(str.isupper, written))  # else they stand out from nothing
        for i in laden:
            valences[i] = _valence(words[i - _BEFORE : i + _AFTER + 1], i - _BEFORE, emphatic)
        if but:
            _weigh_around(valences, but)
        return valences[_BEFORE:-_AFTER]


def _valence(around: Sequence[_Word | None], place: int, emphatic: bool) -> float:
    """What a word of the lexicon says, given the three before it and the two after it.

    Args:
        place: of the word in the text, from 0.
        emphatic: whether capitals stand out in this text.
    """
    three, two, one, word, after, _ = around
    if word is None:
        return 0.0
    valence = word.valence
    if after is not None:
        if word.lower == "kind" and after.lower == "of":
            return 0.0
        if word.lower == "no" and after.scored:
            valence = 0.0  # it negates the next word instead
    if _is_denied(three, two, one):
        valence = word.valence * N_SCALAR
    if emphatic and word.upper:
        valence = valence + C_INCR if valence > 0 else valence - C_INCR
    if one is not None and not one.scored:
        valence += _boost(one, valence, emphatic)
        if one.negates:
            valence *= N_SCALAR
    if two is not None and not two.scored:
        valence = _after_two(valence + 0.95 * _boost(two, valence, emphatic), two, one)
    if place >= _BEFORE and (three is None or not three.scored):
        if three is not None:
            valence += 0.9 * _boost(three, valence, emphatic)
        valence = _after_three(valence, three, two, one)
        if any(neighbour is not None and neighbour.opens for neighbour in (three, two, one, word)):
            valence = _idiom(valence, around)
    if one is not None and one.lower == "least" and not (two is not None and two.lower in ("at", "very")):
        valence *= N_SCALAR
    return valence


def _boost(word: _Word, valence: float, emphatic: bool) -> float:
    """What a word adds to `valence` of a word after it."""
    boost = word.boost
    if not boost:
        return 0.0
    if valence < 0:
        boost = -boost
    if emphatic and word.upper:
        boost = boost + C_INCR if valence > 0 else boost - C_INCR
    return boost


def _is_denied(three: _Word | None, two: _Word | None, one: _Word | None) -> bool:
    """Whether a "no" belongs to the word after these three."""
    if (one is not None and one.lower == "no") or (two is not None and two.lower == "no"):
        return True
    return three is not None and three.lower == "no" and one is not None and one.lower in ("or", "nor")


def _after_two(valence: float, two: _Word, one: _Word | None) -> float:
    """`valence` after the word two places before."""
    nearer = "" if one is None else one.lower
    if two.lower == "never" and nearer in ("so", "this"):
        return valence * 1.25
    if two.lower == "without" and nearer == "doubt":
        return valence
    return valence * N_SCALAR if two.negates else valence


def _after_three(valence: float, three: _Word | None, two: _Word | None, one: _Word | None) -> float:
    """`valence` after the word three places before."""
    nearest = "" if one is None else one.lower
    if nearest in ("so", "this"):  # as in the library, whatever the third word is
        return valence * 1.25
    if three is None:
        return valence
    nearer = "" if two is None else two.lower
    if three.lower == "never" and nearer in ("so", "this"):
        return valence * 1.25
    if three.lower == "without" and "doubt" in (nearer, nearest):
        return valence
    return valence * N_SCALAR if three.negates else valence


def _idiom(valence: float, around: Sequence[_Word | None]) -> float:
    """`valence` of a word, or that of the phrase it is part of."""
    three, two, one, zero, after, second = ("" if word is None else word.lower for word in around)
    before = (f"{three} {two} {one}", f"{three} {two}", f"{two} {one}")
    for phrase in (f"{one} {zero}", f"{two} {one} {zero}", before[2], before[0], before[1]):
        if phrase in SPECIAL_CASES:
            valence = SPECIAL_CASES[phrase]
            break
    for phrase in (f"{zero} {after}", f"{zero} {after} {second}"):
        valence = SPECIAL_CASES.get(phrase, valence)
    for phrase in before:
        if phrase in BOOSTER_DICT:
            valence += BOOSTER_DICT[phrase]
    return valence


def _weigh_around(valences: list[float], but: int) -> None:
    """Halve what comes before the first "but" and raise what follows by half, in place.

    As in the library, the entry changed for each entry in turn is the first that holds an equal value then. The
    library searches the whole list for it; a heap of places per value finds it at once.
    """
    places: dict[float, list[int]] = {}
    nonzero = [i for i, valence in enumerate(valences) if valence]
    for i in nonzero:
        places.setdefault(valences[i], []).append(i)  # ascending, so a heap
    for i in nonzero:
        valence = valences[i]
        heap = places[valence]
        while valences[heap[0]] != valence:  # changed since it was put there
            heapq.heappop(heap)
        first = heap[0]
        if first != but:
            valences[first] = valence * (0.5 if first < but else 1.5)
            heapq.heappush(places.setdefault(valences[first], []), first)
