"""The arguments that name a dataset, the same in every command that reads one."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_dataset(
    parser: argparse.ArgumentParser, *, data: str = "reviews, or a shop's export", metadata: str | None = None
) -> None:
    """Add DATA, --mapping, and --metadata where it is used.

    Args:
        data: what DATA may be.
        metadata: what is read of it; None: nothing.
    """
    parser.add_argument("data", type=Path, metavar="DATA", help=data)
    if metadata is not None:
        parser.add_argument("--metadata", type=Path, metavar="FILE", help=f"{metadata}, as SNAP publishes it")
    parser.add_argument("--mapping", type=Path, metavar="MAP.toml", help="which column of a CSV is what")
