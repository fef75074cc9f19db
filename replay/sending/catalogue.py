"""`python -m replay --products FILE`: sends the products of a file until the broker has acknowledged all."""

from __future__ import annotations

import logging
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import DATABASE, room_in, stored_products
from replay.order.ordering import Staging
from replay.reading.formats import recognise_products
from replay.reading.lines import Lines
from replay.reading.mapping import load_mapping
from replay.reading.records import Account, RejectedFile, account_line
from replay.sending.producer import require_none_refused, send_products
from replay.settings import ReplaySettings
from shared.log.clients import CountedProducer, producer_config
from shared.log.topics import Topics, ensure_topics
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings
from shared.process.terminal import Stopped, Watch

log = logging.getLogger("replay")
_REJECTED = "products.rejected.tsv"


def send_catalogue(
    file: Path,
    mapping: Path | None,
    settings: ReplaySettings,
    kafka: KafkaSettings,
    metrics: ReplayMetrics,
    stop: threading.Event,
) -> None:
    """Send the products of a file until the broker has all of them, or until `stop`.

    Of several lines about one product the last one counts, here and in the log, so sending a file twice does no harm.

    Raises:
        Unusable: the file, the mapping or the disk is of no use; the message says what to do.
        Unavailable: the broker refused a message for good.
    """
    watch = Watch(stop, sys.stderr if sys.stderr.isatty() else None, every_seconds=settings.progress_seconds)
    producer = CountedProducer(producer_config(kafka, queue_messages=settings.queue_messages))
    try:
        metrics.ready.set(1)
        with _workshop(settings.state_dir) as folder:  # a folder of its own: a replay may run meanwhile
            _collect(file, mapping, settings, folder, watch, metrics)
            ensure_topics(kafka, stop=stop)
            _send(folder, producer, kafka, watch, metrics)
    except Stopped:
        log.info(
            "stopped after %s products; send the file again: each product counts once", f"{producer.acknowledged:,}"
        )


@contextmanager
def _workshop(state_dir: Path) -> Iterator[Path]:
    """A temporary folder in the state folder."""
    with room_in(state_dir):
        state_dir.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".catalogue-", dir=state_dir)
    with folder as name:
        yield Path(name)


def _collect(
    file: Path, mapping: Path | None, settings: ReplaySettings, folder: Path, watch: Watch, metrics: ReplayMetrics
) -> None:
    """Read the products, each once, into a database in `folder`."""
    product_format = recognise_products(file, None if mapping is None else load_mapping(mapping), settings)
    log.info("%s: read as %s", file, product_format.name)
    account = Account()

    def look() -> None:
        watch.look(lambda: f"reading {file.name}: {lines.done_ratio:.0%}, {account.lines:,} lines")

    lines = Lines(file, settings.most_line_bytes, look)
    left_out = settings.state_dir / _REJECTED
    with room_in(settings.state_dir):
        (folder / "work").mkdir()
        staging = Staging(folder / "work", folder / DATABASE, memory_mb=settings.ordering_memory_mb)
        try:
            with left_out.open("w", encoding="utf-8", newline="") as sink:
                rejected = RejectedFile(sink, settings.most_rejected_lines)

                def reject(n: int, error: BadEvent) -> None:
                    rejected.add(file.name, n, error)
                    metrics.rejected.labels(error.reason).inc()

                for n, _, product in product_format.read(lines, account, reject=reject):
                    staging.add_product(n, product)
            staging.end_products()
        finally:
            staging.close()
    account.require_use(file, product_format.name)
    log.info("%s: %s", file.name, account_line(account.lines, account.accepted, dict(account.rejected.most_common())))
    if account.rejected:
        log.info("%s: the lines left out are in %s", file.name, left_out)
    if account.broken:
        log.warning("%s; what could be read is used: download the file again for the rest", account.broken)


def _send(folder: Path, producer: CountedProducer, kafka: KafkaSettings, watch: Watch, metrics: ReplayMetrics) -> None:
    with duckdb.connect(str(folder / DATABASE), read_only=True, config={"threads": 1}) as database:
        row = database.execute("SELECT count(*) FROM products").fetchone()
        total = int(row[0]) if row else 0

        def tend() -> None:
            require_none_refused(producer, "once the cause is gone, send the file again: each product counts once")
            watch.look(lambda: f"{producer.acknowledged / max(1, total):4.0%}  {producer.acknowledged:,} products")

        send_products(stored_products(database), producer, Topics.of(kafka).products, tend)
    metrics.done.set(1)
    log.info("done: %s products sent and acknowledged; none failed", f"{producer.acknowledged:,}")
