"""VADER's sentiment of a text at a cost that grows with the text alone.

The library lower-cases all words again for each word it looks at. Here that happens once per text, and the rules read
the lower-cased words; every rule and every float operation is the library's, in its order, so the scores are the
same. Hutto & Gilbert, VADER, ICWSM 2014; vaderSentiment 3.3.2.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from vaderSentiment.vaderSentiment import (
    BOOSTER_DICT,
    C_INCR,
    N_SCALAR,
    NEGATE,
    SPECIAL_CASES,
    SentimentIntensityAnalyzer,
    SentiText,
    scalar_inc_dec,
)

_NEGATIONS = frozenset(NEGATE)


class Sentiment(SentimentIntensityAnalyzer):  # type: ignore[misc]  # the library ships no types
    """The library's analyzer; `polarity_scores` gives what the library's gives, sooner."""

    def compound(self, text: str) -> float:
        """The compound score, -1 (negative) to 1 (positive)."""
        return float(self.polarity_scores(text)["compound"])

    def polarity_scores(self, text: str) -> dict[str, float]:
        """The shares of negative, neutral and positive words and the compound score."""
        text = self._describe_emojis(text).strip()
        found = SentiText(text)
        words: list[str] = found.words_and_emoticons
        lower = [word.lower() for word in words]
        lexicon = self.lexicon
        valences = [
            self._valence(words, lower, i, found.is_cap_diff) if word in lexicon and word not in BOOSTER_DICT else 0
            for i, word in enumerate(lower)
        ]
        if "but" in lower:
            _weigh_around(valences, lower.index("but"))
        scores: dict[str, float] = self.score_valence(valences, text)
        return scores

    def _describe_emojis(self, text: str) -> str:
        """Put each emoji's description in its place, with a space before it where there is none."""
        emojis: dict[str, str] = self.emojis
        if emojis.keys().isdisjoint(text):
            return text
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

    def _valence(self, words: Sequence[str], lower: Sequence[str], i: int, is_cap_diff: bool) -> float:
        """What word `i` of the lexicon says, given the words around it."""
        lexicon: dict[str, float] = self.lexicon
        if lower[i] == "kind" and lower[i + 1 : i + 2] == ["of"]:
            return 0
        valence = lexicon[lower[i]]
        if lower[i] == "no" and i + 1 < len(lower) and lower[i + 1] in lexicon:
            valence = 0.0  # it negates the next word instead
        if (
            (i > 0 and lower[i - 1] == "no")
            or (i > 1 and lower[i - 2] == "no")
            or (i > 2 and lower[i - 3] == "no" and lower[i - 1] in ("or", "nor"))
        ):
            valence = lexicon[lower[i]] * N_SCALAR
        if words[i].isupper() and is_cap_diff:
            valence = valence + C_INCR if valence > 0 else valence - C_INCR
        for back in range(1, min(3, i) + 1):
            if lower[i - back] in lexicon:
                continue
            boost = scalar_inc_dec(words[i - back], valence, is_cap_diff)
            if back > 1 and boost != 0:
                boost *= 0.95 if back == 2 else 0.9
            valence = _negated(valence + boost, lower, back, i)
            if back == 3:
                valence = _idiom(valence, lower, i)
        if i > 0 and lower[i - 1] == "least":
            valence = valence if i > 1 and lower[i - 2] in ("at", "very") else valence * N_SCALAR
        return valence


def _negated(valence: float, lower: Sequence[str], back: int, i: int) -> float:
    """`valence` of word `i` after the word `back` places before it."""
    if back == 2:
        if lower[i - 2] == "never" and lower[i - 1] in ("so", "this"):
            return valence * 1.25
        if lower[i - 2] == "without" and lower[i - 1] == "doubt":
            return valence
    if back == 3:
        # As in the library: "so" or "this" right before the word is enough.
        if (lower[i - 3] == "never" and lower[i - 2] in ("so", "this")) or lower[i - 1] in ("so", "this"):
            return valence * 1.25
        if lower[i - 3] == "without" and "doubt" in (lower[i - 2], lower[i - 1]):
            return valence
    word = lower[i - back]
    return valence * N_SCALAR if word in _NEGATIONS or "n't" in word else valence


def _idiom(valence: float, lower: Sequence[str], i: int) -> float:
    """`valence` of word `i`, or that of the phrase it is part of; at least three words come before it."""
    three, two, one, zero = lower[i - 3 : i + 1]
    before = (f"{three} {two} {one}", f"{three} {two}", f"{two} {one}")
    for phrase in (f"{one} {zero}", f"{two} {one} {zero}", before[2], before[0], before[1]):
        if phrase in SPECIAL_CASES:
            valence = SPECIAL_CASES[phrase]
            break
    for end in (i + 2, i + 3):
        if end <= len(lower):
            valence = SPECIAL_CASES.get(" ".join(lower[i:end]), valence)
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
    said = [i for i, valence in enumerate(valences) if valence]
    for i in said:
        places.setdefault(valences[i], []).append(i)  # ascending, so a heap
    for i in said:
        valence = valences[i]
        heap = places[valence]
        while valences[heap[0]] != valence:  # changed since it was put there
            heapq.heappop(heap)
        first = heap[0]
        if first != but:
            valences[first] = valence * (0.5 if first < but else 1.5)
            heapq.heappush(places.setdefault(valences[first], []), first)
