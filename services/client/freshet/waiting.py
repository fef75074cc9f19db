"""What a recorder holds: events that wait, are on their way, or could not be delivered. Pure: no clock, no lock."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from freshet.batches import MOST_BYTES, MOST_EVENTS, size_of
from freshet.errors import FreshetError, InvalidRequest, Undelivered
from freshet.events import Event
from freshet.messages import event_message
from shared.pb.freshet.v1 import events_pb2 as pb

log = logging.getLogger("freshet")

OnFailure = Callable[[Undelivered], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a recorder.

    Attributes:
        most_events: events of one call, 1 to 1,000.
        most_bytes: bytes of one call; the service accepts 16 MiB by default.
        longest_seconds: how long an event may wait for others to share its call.
        most_held: events in memory.
        most_held_bytes: their size as they are sent.
        when_full: what `add` does when either is reached: wait for room, or raise `Full`.
        timeout: deadline of each call, with all its attempts, seconds.
    """

    most_events: int = 500
    most_bytes: int = MOST_BYTES
    longest_seconds: float = 0.2
    most_held: int = 10_000
    most_held_bytes: int = 64 * 1024 * 1024
    when_full: Literal["wait", "raise"] = "wait"
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.most_events <= MOST_EVENTS:
            raise ValueError(f"most_events: 1 to {MOST_EVENTS}, got {self.most_events}")
        if min(self.most_bytes, self.most_held, self.most_held_bytes) < 1:
            raise ValueError("most_bytes, most_held, most_held_bytes: 1 or more")
        if self.longest_seconds < 0 or self.timeout <= 0:
            raise ValueError("longest_seconds: not negative; timeout: above 0")
        if self.when_full not in ("wait", "raise"):
            raise ValueError(f"when_full: wait or raise, got {self.when_full!r}")


@dataclass(frozen=True, slots=True)
class Held:
    """An event in a recorder's memory."""

    event: Event
    message: pb.Event
    size: int  # what it adds to a call, bytes

    @classmethod
    def of(cls, event: Event) -> Held:
        """The event, made ready to be sent."""
        message = event_message(event)
        return cls(event, message, size_of(message))


class Waiting:
    """Events in the order they came; a batch is taken, and settled when it is known what became of it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: deque[tuple[float, Held]] = deque()  # when it came, what
        self._queued_bytes = 0
        self._held = 0
        self._held_bytes = 0
        self._hurried = 0
        self._failed: list[tuple[Held, FreshetError]] = []
        self.added = 0  # since the beginning
        self.taken = 0
        self.settled = 0

    def has_room_for(self, held: Held) -> bool:
        """Whether memory allows one more; an empty one takes any."""
        return self._held == 0 or (
            self._held < self._limits.most_held and self._held_bytes + held.size <= self._limits.most_held_bytes
        )

    def add(self, held: Held, now: float) -> None:
        """Let one wait."""
        self._queue.append((now, held))
        self._queued_bytes += held.size
        self._held += 1
        self._held_bytes += held.size
        self.added += 1

    def hurry(self) -> None:
        """Let what waits now wait for no others."""
        self._hurried = self.added

    def due_in(self, now: float) -> float | None:
        """Seconds until a batch should be taken; None: nothing waits."""
        if not self._queue:
            return None
        full = len(self._queue) >= self._limits.most_events or self._queued_bytes >= self._limits.most_bytes
        if full or self.taken < self._hurried:
            return 0.0
        return max(0.0, self._queue[0][0] + self._limits.longest_seconds - now)

    def take(self) -> list[Held]:
        """The next batch: at least one where anything waits."""
        batch: list[Held] = []
        size = 0
        while self._queue and len(batch) < self._limits.most_events:
            held = self._queue[0][1]
            if batch and size + held.size > self._limits.most_bytes:
                break
            self._queue.popleft()
            self._queued_bytes -= held.size
            size += held.size
            batch.append(held)
        self.taken += len(batch)
        return batch

    def settle(self, batch: Sequence[Held], failed: Sequence[tuple[Held, FreshetError]]) -> None:
        """A batch is done with; what failed is held until `undelivered` gives it."""
        self._failed += failed
        self._held -= len(batch) - len(failed)
        self._held_bytes -= sum(held.size for held in batch) - sum(held.size for held, _ in failed)
        self.settled += len(batch)

    def undelivered(self) -> Undelivered | None:
        """What could not be delivered, once; None: nothing."""
        if not self._failed:
            return None
        failed, self._failed = self._failed, []
        self._held -= len(failed)
        self._held_bytes -= sum(held.size for held, _ in failed)
        return undelivered(failed)


def undelivered(failed: Sequence[tuple[Held, FreshetError]]) -> Undelivered:
    """The error that tells of them."""
    return Undelivered(tuple(held.event for held, _ in failed), tuple(error for _, error in failed))


def parted(batch: Sequence[Held], error: FreshetError) -> tuple[list[Held], list[Held]]:
    """After a call that failed: what is given up, and what is worth another call without it.

    The service refuses a call as a whole and names the event that is wrong; the others must not be lost with it.
    """
    if isinstance(error, InvalidRequest) and error.index is not None and error.index < len(batch):
        return [batch[error.index]], [*batch[: error.index], *batch[error.index + 1 :]]
    return list(batch), []


def hand_over(failed: list[tuple[Held, FreshetError]], on_failure: OnFailure) -> list[tuple[Held, FreshetError]]:
    """Call `on_failure` with what failed; all of it comes back where that fails, for `flush` and `close` to raise."""
    try:
        on_failure(undelivered(failed))
    except Exception:  # a recorder's boundary: the shop's code must not end it
        log.exception("on_failure failed")
        return failed
    return []
