"""The errors that Freshet handles. Anything else is a bug and ends the process."""

from __future__ import annotations


class FreshetError(Exception):
    """Base of every error that is handled somewhere."""


class BadEvent(FreshetError):
    """A message is wrong and stays wrong: dead-letter it, never retry.

    Attributes:
        reason: one of a small fixed set of words, fit for a metric's label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadRequest(FreshetError):
    """The caller must change the request.

    Attributes:
        field: the path of the field that is wrong, as in `events[3].rating`; empty where it is the whole request.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self._message = message

    def within(self, path: str) -> BadRequest:
        """The same of a field of the message that lies at `path`."""
        return BadRequest(f"{path}.{self.field}" if self.field else path, self._message)


class Unavailable(FreshetError):
    """The other side is away: retry with backoff."""


class Unusable(FreshetError):
    """What the operator gave (a setting, a file, a state folder) can't be used; the message says what to do next.

    The process ends with status 2.
    """
