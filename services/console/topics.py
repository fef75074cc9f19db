"""`freshet topics`: create what is missing, check the rest."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from shared.log.topics import ensure_topics, specifications
from shared.process.settings import KafkaSettings, load
from shared.process.terminal import Terminal

PATIENCE_SECONDS = 10.0


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = (
        "Create the topics that are missing and check the others. Running it again changes nothing; "
        "every service does the same when it starts."
    )
    parser.add_argument(
        "--wait", type=float, default=PATIENCE_SECONDS, metavar="SECONDS",
        help="how long to wait for a broker that does not answer yet (default: %(default)g)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Create and check.

    Raises:
        Unusable: a topic has another number of partitions than configured.
        Unavailable: no broker answers.
    """
    kafka = load(KafkaSettings, environ)
    ensure_topics(kafka, patience_seconds=arguments.wait)
    for topic in specifications(kafka):
        terminal.say(f"{topic.topic:<30} {topic.num_partitions:>4} partitions   {_kept(topic.config or {})}")
    return 0


def _kept(config: Mapping[str, str]) -> str:
    if config["cleanup.policy"] == "compact":
        return "the newest record of each key"
    return f"{int(config['retention.ms']) / 3_600_000:g} hours"
