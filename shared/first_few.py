"""Of lines that may come in floods says the first few, and then how many more there were."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

FEW = 5
SECONDS = 10.0


@dataclass(slots=True)
class _Period:
    since: float  # seconds of the clock
    said: int = 0
    more: int = 0
    newest: str = ""  # of those more


class FirstFew:
    """Keeps a log readable where a topic is full of records that can't be read, say.

    The first `FEW` lines of a kind are said as they are. Others are counted, and every `SECONDS` one line says how many
    came and which was the newest. Once so long none is left to count, the next are first ones again.

    Args:
        say: takes a line, as a logger's method does.
    """

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._periods: dict[Hashable, _Period] = {}

    def add(self, kind: Hashable, line: str) -> None:
        """Say or count one more line; those of other kinds don't matter to it."""
        self.due()
        period = self._periods.setdefault(kind, _Period(self._clock()))
        if period.said < FEW:
            period.said += 1
            self._say(line)
        else:
            period.more += 1
            period.newest = line

    def due(self) -> None:
        """Say what was counted long enough; to be called now and then, for when no line comes any more."""
        now = self._clock()
        for kind, period in list(self._periods.items()):
            if now - period.since < SECONDS:
                continue
            if period.more:
                self._say(f"{period.more:,} more in {now - period.since:.0f} s, the newest: {period.newest}")
                self._periods[kind] = _Period(now, said=FEW)
            else:
                del self._periods[kind]
