"""`freshet evaluate`: does it beat a good simple baseline, and how do you know?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from services.lab.options import add_options, command_of, limit_threads
from shared.policies.registry import POLICIES
from shared.process.errors import Unusable
from shared.process.terminal import Terminal

_ABOUT = """\
Judge policies side by side on one identical stream, in this process and without a broker. It reads a file as a replay
does, describes events as the features service does, and scores, masks and ranks as the inference service does. Every
figure ranks the whole catalogue known at that moment; none is sampled.

  prequential    test, then learn: before each event is applied every policy ranks the catalogue, then all learn it.
                 Policies that are fitted in batches are fitted at 20 points of the stream. With --warm-up the first
                 events are not judged; values given with --set are chosen on them.
  temporal       learn on the first 80 % of the time line, then judge the rest and learn no more. Values given with
                 --set are chosen on the last eighth of those 80 %.
  split          learn DATA, then judge the file --test and learn no more; of its users (or sessions) only their own
                 past counts, and their first events are not judged. Values given with --set are chosen on the file
                 --validation, by MRR@20.
  leave-one-out  rank each user's last product. Leaky; only to compare with published figures. It also reads text
                 files of lines `user product product …`. gru4rec, sasrec and markov-sasrec learn whole sequences at
                 once; all others, freshet too, learn event by event, as from a stream.

With freshet among the policies, each expert of its mixture is judged alone, too, and the regret against the best of
them is told over time.

A user's products of one whole day are predicted as a set from the state at the day's start; ties count half; a product
without an event before is a miss. The same data, seed and command give the same figures, bit for bit on one machine,
except for the speeds. Off-policy estimates (IPS, doubly robust) are not made here: they need logged propensities, which
no dataset holds.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = _ABOUT
    parser.epilog = f"policies: {', '.join(POLICIES)}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Judge the policies.

    Raises:
        Unusable: what was given can't be used; raised before anything is learned where that can be known.
    """
    for path in (arguments.json, arguments.parquet):
        if path is not None and not path.parent.is_dir():
            raise Unusable(f"no such folder: {path.parent}; make it, or name another file than {path}")
    limit_threads()
    from services.lab.evaluate import evaluate  # takes a while, which other commands need not wait for

    evaluate(arguments, command_of(sys.argv[1:], environ), terminal, Terminal(sys.stderr), environ)
    return 0
