"""`freshet dead-letters replay`: the repaired go back into the log, each once, and those still bad are named."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from confluent_kafka import Message

from services.console.dead_letters_letter import Place, as_live, event_in, printable, read_line
from services.console.dead_letters_log import DeadLetters, Repaired
from services.console.terminal import Terminal
from shared.errors import BadEvent, Unusable
from shared.pb.freshet.v1.events_pb2 import Event
from shared.settings import KafkaSettings, load

FAILED = 1
_AT_ONCE = 1000


def replay(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Put letters back, each once; 1 when some were refused.

    Raises:
        Unusable: the file can't be read.
        Unavailable: the broker is away or refuses one.
    """
    with ExitStack() as stack:
        lines = stack.enter_context(_readable(arguments.file)) if arguments.file else None
        dead_letters = DeadLetters(load(KafkaSettings, environ))
        tally = _Tally(terminal)
        found = _of_lines(lines, tally) if lines else _of_letters(dead_letters, arguments.reason, tally)
        repaired = _checked(found, dead_letters, tally)
        try:
            while chunk := list(islice(repaired, _AT_ONCE)):
                if arguments.dry_run:
                    tally.sent += len(chunk)
                else:
                    dead_letters.put_back(chunk, tally.acknowledged)
        finally:
            tally.say(dead_letters.topics.events, dry_run=arguments.dry_run)
    return FAILED if tally.refused else 0


class _Found(NamedTuple):
    """A letter that may be put back, and what people know it by: its line in a file, or its place."""

    where: str
    place: Place
    reason: str
    event: Event


class _Tally:
    """What became of the letters that were to be put back."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.sent = 0  # and acknowledged
        self.refused = 0
        self.before = 0

    def refuse(self, where: str, error: BadEvent) -> None:
        self.refused += 1
        self._terminal.say(printable(f"{where} left out: {error.reason}: {error}"))

    def acknowledged(self, place: Place, record: Message) -> None:
        self.sent += 1
        self._terminal.say(f"{place} → partition {record.partition()}, offset {record.offset()}")

    def say(self, topic: str, *, dry_run: bool) -> None:
        put = "would be put back" if dry_run else "put back and acknowledged"
        self._terminal.say(
            f"{topic}: {self.sent:,} {put}, {self.before:,} put back before and left alone, {self.refused:,} refused"
        )


def _of_lines(lines: Iterable[bytes], tally: _Tally) -> Iterator[_Found]:
    for n, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _Found(f"line {n}", *read_line(line))
            except BadEvent as error:
                tally.refuse(f"line {n}", error)


def _of_letters(dead_letters: DeadLetters, reason: str | None, tally: _Tally) -> Iterator[_Found]:
    for letter in dead_letters.letters():
        if reason in (None, letter.reason) and not dead_letters.was_put_back(letter.place):
            try:
                yield _Found(str(letter.place), letter.place, letter.reason, event_in(letter))
            except BadEvent as error:
                tally.refuse(str(letter.place), error)


def _checked(found: Iterator[_Found], dead_letters: DeadLetters, tally: _Tally) -> Iterator[Repaired]:
    """The letters that can be put back, each once."""
    taken: set[Place] = set()
    for where, place, reason, event in found:
        if place in taken or dead_letters.was_put_back(place):
            tally.before += 1
            continue
        try:
            live = as_live(event, place, dead_letters.topics.events, time.time_ns() // 1_000_000)
        except BadEvent as error:
            tally.refuse(where, error)
            continue
        taken.add(place)
        yield Repaired(place, reason, live)


def _readable(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise Unusable(f"{path} is a folder; name a file that `freshet dead-letters show --output` wrote")
        return path.open("rb")
    except OSError as error:
        raise Unusable(f"{path} can't be read: {error.strerror}; check its name and its permissions") from None
