"""What tests of the shared rooms have in common."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Learn on one thread, as the trainer does by default: tests run in parallel, and threads that wait cost time."""
    torch = sys.modules.get("torch")  # which a test has imported, or does not need
    if torch is not None:
        torch.set_num_threads(1)
