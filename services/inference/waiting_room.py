"""How many calls of one connection may wait for something outside the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from grpc import StatusCode

from services.inference.refusals import Context, Refusal


class WaitingRoom:
    """Seats for calls that wait, on each connection as many: who waits must not keep all others from being read.

    Args:
        seats: of each connection.
    """

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._taken: Counter[str] = Counter()  # by connection

    @contextmanager
    def seat(self, context: Context, what_for: str) -> Iterator[None]:
        """Hold a seat for the length of the block.

        Raises:
            Refusal: all are taken.
        """
        connection = context.peer()
        if self._taken[connection] >= self._seats:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED,
                f"{self._seats} calls of this connection wait for {what_for} already: ask again in a moment, use more "
                "connections, or allow more by FRESHET_INFERENCE_CALLS_PER_CONNECTION",
            )
        self._taken[connection] += 1
        try:
            yield
        finally:
            self._taken[connection] -= 1
            if not self._taken[connection]:
                del self._taken[connection]
