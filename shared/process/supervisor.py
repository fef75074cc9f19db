"""Keeps programs running: starts them, starts again what ends unexpectedly, stops them all.

There is no thread: whoever owns the supervisor calls `check` now and then, and its own thread holds the leashes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.process.errors import Unavailable, Unusable
from shared.process.leash import leashed

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
# A program that stays up for so long has recovered: its next pause is the shortest again.
RECOVERED_SECONDS = 30.0
MOST_ENDS_IN_A_ROW = 5
GRACE_SECONDS = 15.0
TAIL_LINES = 12
UNUSABLE = 2  # exit status of a program that starting again can't help


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and how to treat its end."""

    name: str
    command: Sequence[str]
    log_file: Path | None  # None: it writes where this process does
    environment: Mapping[str, str] = field(default_factory=dict)  # the whole of it
    restart: bool = True  # False: it may end by itself, once
    most_ends_in_a_row: float = MOST_ENDS_IN_A_ROW  # then it is given up
    irreplaceable: str = ""  # why nothing can go on without it; empty: the others can


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    started: float  # clock seconds
    restarts: int = 0
    ends_in_a_row: int = 0
    restart_at: float | None = None  # clock seconds


class Supervisor:
    """Programs that run as long as the block: `with Supervisor() as supervisor: …`."""

    def __init__(
        self, say: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`say` is called with a sentence about every unexpected end."""
        self._running: dict[str, _Running] = {}
        self._say = say
        self._clock = clock

    def start(self, program: Program) -> None:
        """Start a program; it runs until it ends or `stop`."""
        self._running[program.name] = _Running(program, _spawn(program), self._clock())

    def check(self) -> None:
        """Start again what ended unexpectedly, when its pause is over.

        Raises:
            Unusable: a program ended with status 2: it can't use what it was given.
            Unavailable: a program does not stay up, or one ended that nothing works without.
        """
        for running in self._running.values():
            if running.restart_at is not None:
                self._restart_when_due(running)
            elif running.process.poll() is not None:
                self._judge_end(running)

    def status(self, name: str) -> int | None:
        """The exit status of a program that has ended, else None."""
        return self._running[name].process.poll()

    def pid(self, name: str) -> int:
        """The process id a program has now."""
        return self._running[name].process.pid

    def restarts(self, name: str) -> int:
        """How often a program was started again."""
        return self._running[name].restarts

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> list[str]:
        """End everything; the names of those that had to be killed.

        All get SIGTERM and up to `grace_seconds`, what nothing works without only after the others. A second Ctrl-C
        kills what is left.
        """
        killed: list[str] = []
        everyone = list(self._running.values())
        try:
            for irreplaceable in (False, True):
                these = [running for running in everyone if bool(running.program.irreplaceable) is irreplaceable]
                killed += _end(these, grace_seconds)
        finally:
            for running in everyone:
                _kill(running.process)
        return killed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _judge_end(self, running: _Running) -> None:
        program, status, now = running.program, running.process.returncode, self._clock()
        if status == UNUSABLE:
            raise Unusable(f"{program.name} can't go on{_last_output(program)}")
        if program.irreplaceable:
            raise Unavailable(
                f"{program.name} ended ({_named(status)}): {program.irreplaceable}{_last_output(program)}"
            )
        if not program.restart:
            if status != 0:
                raise Unavailable(f"{program.name} failed ({_named(status)}){_last_output(program)}")
            return
        if now - running.started >= RECOVERED_SECONDS:
            running.ends_in_a_row = 0
        running.ends_in_a_row += 1
        if running.ends_in_a_row >= program.most_ends_in_a_row:
            raise Unavailable(
                f"{program.name} does not stay up: it ended {running.ends_in_a_row} times in a row, "
                f"the last time with {_named(status)}{_last_output(program)}"
            )
        doublings = min(running.ends_in_a_row - 1, 64)  # more would overflow, long above the longest pause
        pause = min(FIRST_PAUSE_SECONDS * 2**doublings, LONGEST_PAUSE_SECONDS)
        running.restart_at = now + pause
        see = "" if program.log_file is None else f", see {program.log_file}"
        self._say(f"{program.name} ended ({_named(status)}); starting it again in {pause:g} s{see}")

    def _restart_when_due(self, running: _Running) -> None:
        if running.restart_at is None or self._clock() < running.restart_at:
            return
        running.process = _spawn(running.program)
        running.started = self._clock()
        running.restart_at = None
        running.restarts += 1


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    with ExitStack() as files:
        sink = None
        if program.log_file is not None:
            program.log_file.parent.mkdir(parents=True, exist_ok=True)
            sink = files.enter_context(program.log_file.open("ab"))
        return subprocess.Popen(  # noqa: S603  # the programs that it is there to start
            leashed(program.command),
            env=dict(program.environment),
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone
        )


def _end(these: Sequence[_Running], grace_seconds: float) -> list[str]:
    killed = []
    for running in these:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    for running in these:
        try:
            running.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            killed.append(running.program.name)
            _kill(running.process)
    return killed


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that still runs, with whatever it started itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_output(program: Program) -> str:
    """How an error about a program ends: the last lines that it wrote, and where the others are."""
    if program.log_file is None:
        return "; its own message stands above"
    lines = program.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join([":", *(f"  {line}" for line in lines), f"  ({program.log_file})"])


def _named(status: int) -> str:
    """An exit status in words: the signal's name, or the number."""
    try:
        return signal.Signals(-status).name if status < 0 else f"status {status}"
    except ValueError:
        return f"signal {-status}"
