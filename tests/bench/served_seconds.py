"""How long a service itself says that it took, from what its /metrics grew by."""

from __future__ import annotations

from collections.abc import Mapping

SECONDS = "freshet_inference_request_seconds_bucket"


def quantile_ms(before: Mapping[str, float], after: Mapping[str, float], method: str, q: float) -> float:
    """A quantile of the time that a method's calls took between two looks, from being taken in to the answer.

    Within a bucket by proportion, as Prometheus does.
    """
    buckets = {
        float(name.partition('le="')[2].partition('"')[0]): value - before.get(name, 0.0)
        for name, value in after.items()
        if name.startswith(SECONDS) and f'method="{method}"' in name
    }
    wanted, below, low = q * max(buckets.values()), 0.0, 0.0
    for high, count in sorted(buckets.items()):
        if count >= wanted and count > below:
            return 1000 * (low + (min(high, 2 * low) - low) * (wanted - below) / (count - below))
        low, below = high, count
    return 1000 * low
