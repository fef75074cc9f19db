"""What features tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.events import REASONS
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.ready import Ready
from shared.telemetry import SECONDS_BUCKETS

# Compound scores from which a text counts as positive, or to which as negative: Hutto & Gilbert's own bounds.
POSITIVE, NEGATIVE = 0.05, -0.05

READY = Ready("features")

_events = Counter("freshet_features_events_total", "Events described, ticks included.", ["kind"])
_dead_letters = Counter("freshet_features_dead_letters_total", "Records that could not be understood.", ["reason"])
_imputed = Counter("freshet_features_imputed_total", "State vectors that hold what the event did not say.", ["what"])
_reviews = Counter("freshet_features_reviews_total", "Texts scored, by the sign of their sentiment.", ["sentiment"])
_rewards = Counter(
    "freshet_features_rewards_total", "Rewards added up, those below 0 apart and without their sign.", ["sign"]
)

# Each label value known in advance → its counter, so that all start at 0.
EVENTS = {
    kind: _events.labels(kind=name.removeprefix("EVENT_KIND_").lower())
    for name, kind in pb.EventKind.items()
    if kind != pb.EVENT_KIND_UNSPECIFIED
}
DEAD_LETTERS = {reason: _dead_letters.labels(reason=reason) for reason in ("undecodable", *REASONS)}
IMPUTED = {
    what: _imputed.labels(what=name.removeprefix("IMPUTED_").lower())
    for name, what in pb.Imputed.items()
    if what != pb.IMPUTED_UNSPECIFIED
}
REVIEWS = {sign: _reviews.labels(sentiment=sign) for sign in ("positive", "neutral", "negative")}
REWARDS = {sign: _rewards.labels(sign=sign) for sign in ("positive", "negative")}

# Both go below 0, so their sums can't be counters and are left out by the library.
SENTIMENT = Histogram(
    "freshet_features_sentiment",
    "Compound sentiment of the texts scored, from -1 to 1.",
    buckets=(-0.75, -0.5, -0.25, NEGATIVE, POSITIVE, 0.25, 0.5, 0.75, 1.0),
)
REWARD = Histogram(
    "freshet_features_reward",
    "Reward of the events described, ticks aside, from -1 to 1.",
    buckets=(-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0),
)

STATES = Counter("freshet_features_states_total", "State vectors that the broker acknowledged.")
VADER_SECONDS = Histogram(
    "freshet_features_vader_seconds", "Time to score the sentiment of one text.", buckets=SECONDS_BUCKETS
)
BATCH_SECONDS = Histogram(
    "freshet_features_batch_seconds",
    "Time to describe a batch and have it acknowledged.",
    buckets=SECONDS_BUCKETS,
)
LAG = Gauge(
    "freshet_features_lag_seconds",
    "Wall time from the oldest record of the last batch to its acknowledged state, growing while that is not there. "
    "It stays as it is while no batch comes: of Faust nobody learns whether more lies in the log.",
)
EVENT_TIME = Gauge("freshet_features_event_time_seconds", "Event time of the newest event described, Unix time.")
EVENT_TIME_LAG = Gauge(
    "freshet_features_event_time_lag_seconds",
    "Event time between the newest event or tick of any partition and the one described last.",
)
PARTITIONS = Gauge("freshet_features_partitions", "Partitions of events that this worker reads.")


def count(state: pb.StateVector) -> None:
    """Count one described event."""
    EVENTS[state.kind].inc()
    EVENT_TIME.set(state.event_time_ms / 1000)
    for what in state.imputed:
        IMPUTED[what].inc()
    if state.kind == pb.EVENT_KIND_TICK:
        return
    REWARD.observe(state.reward)
    REWARDS["negative" if state.reward < 0.0 else "positive"].inc(abs(state.reward))
    if pb.IMPUTED_SENTIMENT not in state.imputed:
        SENTIMENT.observe(state.sentiment)
        sign = "positive" if state.sentiment >= POSITIVE else "negative" if state.sentiment <= NEGATIVE else "neutral"
        REVIEWS[sign].inc()
