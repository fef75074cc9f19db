"""What the calls of `RecommenderService` have in common."""

from __future__ import annotations

import asyncio

import numpy as np
from grpc import StatusCode

from services.inference.knowledge import Knowledge
from services.inference.log_writer import LogWriter
from services.inference.model_watcher import ModelWatcher
from services.inference.pace import Pace
from services.inference.refusals import Context, Refusal
from services.inference.settings import InferenceSettings
from services.inference.turns import Turns
from services.inference.waiting_room import WaitingRoom
from shared.errors import Unavailable
from shared.pb.freshet.v1.events_pb2 import LogPosition
from shared.topics import Topics


class Calls:
    """What they answer from, and when they refuse to.

    `ready` is set by whoever follows the log; before, half a history could recommend what must not be recommended.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        topics: Topics,
        knowledge: Knowledge,
        watcher: ModelWatcher,
        writer: LogWriter,
        turns: Turns,
    ) -> None:
        self.ready = False
        self._settings = settings
        self._topics = topics
        self._knowledge = knowledge
        self._watcher = watcher
        self._writer = writer
        self._turns = turns
        self._rng = np.random.default_rng(settings.seed) if settings.explore else None
        self._pace = Pace()
        self._waiting = WaitingRoom(settings.calls_per_connection // 2)

    def _refuse_unless_ready(self) -> None:
        if not self.ready:
            raise Refusal(
                StatusCode.UNAVAILABLE,
                "the log has not been read to its end yet: ask again when the health service says SERVING",
            )

    def _refuse_if_late(self, context: Context) -> None:
        """An answer that nobody waits for any longer takes time from the others."""
        left: float | None = context.time_remaining()
        if self._pace.too_late(left):
            raise Refusal(
                StatusCode.DEADLINE_EXCEEDED,
                f"deadline: {max(0.0, left or 0.0) * 1000:.1f} ms are left, and an answer takes about "
                f"{self._pace.seconds * 1000:.1f} ms: allow a later one",
            )

    async def _wait_for(self, position: LogPosition, context: Context) -> None:
        if self._knowledge.positions.has_reached(position.partition, position.offset):
            return
        seconds = patience(context, self._settings.wait_seconds)
        try:
            with self._waiting.seat(context, "after_position"):
                await asyncio.wait_for(self._knowledge.positions.reached(position.partition, position.offset), seconds)
        except TimeoutError:
            raise Refusal(
                StatusCode.DEADLINE_EXCEEDED,
                f"after_position: partition {position.partition} was not applied up to offset {position.offset} within "
                f"{seconds:.1f} s; allow a later deadline, or look whether features is behind",
            ) from None
        except Unavailable as error:
            raise Refusal(StatusCode.UNAVAILABLE, f"after_position: {error}") from error


def patience(context: Context, most_seconds: float) -> float:
    """How long to wait so that the answer, whatever it is, is out before the caller gives up."""
    left: float | None = context.time_remaining()
    if left is None:
        return most_seconds
    return max(0.0, min(left - min(0.1, left / 10), 86_400.0))
