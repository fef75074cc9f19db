"""What is wrong with a request, and what bounds it."""

from __future__ import annotations

MOST_COUNT = 1000
MOST_BATCH = 10_000


class BadRequest(Exception):
    """The caller must change the request; the message names the field."""
