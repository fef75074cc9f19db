"""Puts a dataset in event-time order, out of core, once; the ordered copy is kept and read by every later replay.

The order is by event time, then by line, so that the same file always gives the same sequence. Left out are lines
that can't be used and exact copies of an earlier line: the 2018 files hold such repeats, and nobody writes the same
review of the same product at the same time twice. Prices of the metadata become those of the events.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import duckdb

from replay import metrics
from replay.datasets import Account, RejectedFile, read
from replay.lines import Lines, require_readable, sha256_of
from replay.ordered_copy import DATABASE, REJECTED, SUMMARY, FileSummary, OrderedCopy, Summary, tables_summary
from replay.products import to_product
from replay.progress import Watch
from replay.records import Record
from replay.reviews import to_event
from replay.settings import ReplaySettings
from replay.staging import Staging
from shared.errors import BadEvent, Unusable
from shared.models import sync_folder

log = logging.getLogger("replay")

VERSION = 1  # of what is made of a dataset: another one names it anew

# Shares of the whole task, about: reading the metadata, then the reviews; the rest is sorting.
_METADATA_SHARE = 0.05
_REVIEWS_SHARE = 0.75

MessageT = TypeVar("MessageT")


def ordered_copy(reviews: Path, metadata: Path | None, settings: ReplaySettings, watch: Watch) -> OrderedCopy:
    """The ordered copy of a dataset, made now unless it is there already.

    Raises:
        Unusable: a file can't be used, holds no usable line, or the disk is full.
        Stopped: `watch` was told to; nothing half made stays behind.
    """
    paths = [reviews] if metadata is None else [reviews, metadata]
    for path in paths:
        require_readable(path)
    sha256s = {
        path: sha256_of(path, lambda: watch.look(lambda: "looking whether it was read before")) for path in paths
    }
    fingerprint = fingerprint_of([sha256s[path] for path in paths], settings.most_line_bytes)
    folder = settings.state_dir / fingerprint
    if folder.exists():
        log.info("%s was put in order before: reading the copy in %s", reviews, folder)
    else:
        _make(folder, _Ordering(fingerprint, reviews, metadata, sha256s, settings, watch))
    metrics.ORDERING_PROGRESS.set(1)
    copy = OrderedCopy(folder)
    _tell(copy.summary, folder)
    return copy


def fingerprint_of(sha256s: Sequence[str], most_line_bytes: int) -> str:
    """What names a dataset: its files' contents and whatever else its order depends on."""
    return hashlib.sha256(json.dumps([VERSION, most_line_bytes, *sha256s]).encode()).hexdigest()[:16]


def _make(folder: Path, ordering: _Ordering) -> None:
    """Make the copy in a folder that appears whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    try:
        unfinished.mkdir(parents=True)
        ordering.write(unfinished)
        for file in unfinished.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        sync_folder(unfinished)
        unfinished.rename(folder)
        sync_folder(folder.parent)
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise Unusable(
            f"the dataset can't be put in order in {folder.parent}: {str(error).splitlines()[0]}. It takes about three "
            "times the size of the unpacked file for a while: free some disk, or name a folder elsewhere with "
            "FRESHET_REPLAY_STATE_DIR; where memory is short, set FRESHET_REPLAY_ORDERING_MEMORY_MB higher"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Ordering:
    """One dataset on its way from lines into order."""

    def __init__(
        self,
        fingerprint: str,
        reviews: Path,
        metadata: Path | None,
        sha256s: Mapping[Path, str],
        settings: ReplaySettings,
        watch: Watch,
    ) -> None:
        self._fingerprint = fingerprint
        self._reviews = reviews
        self._metadata = metadata
        self._sha256s = sha256s
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
                account = self._read_reviews(staging, rejected)
            account.repeats = account.accepted - staging.write_ordered(self._look_at_sorting(account.accepted))
        finally:
            staging.close()
        shutil.rmtree(work)
        summary = Summary(
            fingerprint=self._fingerprint,
            tables=tables_summary(folder / DATABASE),
            reviews=self._summary(self._reviews, account),
            metadata=self._summary(self._metadata, goods) if self._metadata is not None else None,
        )
        (folder / SUMMARY).write_text(summary.model_dump_json(indent=2), encoding="utf-8")

    def _read_products(self, staging: Staging, rejected: RejectedFile) -> Account:
        account = Account()
        if self._metadata is not None:
            for n, _, product in self._usable(self._metadata, to_product, account, rejected, (0.0, _METADATA_SHARE)):
                staging.add_product(n, product)
            _refuse_useless(self._metadata, account, "product metadata: lines with `asin`, `title`, `price`")
        staging.end_products()
        return account

    def _read_reviews(self, staging: Staging, rejected: RejectedFile) -> Account:
        account = Account()
        span = (_METADATA_SHARE if self._metadata is not None else 0.0, _REVIEWS_SHARE)
        for n, line, event in self._usable(self._reviews, to_event, account, rejected, span):
            staging.add_review(n, line, event)
        _refuse_useless(self._reviews, account, "reviews: lines with `reviewerID`, `asin`, `overall`, `unixReviewTime`")
        return account

    def _usable(
        self,
        path: Path,
        convert: Callable[[Record], MessageT],
        account: Account,
        rejected: RejectedFile,
        span: tuple[float, float],
    ) -> Iterator[tuple[int, bytes, MessageT]]:
        """The usable lines of a file; reading it is the part `span` of the whole task."""
        lines = Lines(path, self._settings.most_line_bytes)

        def reject(n: int, error: BadEvent) -> None:
            rejected.add(path.name, n, error)

        def look() -> None:
            metrics.ORDERING_PROGRESS.set(span[0] + (span[1] - span[0]) * lines.done_ratio)
            self._watch.look(
                lambda: (
                    f"reading {path.name}: {lines.done_ratio:.0%}, {account.lines:,} lines, "
                    f"{account.rejected.total():,} left out"
                )
            )

        return read(lines, convert, account, reject=reject, look=look)

    def _look_at_sorting(self, reviews: int) -> Callable[[int], None]:
        def look(written: int) -> None:
            done = written / reviews
            metrics.ORDERING_PROGRESS.set(_REVIEWS_SHARE + (1 - _REVIEWS_SHARE) * done)
            self._watch.look(lambda: f"putting {reviews:,} reviews in the order of their time: {done:.0%}")

        return look

    def _summary(self, path: Path, account: Account) -> FileSummary:
        return FileSummary(
            name=path.name,
            sha256=self._sha256s[path],
            lines=account.lines,
            accepted=account.accepted,
            repeats=account.repeats,
            rejected=dict(account.rejected.most_common()),
            examples=account.examples,
            broken=account.broken,
        )


def _refuse_useless(path: Path, account: Account, wanted: str) -> None:
    if account.accepted:
        return
    said = account.broken or "; ".join(account.examples[:3]) or "it holds blank lines only"
    raise Unusable(f"not one line of {path} could be used: {said}. It must hold {wanted}, as SNAP publishes them")


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
