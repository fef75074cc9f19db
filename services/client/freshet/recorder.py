# Written by `make client` from async_recorder.py: change that one.
"""Records events in batches, in the background: a task for asyncio, a thread otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from freshet.errors import DeadlineExceeded, FreshetError, Full
from freshet.events import Event
from freshet.runtimes import Condition, Send, Worker
from freshet.waiting import Held, Limits, OnFailure, Waiting, hand_over, parted

log = logging.getLogger("freshet")


class Recorder:
    """Collects events and records them in the background. A client's `recorder` makes it.

    Nothing is lost silently: what can't be delivered goes to `on_failure`, called in the background; without one
    `flush` and `close` raise it, and so does `add` once memory is full of it.

    Any number of threads may share a `Recorder`; a program that ends without `close` waits for it all the same. An
    `AsyncRecorder` belongs to one event loop and must be closed: a loop that ends before takes it along, and the log
    says how many events were left.
    """

    def __init__(self, send: Send, *, limits: Limits, on_failure: OnFailure | None) -> None:
        self._send = send
        self._limits = limits
        self._on_failure = on_failure
        self._waiting = Waiting(limits)
        self._changed = Condition()
        self._closing = False
        self._until = float("inf")  # no call goes on beyond
        self._worker = Worker(self._run, at_exit=self.close)

    def add(self, event: Event) -> None:
        """Take an event; it is recorded soon.

        Raises:
            Full: memory is full, and the limits say to raise.
            Undelivered: memory is full of events that could not be delivered. This one was not taken.
        """
        held = Held.of(event)
        with self._changed:
            while True:
                if self._closing:
                    raise ValueError("the recorder is closed")
                if self._waiting.has_room_for(held):
                    break
                self._raise_undelivered()
                if self._limits.when_full == "raise":
                    raise Full(f"{self._limits.most_held} events or {self._limits.most_held_bytes} bytes are held")
                self._changed.wait()
            self._waiting.add(held, time.monotonic())
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when all that was added before is recorded.

        Raises:
            Undelivered: some could not be.
        """
        with self._changed:
            mark = self._waiting.added
            self._waiting.hurry()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting.settled >= mark)
            self._raise_undelivered()

    def close(self, *, timeout: float | None = None) -> None:  # ends calls, not this wait
        """Record what is left, and end; a second time does nothing.

        Args:
            timeout: no call begins after so many seconds, and what is left then is undelivered; None: as long as each
                call may take.

        Raises:
            Undelivered: some could not be recorded.
        """
        with self._changed:
            if timeout is not None:
                self._until = min(self._until, time.monotonic() + timeout)
            self._closing = True
            self._waiting.hurry()
            self._changed.notify_all()
        self._worker.join()
        with self._changed:
            self._raise_undelivered()

    def _raise_undelivered(self) -> None:
        if (error := self._waiting.undelivered()) is not None:
            self._changed.notify_all()
            raise error

    def _run(self) -> None:
        try:
            while batch := self._next():
                failed = self._deliver(batch)
                if failed and self._on_failure is not None:
                    failed = hand_over(failed, self._on_failure)
                with self._changed:
                    self._waiting.settle(batch, failed)
                    self._changed.notify_all()
        finally:
            if left := self._waiting.added - self._waiting.settled:
                log.error("%d events were not delivered: the loop ended before the recorder was closed", left)

    def _next(self) -> list[Held]:
        """The next batch; empty at the end."""
        with self._changed:
            while (wait := self._waiting.due_in(time.monotonic())) is None or wait > 0:
                if wait is None and self._closing:
                    return []
                self._changed.wait_within(wait)
            return self._waiting.take()

    def _deliver(self, batch: Sequence[Held]) -> list[tuple[Held, FreshetError]]:
        """Record a batch; what failed, and why."""
        failed: list[tuple[Held, FreshetError]] = []
        rest = list(batch)
        while rest:
            seconds = min(self._limits.timeout, self._until - time.monotonic())
            try:
                if seconds <= 0:
                    raise DeadlineExceeded("the recorder was closed, and its time was over")  # noqa: TRY301
                self._send([held.message for held in rest], seconds)
            except FreshetError as error:
                given_up, rest = parted(rest, error)
                failed += [(held, error) for held in given_up]
            except Exception as error:  # noqa: BLE001  # a boundary: whatever it was, the events are reported
                failed += [(held, FreshetError(f"{type(error).__name__}: {error}")) for held in rest]
                break
            else:
                break
        return failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
