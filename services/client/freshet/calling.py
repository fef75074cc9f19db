"""How a call is made: the connection's options, and when a call that failed is tried again. Pure: the caller brings the
time and waits.

gRPC has a retry policy of its own. It is not used: it takes a message that is too large for a service that has too much
to do (one status for both), ends after five attempts however much time is left, and can't be tried out on a virtual
clock. It is switched off in `OPTIONS`, so that one loop alone tries again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from freshet.errors import DeadlineExceeded, FreshetError, Unavailable

OPTIONS: tuple[tuple[str, int], ...] = (
    # `Attempts` tries again; two loops, one in the other, would multiply attempts.
    ("grpc.enable_retries", 0),
    # A call fails at once while its channel waits to connect again, so that wait must be short: gRPC's grows to 2 min.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that went away without a word (a machine lost, a firewall that forgot) is found out while calls wait for
    # it. Where no call waits, a service may hang up on whoever asks more often than every 5 minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)

ADDRESS = "127.0.0.1:50051"
TIMEOUT_SECONDS = 5.0

# Below, no answer can come any more: the call would only end with another status.
_LEAST_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Retries:
    """Pauses that grow exponentially, each drawn evenly up to its bound ("full jitter", Brooker, AWS 2015).

    So callers that failed together don't come back together.

    Attributes:
        first_seconds: bound of the first pause.
        factor: what each bound is of the one before.
        longest_seconds: no bound is above it.
        most_attempts: calls in all; 1: nothing is tried again; None: as often as the deadline allows.
    """

    first_seconds: float = 0.05
    factor: float = 2.0
    longest_seconds: float = 2.0
    most_attempts: int | None = None

    def pause(self, attempts: int, rng: Random) -> float:
        """Seconds to wait after so many attempts, 1 or more."""
        growth = self.factor ** min(attempts - 1, 64)  # further it would overflow, long above any bound
        return rng.uniform(0.0, min(self.longest_seconds, self.first_seconds * growth))


@dataclass(slots=True)
class Attempts:
    """The attempts of one call until its deadline."""

    retries: Retries
    rng: Random
    deadline: float  # on the clock that `now` comes from, seconds
    made: int = field(default=0, init=False)
    _before: str = field(default="", init=False)  # why the last one failed

    def begin(self, now: float) -> float:
        """Begin an attempt; the seconds it may take.

        Raises:
            DeadlineExceeded: there is no time left for one.
        """
        left = self.deadline - now
        if left < _LEAST_SECONDS:
            raise DeadlineExceeded(f"the time was over before the call could be made{self._before}")
        self.made += 1
        return left

    def pause_after(self, failure: FreshetError, now: float) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            FreshetError: the failure, where another attempt would not help or would come too late.
        """
        if isinstance(failure, DeadlineExceeded) and self._before:
            raise DeadlineExceeded(f"{failure.message}{self._before}", failure.code)
        if not isinstance(failure, Unavailable):
            raise failure
        self._before = f"; attempt {self.made}: {failure.message}"
        pause = max(self.retries.pause(self.made, self.rng), failure.retry_after)
        is_last = self.retries.most_attempts is not None and self.made >= self.retries.most_attempts
        if is_last or now + pause + _LEAST_SECONDS >= self.deadline:
            raise Unavailable(f"{failure.message} (attempts: {self.made})", failure.code, failure.retry_after)
        return pause
