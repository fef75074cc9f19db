"""What `freshet evaluate` reads: a dataset as replay sends it and features describes it, or sequences of products."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import OrderedCopy, Selection, alone
from replay.order.ordering import ordered_copy
from replay.reading.formats import Head
from replay.reading.lines import Lines, sha256_of
from replay.reading.mapping import load_mapping
from replay.settings import ReplaySettings
from services.features.core import SourceRecord, describe
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from shared.log.records import AHEAD_MS
from shared.pb.freshet.v1.events_pb2 import Event, Product, StateVector
from shared.process.errors import Unusable
from shared.process.settings import load
from shared.process.terminal import Terminal, Watch

SHOW_EVERY = 500  # events


@dataclass(frozen=True, slots=True)
class Dataset:
    """The states of a dataset, in the very order of a replay."""

    name: str
    fingerprint: str  # of its files, and of how they are read
    states: list[StateVector]
    products: list[Product]  # of the metadata
    left_out: int = 0  # events more than a day ahead of the clock, which features would refuse


@dataclass(frozen=True, slots=True)
class Sequences:
    """What each user chose, oldest first and without times; a line per user."""

    name: str
    fingerprint: str
    sequences: list[tuple[str, list[str]]]
    left_out: int = 0  # as of a dataset

    @property
    def events(self) -> int:
        """How many choices there are, of all users."""
        return sum(len(products) for _, products in self.sequences)


class Describing:
    """Turns events into state vectors as the features service does."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read the service's settings.

        Raises:
            Unusable: one of them is wrong.
        """
        self._settings = load(FeaturesSettings, environ)
        self._sentiment = Sentiment()

    def __call__(self, event: Event) -> StateVector:
        """One event's state vector."""
        return describe(event, SourceRecord("", 0, event.sequence, 0), self._settings, self._sentiment)


def holds_sequences(file: Path, settings: ReplaySettings, *, requested: bool) -> bool:
    """Whether lines are a user and the products that the user chose, between blanks.

    Args:
        requested: whether such a file is expected; then all lines may have the same number of words.

    Raises:
        Unusable: the file can't be read.
    """
    head = Head(file, settings.most_line_bytes)
    lines = [line for _, line in head.lines if line is not None and line.strip()]
    if head.holds_json or head.holds_blocks or any(sign in line for line in lines for sign in b',;|\t{"'):
        return False
    widths = {len(line.split()) for line in lines}
    return bool(widths) and min(widths) >= 2 and (len(widths) > 1 or requested)


def read_sequences(file: Path, settings: ReplaySettings) -> Sequences:
    """The sequences of a file; of a user with several lines, one after the other.

    Raises:
        Unusable: the file breaks off, or a line can't be understood.
    """
    sequences: dict[str, list[str]] = {}
    lines = Lines(file, settings.most_line_bytes)
    for n, line in lines:
        try:
            words = (line or b"").decode().split()
        except UnicodeDecodeError:
            words = [""]
        if line is None or len(words) == 1:
            raise Unusable(f"{file}, line {n}: not `user product product …`; correct it, or leave it out")
        if words:
            sequences.setdefault(words[0], []).extend(words[1:])
    if lines.broken:
        raise Unusable(f"{lines.broken}: download it again")
    return Sequences(file.name, sha256_of(file, lambda: None)[:16], list(sequences.items()))


def sequences_of(dataset: Dataset) -> Sequences:
    """What each user of a dataset did, in the order of time; guests are left out."""
    sequences: dict[str, list[str]] = {}
    for state in dataset.states:
        if state.user_id:
            sequences.setdefault(state.user_id, []).append(state.product_id)
    return Sequences(dataset.name, dataset.fingerprint, list(sequences.items()), dataset.left_out)


def read_dataset(
    file: Path,
    metadata: Path | None,
    mapping: Path | None,
    selection: Selection,
    environ: Mapping[str, str],
    describing: Describing,
    screen: Terminal,
    now_ms: int,
) -> Dataset:
    """The states of a dataset; it is put in order first, unless a replay or an evaluation did so before.

    Args:
        now_ms: what the clock says. Events more than a day later are left out, as features would refuse them.

    Raises:
        Unusable: a file can't be used, or the selection leaves nothing.
    """
    settings = load(ReplaySettings, environ)
    named = None if mapping is None else load_mapping(mapping)
    with alone(settings.state_dir):
        copy = ordered_copy(
            file, metadata, settings, OrderingStatus(screen), named, metrics=ReplayMetrics(CollectorRegistry())
        )
    try:
        selection, left_out = _until_now(copy, selection, now_ms)
        extent = copy.extent(selection)
        states = []
        for ordered in copy.events(selection, extent):
            event = ordered.event
            event.sequence = ordered.sequence
            states.append(describing(event))
            if len(states) % SHOW_EVERY == 0:
                screen.status(f"  describing events: {len(states) / extent.events:4.0%}")
        products = list(copy.products())
    finally:
        copy.close()
    screen.clear()
    return Dataset(file.name, copy.summary.fingerprint, states, products, left_out)


def _until_now(copy: OrderedCopy, selection: Selection, now_ms: int) -> tuple[Selection, int]:
    """The selection without what lies more than a day ahead of the clock, and how many events that is.

    Raises:
        Unusable: nothing is left.
    """
    later = copy.later_than(selection, now_ms + AHEAD_MS)
    if later is None:
        return selection, 0
    if later.events == copy.extent(selection).events:
        raise Unusable(
            f"all {later.events:,} events selected lie more than a day ahead of the clock, and the services refuse "
            "such: correct their times"
        )
    until_ms = min(selection.until_ms, now_ms + AHEAD_MS + 1)
    return selection.model_copy(update={"until_ms": until_ms}), later.events


class OrderingStatus(Watch):
    """Shows on a terminal of the console how far the ordering is."""

    def __init__(self, screen: Terminal) -> None:
        super().__init__(threading.Event())
        self._screen = screen

    def look(self, progress: Callable[[], str], share: float | None = None) -> None:
        """Show the progress."""
        self._screen.status(f"  {progress()}" if share is None else f"  {share:4.0%}  {progress()}")
