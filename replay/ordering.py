"""Puts a dataset in event-time order, out of core, once; the ordered copy is kept and read by every later replay.

The order is by event time, then by line, so that the same file always gives the same sequence. Left out are records
that can't be used and exact copies of an earlier one: the 2018 files hold such repeats, and nobody writes the same
review of the same product at the same time twice. Prices of the metadata become those of the events.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from replay import metrics
from replay.datasets import Account, RejectedFile
from replay.formats import Format, MessageT, recognise, recognise_products
from replay.lines import Lines, sha256_of
from replay.mapping import Mapping
from replay.ordered_copy import DATABASE, REJECTED, SUMMARY, FileSummary, OrderedCopy, Summary, tables_summary
from replay.progress import Watch
from replay.settings import ReplaySettings
from replay.staging import Staging
from replay.state_folder import room_in
from shared.errors import BadEvent
from shared.folders import whole_folder
from shared.pb.freshet.v1.events_pb2 import Event, Product

log = logging.getLogger("replay")

VERSION = 3  # of what is made of a dataset: another one names it anew

# Shares of the whole task, about: reading the metadata, then the reviews; the rest is sorting.
_METADATA_SHARE = 0.05
_EVENTS_SHARE = 0.75


def ordered_copy(
    file: Path, metadata: Path | None, settings: ReplaySettings, watch: Watch, mapping: Mapping | None = None
) -> OrderedCopy:
    """The ordered copy of a dataset, made now unless it is there already; `mapping` says what a CSV's columns are.

    Raises:
        Unusable: a file can't be used, holds no usable line, or the disk is full.
        Stopped: `watch` was told to; nothing half made stays behind.
    """
    events = _Source(file, recognise(file, mapping, settings), _sha256(file, watch))
    goods: _Source[Product] | None = None
    if metadata is not None:
        found = recognise_products(metadata, None, settings)
        goods = _Source(metadata, found, _sha256(metadata, watch))
    sources: list[_Source[Any]] = [events] if goods is None else [events, goods]
    fingerprint = fingerprint_of(
        [source.sha256 for source in sources],
        settings.most_line_bytes,
        [source.format.reading for source in sources if source.format.reading],
    )
    folder = settings.state_dir / fingerprint
    if folder.exists():
        log.info("%s was put in order before: reading the copy in %s", file, folder)
    else:
        log.info("%s: read as %s", file, events.format.name)
        _make(folder, _Ordering(fingerprint, events, goods, settings, watch))
    metrics.ORDERING_PROGRESS.set(1)
    copy = OrderedCopy(folder)
    _tell(copy.summary, folder)
    return copy


def fingerprint_of(sha256s: Sequence[str], most_line_bytes: int, readings: Sequence[str] = ()) -> str:
    """What names a dataset: its files' contents, the mappings they are read by, whatever else its order depends on."""
    named = [VERSION, most_line_bytes, *sha256s, *readings]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


def _sha256(path: Path, watch: Watch) -> str:
    return sha256_of(path, lambda: watch.look(lambda: "looking whether it was read before"))


@dataclass(frozen=True, slots=True)
class _Source(Generic[MessageT]):
    """A file, and how it is read."""

    path: Path
    format: Format[MessageT]
    sha256: str

    def summary(self, account: Account) -> FileSummary:
        """What became of its records."""
        return FileSummary(
            name=self.path.name,
            format=self.format.name,
            sha256=self.sha256,
            lines=account.lines,
            accepted=account.accepted,
            repeats=account.repeats,
            rejected=dict(account.rejected.most_common()),
            examples=account.examples,
            broken=account.broken,
        )


def _make(folder: Path, ordering: _Ordering) -> None:
    """Make the copy in a folder that appears whole or not at all."""
    with room_in(folder.parent), whole_folder(folder) as unfinished:
        ordering.write(unfinished)


class _Ordering:
    """One dataset on its way from lines into order."""

    def __init__(
        self,
        fingerprint: str,
        events: _Source[Event],
        goods: _Source[Product] | None,
        settings: ReplaySettings,
        watch: Watch,
    ) -> None:
        self._fingerprint = fingerprint
        self._events = events
        self._goods = goods
        self._settings = settings
        self._watch = watch

    def write(self, folder: Path) -> None:
        """Write the ordered copy into a folder."""
        work = folder / "work"
        work.mkdir()
        settings = self._settings
        staging = Staging(work, folder / DATABASE, memory_mb=settings.ordering_memory_mb)
        try:
            with (folder / REJECTED).open("w", encoding="utf-8", newline="") as sink:
                rejected = RejectedFile(sink, settings.most_rejected_lines)
                goods = self._read_products(staging, rejected)
                account = self._read_events(staging, rejected)
            account.repeats = account.accepted - staging.write_ordered(self._look_at_sorting(account.accepted))
        finally:
            staging.close()
        shutil.rmtree(work)
        summary = Summary(
            fingerprint=self._fingerprint,
            tables=tables_summary(folder / DATABASE),
            reviews=self._events.summary(account),
            metadata=None if self._goods is None else self._goods.summary(goods),
        )
        (folder / SUMMARY).write_text(summary.model_dump_json(indent=2), encoding="utf-8")

    def _read_products(self, staging: Staging, rejected: RejectedFile) -> Account:
        account = Account()
        if self._goods is not None:
            for n, _, product in self._usable(self._goods, account, rejected, (0.0, _METADATA_SHARE)):
                staging.add_product(n, product)
            account.require_use(self._goods.path, self._goods.format.name)
        staging.end_products()
        return account

    def _read_events(self, staging: Staging, rejected: RejectedFile) -> Account:
        account = Account()
        span = (_METADATA_SHARE if self._goods is not None else 0.0, _EVENTS_SHARE)
        for n, content, event in self._usable(self._events, account, rejected, span):
            staging.add_event(n, content, event)
        account.require_use(self._events.path, self._events.format.name)
        return account

    def _usable(
        self, source: _Source[MessageT], account: Account, rejected: RejectedFile, span: tuple[float, float]
    ) -> Iterator[tuple[int, bytes, MessageT]]:
        """The usable records of a file; reading it is the part `span` of the whole task."""

        lines: Lines

        def reject(n: int, error: BadEvent) -> None:
            rejected.add(source.path.name, n, error)

        def look() -> None:
            done = span[0] + (span[1] - span[0]) * lines.done_ratio
            metrics.ORDERING_PROGRESS.set(done)
            self._watch.look(
                lambda: (
                    f"reading {source.path.name}: {lines.done_ratio:.0%}, {account.lines:,} lines, "
                    f"{account.rejected.total():,} left out"
                ),
                done,
            )

        lines = Lines(source.path, self._settings.most_line_bytes, look)
        return source.format.read(lines, account, reject=reject)

    def _look_at_sorting(self, events: int) -> Callable[[int], None]:
        def look(written: int) -> None:
            done = written / events
            whole = _EVENTS_SHARE + (1 - _EVENTS_SHARE) * done
            metrics.ORDERING_PROGRESS.set(whole)
            self._watch.look(lambda: f"putting {events:,} events in the order of their time: {done:.0%}", whole)

        return look


def _tell(summary: Summary, folder: Path) -> None:
    """Say what became of the lines, in the log and in the metrics."""
    for file in (summary.reviews, summary.metadata):
        if file is None:
            continue
        log.info("%s: %s", file.name, file.told())
        for example in file.examples:
            log.info("%s: left out %s", file.name, example)
        if file.rejected:
            log.info("%s: all lines left out are in %s", file.name, folder / REJECTED)
        if file.broken:
            log.warning("%s; what could be read of it is used: download it again to have the rest", file.broken)
        for reason, count in file.rejected.items():
            metrics.REJECTED.labels(reason).inc(count)
    metrics.REPEATS.set(summary.reviews.repeats)
