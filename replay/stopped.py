"""How a replay that was asked to stop gets out of whatever it is doing."""

from __future__ import annotations


class Stopped(Exception):
    """SIGTERM or Ctrl-C came; caught where the position is saved."""
