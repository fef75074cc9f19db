"""What is served when a version is live: the popularity of this moment, and what the version has learned beside it.

The evaluator ranks by the same function, so what it judges is what users get. `similar` scores what goes with one
product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from shared.content.new_products import Content
from shared.model.candidates import NONE_RANKED, Ranker, Reranked
from shared.model.mixture import DEFAULT
from shared.model.mixture import mix as mixture_of
from shared.numeric.compiled import ReadOnlyVector, Vector, compiled
from shared.numeric.elementary import log_of
from shared.state.histories import Window
from shared.state.known import Known

FloatArray = NDArray[np.float32]


class Scores(Protocol):
    """A version that scores the caller's rows, such as `shared.model.scoring.Scorer`."""

    @property
    def mixture(self) -> FloatArray | None:
        """What each of the tally's experts counts in each context, (C, E); None: popularity and `related` are mixed."""
        ...

    @property
    def popularity_weight(self) -> float:
        """What popularity counts in the mixture with `related`, [0, 1]; 0: there is no mixture, `scores` are all."""
        ...

    @property
    def ranker(self) -> Ranker | None:
        """What puts the candidates of the mixture in order; None: nothing does."""
        ...

    def related(self, window: Window) -> FloatArray:
        """Weighted shares of the products that follow those of the history, (A0,)."""
        ...

    def scores(self, window: Window) -> FloatArray:
        """What the version has learned beside the mixture, (A0,); -inf for products that it does not know."""
        ...


class Popularity(Protocol):
    """What is popular now, such as `shared.state.known.Known`, which alone can tell what the tally's experts say."""

    def shares(self) -> FloatArray:
        """Every product's smoothed share, (A,), each above 0; not to be changed."""
        ...


class Places(Protocol):
    """Where products belong that have few events or none, such as `shared.content.new_products.Content`."""

    def lend(self, values: FloatArray, popularity: FloatArray) -> tuple[NDArray[np.int32], FloatArray]:
        """Add to the scores of some; their rows (C,), each once, and how much, (C,).

        Args:
            values: (A,) scores without it; changed.
            popularity: (A,) shares.
        """
        ...


class Served(NamedTuple):
    """The scores of the whole catalogue for one user, and what they are made of."""

    values: FloatArray  # (A,)
    shares: FloatArray  # (A,) of popularity
    experts: FloatArray | None  # (C, E) weights of the tally's experts, which made the mixture; None: not they
    popularity_weight: float  # in the mixture; 0: there is none
    related: FloatArray | None  # (A0,) weighted; None: popularity alone is the mixture
    learned: FloatArray | None  # (A0,) -inf of products that the version does not know; None: nothing is learned
    average: float  # what these have instead, and all from A0 on
    content_rows: NDArray[np.int32]  # (C,) products that content gave a place, ascending
    content: FloatArray  # (C,) and what it added
    reranked: Reranked = NONE_RANKED  # candidates that an action network put in order, once it did


NEVER = np.float32(-np.inf)  # what a version says of a product that it does not know
_NO_ROWS: NDArray[np.int32] = np.zeros(0, np.int32)
_NOTHING: FloatArray = np.zeros(0, np.float32)


def served_scores(
    version: Scores | None, window: Window | None, popularity: Popularity, places: Places | None = None
) -> FloatArray:
    """Scores that order the whole catalogue for one user as it is served, masks aside, (A,).

    See `served`.
    """
    return served(version, window, popularity, places).values


def served(
    version: Scores | None, window: Window | None, popularity: Popularity, places: Places | None = None
) -> Served:
    """Score the whole catalogue for one user, masks aside.

    log(mixture) + w_ce · logit + w_q · Q + content. The mixture is that of the tally's experts, weighed by the version
    (`shared.model.mixture`), or w_p · popularity + Σ_r w_r · share_r over the version's own relations between products.
    Where w_p is 0 there is no logarithm, and popularity takes the mixture's place in what follows.

    Without a version they are log-popularity itself, and content; so they are where a version of the second kind meets
    a user of whom nothing is known. A product that the version does not know counts as an average one: it gets the mean
    of what was learned of the others, weighted by the mixture, so a version that has learned nothing ranks exactly as
    the mixture does.

    Raises:
        ValueError: the version has more rows than popularity.
    """
    shares = popularity.shares()
    known_user = window is not None and bool(window.lengths[0])
    popularity_weight, experts, related, learned = 1.0, None, None, None
    mixture = shares
    if version is not None and known_user and version.ranker is None:
        learned = version.scores(cast(Window, window))  # (A0,), A0 <= A
        if len(learned) > len(shares):
            raise ValueError(f"popularity has {len(shares)} rows, the version {len(learned)}: give new rows to both")
    if version is not None and (known_user or version.mixture is not None):
        if version.mixture is not None:
            experts = version.mixture
            mixture = mixture_of(cast(Known, popularity), window, experts, len(shares))
        else:
            popularity_weight = version.popularity_weight
            if popularity_weight:
                related = version.related(cast(Window, window))
                mixture = mix(shares, popularity_weight, related)
    result = np.empty_like(shares)
    mean = _join(mixture, _NOTHING if learned is None else learned, bool(popularity_weight), result)
    rows, content = (_NO_ROWS, _NOTHING) if places is None else places.lend(result, shares)
    return Served(result, shares, experts, popularity_weight, related, learned, mean, rows, content)


class Counted:
    """What is served before there is a version: the tally's experts, weighed by default, and nothing learned."""

    mixture = DEFAULT
    popularity_weight = 1.0
    ranker = None

    def related(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing."""
        return _NOTHING

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing, of no product."""
        return _NOTHING


COUNTED = Counted()


@dataclass(frozen=True, slots=True)
class SimilarSettings:
    """What makes products go together."""

    popularity_out: float = 0.1  # of log-popularity, subtracted lest the best known go with all
    likeness: float = 3.0  # what likeness of content adds where a product has few events


SIMILAR = SimilarSettings()


def similar(
    row: int,
    window: Window,
    version: Scores,
    popularity: Popularity,
    content: Content,
    settings: SimilarSettings = SIMILAR,
) -> Served:
    """Score what goes with one product, the product itself included: what is served after it, less popularity.

    Likeness of content adds to products with few events.

    Args:
        row: of the product.
        window: of a user who did nothing but look at it.
    """
    rows, likeness = content.likeness.beside(row)
    have = rows < len(popularity.shares())
    rows, likeness = rows[have], likeness[have]
    scored = served(version, window, popularity, content)
    values = scored.values - np.float32(settings.popularity_out) * logs(scored.shares)
    added = np.zeros_like(values)
    added[scored.content_rows] = scored.content
    few = np.maximum(content.fading(np.array([row])), content.fading(rows))  # of the product, or of the other one
    likely = np.float32(settings.likeness) * few * likeness
    added[rows] += likely
    values[rows] += likely
    placed = np.flatnonzero(added).astype(np.int32)
    return scored._replace(values=values, content_rows=placed, content=added[placed])


@compiled
def _join(
    mixture: ReadOnlyVector[np.float32],
    learned: ReadOnlyVector[np.float32],
    counted: bool,
    out: Vector[np.float32],
) -> float:
    """Fill in log(mixture), what was learned, and its mean where nothing was; the mean.

    Args:
        mixture: (A,)
        learned: (A0,), A0 <= A; -inf of products of which nothing was.
        counted: whether there is a logarithm.
    """
    whole, unknown = len(learned), np.int32(0)
    for row in range(whole):
        unknown += np.int32(learned[row] == NEVER)
    if counted:
        for row in range(len(out)):
            out[row] = log_of(mixture[row])
    else:
        out[:] = np.float32(0.0)
    if not unknown:
        for row in range(whole):
            out[row] += learned[row]
        if whole == len(out):
            return 0.0
    total, weighted = 0.0, 0.0
    for row in range(whole):
        if learned[row] > NEVER:
            total += mixture[row]
            weighted += mixture[row] * learned[row]
    mean = np.float32(weighted / total if total > 0.0 else 0.0)
    if unknown:
        for row in range(whole):
            out[row] += learned[row] if learned[row] > NEVER else mean
    for row in range(whole, len(out)):
        out[row] += mean
    return float(mean)


def mix(shares: FloatArray, popularity_weight: float, related: FloatArray) -> FloatArray:
    """popularity_weight · popularity + related, (A,).

    Args:
        shares: (A,) of popularity.
        popularity_weight: above 0.
        related: (A0,), A0 <= A, weighted shares; 0 for most products.
    """
    result: FloatArray = shares * np.float32(popularity_weight)
    result[: len(related)] += related
    return result


def logs(shares: FloatArray) -> FloatArray:
    """Natural logarithms, (A,), of shares above 0."""
    result: FloatArray = np.log(shares)
    return result
