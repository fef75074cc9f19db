"""English reviews from templates, whose sentiment fits their stars."""

from __future__ import annotations

import random

from replay import sample_words as words
from replay.sample_goods import Kind

# How many sentences a review has, 1 to 8, and how often.
LENGTH_WEIGHTS = (12, 20, 20, 16, 12, 9, 6, 5)

# Stars → tone of a sentence (2 very glad, 0 plain, -2 very cross) → how often.
TONES = {
    5: {2: 0.55, 1: 0.15, 0: 0.30},
    4: {2: 0.10, 1: 0.55, 0: 0.25, -1: 0.10},
    3: {1: 0.25, 0: 0.40, -1: 0.35},
    2: {1: 0.10, 0: 0.25, -1: 0.55, -2: 0.10},
    1: {0: 0.30, -1: 0.15, -2: 0.55},
}
LEADING_TONE = {5: 2, 4: 1, 2: -1, 1: -2}  # at least one sentence says it plainly; three stars say both sides

# How often a sentence is about a part of the product rather than the whole.
ABOUT_A_PART = 0.5


def review(rng: random.Random, kind: Kind, brand: str, stars: int) -> tuple[str, str]:
    """Summary and text of one review."""
    count = rng.choices(range(1, len(LENGTH_WEIGHTS) + 1), LENGTH_WEIGHTS)[0]
    tones = list(TONES[stars])
    lead = _mixed(rng, kind, brand) if stars == 3 else _sentence(rng, kind, brand, LEADING_TONE[stars])
    text = [lead]
    while len(text) < count:
        sentence = _sentence(rng, kind, brand, rng.choices(tones, list(TONES[stars].values()))[0])
        if sentence not in text:
            text.append(sentence)
    rng.shuffle(text)
    return _filled(rng, kind, brand, rng.choice(words.SUMMARIES[stars])), " ".join(text)


def _sentence(rng: random.Random, kind: Kind, brand: str, tone: int) -> str:
    if rng.random() < ABOUT_A_PART:
        return _filled(rng, kind, brand, f"The {{part}} {rng.choice(words.PREDICATES[tone])}.")
    return _filled(rng, kind, brand, rng.choice(words.SENTENCES[tone]))


def _mixed(rng: random.Random, kind: Kind, brand: str) -> str:
    good, bad = rng.choice(words.PREDICATES[1]), rng.choice(words.PREDICATES[-1])
    return _filled(rng, kind, brand, rng.choice(words.MIXED).replace("{good}", good).replace("{bad}", bad))


def _filled(rng: random.Random, kind: Kind, brand: str, template: str) -> str:
    part, other = rng.sample(kind.parts, 2)
    slots = {slot: rng.choice(choices) for slot, choices in words.SLOTS.items()}
    return template.format(thing=kind.name.lower(), brand=brand, part=part, other=other, **slots)
