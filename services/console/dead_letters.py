"""`freshet dead-letters`: what could not be understood, to be looked at, repaired and put back.

show      list the letters, or write them to a file
replay    put the repaired ones back into the log, each once; those still bad are named
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from confluent_kafka import Message

from replay.options import count, duration, moment_ms
from services.console.letters import (
    LETTER_REASONS,
    DeadLetters,
    Letter,
    LetterPosition,
    Repaired,
    as_live,
    event_in,
    moment,
    printable,
    read_line,
    to_json,
    to_line,
)
from shared.pb.freshet.v1.events_pb2 import Event
from shared.process.errors import BadEvent, Unusable
from shared.process.settings import KafkaSettings, load
from shared.process.terminal import Terminal, cut

FAILED = 1
SHOWN = 20
_AT_ONCE = 1000

_REPAIR = """\
To repair letters: write them to a file, one a line, edit `event`, and put the file back.

  freshet dead-letters show --output letters.jsonl
  freshet dead-letters replay letters.jsonl --dry-run
  freshet dead-letters replay letters.jsonl
"""
_REPLAY = """\
Put letters back into the log as live events: either from a file that `show --output` wrote and you edited, or as they
are, once the cause has been removed. Each is checked as the features service checks it. One that would be refused again
is named with its line and skipped; the rest is put back, and the exit status is 1.

A letter is put back once: those put back before are skipped. Its event keeps its event_id; an event without one gets
one that follows from the letter's position. It loses the source and sequence of its replay, since readers would drop it
as a repeat by those. The headers dead-letter and dead-letter-reason of the new record say where it comes from.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    raw = argparse.RawDescriptionHelpFormatter
    parser.description = "Records that could not be understood are kept as dead letters, each with the reason."
    parser.epilog = _REPAIR
    parser.formatter_class = raw
    what = parser.add_subparsers(dest="what", required=True, metavar="show | replay")
    showing = what.add_parser("show", help="list them, with a summary", epilog=_REPAIR, formatter_class=raw)
    showing.add_argument("--reason", choices=LETTER_REASONS, metavar="REASON", help=", ".join(LETTER_REASONS))
    showing.add_argument("--since", type=_since_ms, metavar="WHEN", help="a date (UTC), or a time ago such as 2h")
    showing.add_argument("--limit", type=count, metavar="N", help=f"the newest N (default: {SHOWN}; in a file: all)")
    showing.add_argument("--all", action="store_true", help="list also those that were put back")
    showing.add_argument("--output", type=Path, metavar="FILE", help="write them to a new file, one JSON object a line")
    showing.add_argument("--json", action="store_true", help="print those lines and nothing else")
    showing.set_defaults(run=show)
    replaying = what.add_parser("replay", help="put them back", description=_REPLAY, formatter_class=raw)
    which = replaying.add_mutually_exclusive_group(required=True)
    which.add_argument("file", type=Path, nargs="?", metavar="FILE", help="lines as `show --output` writes them")
    which.add_argument(
        "--reason", choices=LETTER_REASONS, metavar="REASON", help="all letters with this reason, as they are"
    )
    which.add_argument("--all", action="store_true", help="all letters, as they are")
    replaying.add_argument("--dry-run", action="store_true", help="check the letters and send nothing")
    replaying.set_defaults(run=replay)


# show


def show(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """List the letters, oldest first, and count them by reason.

    Raises:
        Unusable: the file exists or can't be written.
        Unavailable: no broker answers.
    """
    dead_letters = DeadLetters(load(KafkaSettings, environ))
    most = arguments.limit or (None if arguments.output or arguments.json else SHOWN)
    reasons: Counter[str] = Counter()
    done = 0
    newest: deque[Letter] = deque(maxlen=most)
    with ExitStack() as stack:
        sink = stack.enter_context(_new_file(arguments.output)) if arguments.output else None
        for letter in dead_letters.letters():
            if letter.recorded_ms < (arguments.since or 0) or arguments.reason not in (None, letter.reason):
                continue
            if dead_letters.was_put_back(letter.place):
                done += 1
                if not arguments.all:
                    continue
            reasons[letter.reason] += 1
            if most is None:
                _write(letter, sink, terminal)
            else:
                newest.append(letter)
        for letter in newest:
            if sink is not None or arguments.json:
                _write(letter, sink, terminal)
            else:
                _say(letter, terminal)
    if arguments.output and not reasons:
        arguments.output.unlink()  # else it would be in the way next time
    if not arguments.json:
        _summarise(reasons, done, arguments, min(sum(reasons.values()), most or sum(reasons.values())), terminal)
    return 0


def _say(letter: Letter, terminal: Terminal) -> None:
    head = f"{moment(letter.recorded_ms)}  {letter.place}  {letter.reason}  {letter.message}"
    shown = to_json(letter)
    content = json.dumps(shown.get("event") or shown.get("value_base64") or "no value", ensure_ascii=False)
    terminal.say(cut(printable(head), terminal.columns))
    terminal.say("    " + cut(printable(content), terminal.columns - 4))


def _write(letter: Letter, sink: TextIO | None, terminal: Terminal) -> None:
    if sink is None:
        terminal.say(to_line(letter))
        return
    try:
        sink.write(to_line(letter) + "\n")
    except OSError as error:
        raise Unusable(f"{sink.name} can't be written: {error.strerror}") from None


def _summarise(reasons: Counter[str], done: int, arguments: argparse.Namespace, shown: int, terminal: Terminal) -> None:
    if reasons and not arguments.output:
        terminal.say()
    for reason, letters in reasons.most_common():
        terminal.say(f"{reason:<14} {letters:>10,}")
    total = sum(reasons.values())
    kept = f"; {done:,} were put back" if done else ""
    if arguments.output and total:
        terminal.say(f"{shown:,} of {total:,} dead letters written to {arguments.output}{kept}")
    else:
        terminal.say(f"{total:,} dead letters, {shown:,} shown{kept}" if total else f"no dead letters{kept}")


def _since_ms(text: str) -> int:
    """A date, or a time ago."""
    try:
        return time.time_ns() // 1_000_000 - round(duration(text) * 1000)
    except argparse.ArgumentTypeError:
        pass
    try:
        return moment_ms(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date such as 2013-01-31 nor a time ago such as 2h"
        ) from None


def _new_file(path: Path) -> TextIO:
    try:
        return path.open("x", encoding="utf-8")
    except FileExistsError:
        raise Unusable(f"{path} exists and may hold repairs: name another --output") from None
    except OSError as error:
        raise Unusable(f"{path} can't be written: {error.strerror}; name another --output") from None


# replay


def replay(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Put letters back, each once; the exit status is 1 when some were refused.

    Raises:
        Unusable: the file can't be read.
        Unavailable: the broker is away or refuses one.
    """
    with ExitStack() as stack:
        lines = stack.enter_context(_readable(arguments.file)) if arguments.file else None
        dead_letters = DeadLetters(load(KafkaSettings, environ))
        tally = _Tally(terminal)
        candidates = _of_lines(lines, tally) if lines else _of_letters(dead_letters, arguments.reason, tally)
        repaired = _checked(candidates, dead_letters, tally)
        try:
            while chunk := list(islice(repaired, _AT_ONCE)):
                if arguments.dry_run:
                    tally.sent += len(chunk)
                else:
                    dead_letters.put_back(chunk, tally.acknowledged)
        finally:
            tally.say(dead_letters.topics.events, dry_run=arguments.dry_run)
    return FAILED if tally.refused else 0


class _Candidate(NamedTuple):
    """A letter that may be put back, and how people refer to it: by its line in a file, or by its position."""

    where: str
    place: LetterPosition
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
        self._terminal.say(printable(f"{where} skipped: {error.reason}: {error}"))

    def acknowledged(self, place: LetterPosition, record: Message) -> None:
        self.sent += 1
        self._terminal.say(f"{place} → partition {record.partition()}, offset {record.offset()}")

    def say(self, topic: str, *, dry_run: bool) -> None:
        put = "would be put back" if dry_run else "put back and acknowledged"
        self._terminal.say(
            f"{topic}: {self.sent:,} {put}, {self.before:,} skipped as put back before, {self.refused:,} refused"
        )


def _of_lines(lines: Iterable[bytes], tally: _Tally) -> Iterator[_Candidate]:
    for n, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _Candidate(f"line {n}", *read_line(line))
            except BadEvent as error:
                tally.refuse(f"line {n}", error)


def _of_letters(dead_letters: DeadLetters, reason: str | None, tally: _Tally) -> Iterator[_Candidate]:
    for letter in dead_letters.letters():
        if reason in (None, letter.reason) and not dead_letters.was_put_back(letter.place):
            try:
                yield _Candidate(str(letter.place), letter.place, letter.reason, event_in(letter))
            except BadEvent as error:
                tally.refuse(str(letter.place), error)


def _checked(candidates: Iterator[_Candidate], dead_letters: DeadLetters, tally: _Tally) -> Iterator[Repaired]:
    """The letters that can be put back, each once."""
    taken: set[LetterPosition] = set()
    for where, place, reason, event in candidates:
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
