"""`freshet models`: which versions there are, and which one is served."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from services.console.topics import PATIENCE_SECONDS
from shared.log.clients import CountedProducer, producer_config
from shared.log.follow import RecordProcessor, read_to_end
from shared.log.topics import Topics, ensure_topics
from shared.model.serving import SERVING_POINTER, PublishedVersions
from shared.pb.freshet.v1.events_pb2 import Pointer
from shared.process.errors import Unusable
from shared.process.settings import KafkaSettings, load
from shared.process.terminal import Terminal

# Metrics that begin like this say what share of the score the counts have, and each head.
SHARE = "score_share_"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = (
        "Inference serves the newest version unless one is pinned. Pinning takes effect within a second."
    )
    what = parser.add_subparsers(dest="what", required=True, metavar="list | pin VERSION | unpin")
    what.add_parser("list", help="newest first").set_defaults(run=list_versions)
    pinning = what.add_parser("pin", help="serve this version, whatever comes after it")
    pinning.add_argument("version", metavar="VERSION", help="as `freshet models list` shows it")
    pinning.set_defaults(run=pin)
    what.add_parser("unpin", help="serve the newest version again").set_defaults(run=unpin)


def list_versions(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Show every version, newest first.

    Raises:
        Unavailable: no broker answers.
    """
    published = _read(load(KafkaSettings, environ))
    versions = published.newest_first()
    if not versions:
        terminal.say("no model version has been published yet")
        return 0
    columns = f"{'version':<24} {'published (UTC)':<20} {'events':>10} {'steps':>9} {'products':>9} {'NDCG@10':>8}"
    terminal.say(f"{columns}  score (of events)")
    for version in versions:
        when = datetime.fromtimestamp(version.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        ndcg = version.metrics.get("validation_ndcg_at_10")
        reached = "-" if ndcg is None else f"{ndcg:.4f}"
        pinned = "  pinned" if version.version_id == published.pinned else ""
        terminal.say(
            f"{version.version_id:<24} {when:<20} {version.applied_events:>10,} {version.steps:>9,} "
            f"{version.products:>9,} {reached:>8}  {shares_of_score(version.metrics)}{pinned}"
        )
    return 0


def shares_of_score(metrics: Mapping[str, float]) -> str:
    """What share of the score counts and each head of the network have, and at how many of all events it had one."""
    shares = {name.removeprefix(SHARE): share for name, share in sorted(metrics.items()) if name.startswith(SHARE)}
    if not shares:
        return "-"
    counts = shares.pop("mixture")
    heads = [f"{head} {share:.0%} ({metrics[f'events_share_{head}']:.0%})" for head, share in shares.items()]
    return ", ".join([f"counts {counts:.0%}", *heads])


def pin(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Serve one version, whatever comes after it.

    Raises:
        Unusable: there is no such version.
        Unavailable: no broker answers.
    """
    kafka = load(KafkaSettings, environ)
    wanted = str(arguments.version)
    if wanted not in {version.version_id for version in _read(kafka).newest_first()}:
        raise Unusable(f"there is no version {wanted}; `freshet models list` shows them")
    _point(kafka, Pointer(version_id=wanted, set_ms=time.time_ns() // 1_000_000).SerializeToString())
    terminal.say(f"{wanted} is served from now on, until `freshet models unpin`")
    return 0


def unpin(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Serve the newest version again.

    Raises:
        Unavailable: no broker answers.
    """
    kafka = load(KafkaSettings, environ)
    was = _read(kafka).pinned
    _point(kafka, None)
    terminal.say(f"{was} is no longer pinned; the newest is served" if was else "no version was pinned")
    return 0


def _read(kafka: KafkaSettings) -> PublishedVersions:
    ensure_topics(kafka, patience_seconds=PATIENCE_SECONDS)
    published = PublishedVersions()
    # Inference counts and logs what can't be understood.
    records = RecordProcessor(lambda message: published.apply(message.key(), message.value()))
    start = {(Topics.of(kafka).models, 0): -1}
    records.process(read_to_end(kafka, start, patience_seconds=PATIENCE_SECONDS))
    return published


def _point(kafka: KafkaSettings, value: bytes | None) -> None:
    producer = CountedProducer(producer_config(kafka))
    producer.send(Topics.of(kafka).models, key=SERVING_POINTER.encode(), value=value)
    producer.flush(PATIENCE_SECONDS)
