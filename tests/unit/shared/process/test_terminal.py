"""Progress and status lines, as a terminal, a file and a log see them."""

from __future__ import annotations

import io
import logging
import threading

import pytest

from shared.process.terminal import PLAIN_COLUMNS, Forecast, Terminal, Watch, bar, cut, duration


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "····"), (0.5, "██··"), (0.28, "█▏··"), (1, "████"), (1.7, "████"), (-1, "····")]
)
def test_a_bar_is_full_at_1(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (59.9, "1 min 00 s"), (61, "1 min 01 s"), (3 * 3600 + 125, "3 h 02 min")]
)
def test_how_long(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_time_left_follows_from_how_it_went() -> None:
    now = 100.0
    forecast = Forecast(lambda: now)
    assert forecast.left(0.2) == ""
    now = 110.0
    assert forecast.left(0.205) == ""
    assert forecast.left(0.4) == "30 s left"


def test_a_terminal_gets_a_bar_and_a_log_a_line(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    screen = io.StringIO()
    drawn = Watch(threading.Event(), screen, clock=lambda: now)
    logged = Watch(threading.Event(), None, clock=lambda: now)
    with caplog.at_level(logging.INFO, logger="replay"):
        for share in (0.0, 0.25, 0.5):
            now += 10.0
            drawn.look(lambda: "reading", share)
            logged.look(lambda: "reading", share)
    assert screen.getvalue().split("\r")[2] == f"{bar(0.5)}  50%     20 s left  reading\x1b[K"
    assert caplog.messages[-1] == "reading, 20 s left"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_gets_whole_status_lines_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    terminal = Terminal(stream, clock)
    for tick in range(40):
        clock.now = tick * 0.5
        terminal.status(f"at {clock.now}")
    terminal.say("done")
    assert stream.getvalue() == "at 0.0\nat 15.0\ndone\n"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_rewrites_its_status_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Screen()
    terminal = Terminal(stream, Clock())
    terminal.status("a longer one")
    terminal.status("short")
    terminal.say("done")
    assert stream.getvalue() == "\ra longer one\rshort       \r     \rdone\n"


def test_the_status_line_keeps_off_the_terminals_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Screen()
    terminal = Terminal(stream, Clock())
    terminal.status("x" * 90)
    assert stream.getvalue() == "\r" + "x" * 79
    assert terminal.status_columns == 79
    assert Terminal(io.StringIO(), Clock()).status_columns == PLAIN_COLUMNS


def test_text_is_cut_to_one_line() -> None:
    assert cut("two\n words", 20) == "two words"
    assert cut("abcdefgh", 5) == "abcd…"
