"""Lengths of time."""

from __future__ import annotations

DAY_MS = 86_400_000
