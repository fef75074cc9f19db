"""Whether an answer can still be ready in time."""

from __future__ import annotations

# What the latest answer counts in the mean, and what a refused call takes off it: a slow moment is forgotten.
LATEST, FORGOTTEN = 0.1, 0.1


class Pace:
    """How long an answer takes lately: a decayed mean."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        """An answer took so long."""
        self.seconds += LATEST * (seconds - self.seconds)

    def too_late(self, left_seconds: float | None) -> bool:
        """Whether an answer can't be ready in what is left of a call's time; None: it has no end."""
        if left_seconds is None or left_seconds > self.seconds:
            return False
        self.seconds *= 1.0 - FORGOTTEN
        return True
