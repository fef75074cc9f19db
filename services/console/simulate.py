"""`freshet simulate`: a simulated shop of real users, and what policies are worth in it in the long run."""

from __future__ import annotations

import argparse

from services.console import simulate_compare, simulate_fit

_ABOUT = """\
Users who answer what they are shown: with clicks, purchases, and by leaving. They are fitted to one period of a
dataset, and those that judge to a later one that shares no event with it.

  freshet simulate fit sales.csv --to shop          # shop/train of the first half, shop/test of the second
  freshet simulate compare shop                     # policies learn in one and are judged in the other
  python -m replay simulate --model shop/test       # its users call the running system
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    what = parser.add_subparsers(dest="what", required=True, metavar="fit | compare")
    simulate_fit.add(what)
    simulate_compare.add(what)
