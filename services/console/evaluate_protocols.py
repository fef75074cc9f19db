"""What `freshet evaluate` can be asked for, as the command line and what runs it both know it."""

from __future__ import annotations

PROTOCOLS = ("prequential", "temporal", "leave-one-out")
VARIANTS = ("strict", "all-but-last")  # of leave-one-out
NEW_PRODUCTS = ("unlisted", "listed", "placed")
LONG_HISTORY = 50  # events of a user that make the state in leave-one-out; elsewhere as the shop has it
