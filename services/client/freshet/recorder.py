"""Records events in batches, in a thread of its own."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from freshet.errors import DeadlineExceeded, FreshetError, Full, Undelivered
from freshet.events import Event
from freshet.waiting import Held, Limits, Waiting, parted, undelivered
from shared.pb.freshet.v1 import events_pb2 as pb

log = logging.getLogger("freshet")

Send = Callable[[list[pb.Event], float], None]  # events and the deadline of the call, seconds
Failed = Callable[[Undelivered], None]


class Recorder:
    """Collects events and records them; any number of threads may share one. Made by `Client.recorder`.

    Nothing is lost silently: what can't be delivered goes to `on_failure`, called in the recorder's thread; without one
    `flush` and `close` raise it, and so does `add` once memory is full of it. A program that ends without `close` waits
    for it all the same.
    """

    def __init__(self, send: Send, *, limits: Limits, on_failure: Failed | None) -> None:
        self._send = send
        self._limits = limits
        self._on_failure = on_failure
        self._waiting = Waiting(limits)
        self._changed = threading.Condition()
        self._closing = False
        self._until = float("inf")  # no call goes on beyond
        self._thread = threading.Thread(target=self._run, name="freshet-recorder", daemon=True)
        self._thread.start()
        atexit.register(self.close)

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
            self._flush()

    def close(self, *, timeout: float | None = None) -> None:
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
        self._thread.join()
        atexit.unregister(self.close)
        with self._changed:
            self._raise_undelivered()

    def _flush(self) -> None:
        mark = self._waiting.added
        self._waiting.hurry()
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._waiting.settled >= mark)
        self._raise_undelivered()

    def _raise_undelivered(self) -> None:
        if (error := self._waiting.undelivered()) is not None:
            self._changed.notify_all()
            raise error

    def _run(self) -> None:
        while batch := self._next():
            failed = self._deliver(batch)
            if failed and self._on_failure is not None:
                failed = told(self._on_failure, failed)
            with self._changed:
                self._waiting.settle(batch, failed)
                self._changed.notify_all()

    def _next(self) -> list[Held]:
        """The next batch; empty at the end."""
        with self._changed:
            while (wait := self._waiting.due_in(time.monotonic())) is None or wait > 0:
                if wait is None and self._closing:
                    return []
                self._changed.wait(wait)
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
            except Exception as error:  # noqa: BLE001  # the thread's boundary: whatever it was, the events are told of
                failed += [(held, FreshetError(f"{type(error).__name__}: {error}")) for held in rest]
                break
            else:
                break
        return failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def told(on_failure: Failed, failed: list[tuple[Held, FreshetError]]) -> list[tuple[Held, FreshetError]]:
    """Hand over what failed; what is still to be told of then."""
    try:
        on_failure(undelivered(failed))
    except Exception:  # a recorder's boundary: `flush` and `close` raise what it was to be told
        log.exception("on_failure failed")
        return failed
    return []
