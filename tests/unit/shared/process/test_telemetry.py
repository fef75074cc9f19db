"""Logs for people and machines, and a metrics page."""

from __future__ import annotations

import json
import logging
import re
import socket
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, Counter

from shared.process.errors import Unusable
from shared.process.settings import ServiceSettings
from shared.process.telemetry import SECONDS_BUCKETS, JsonFormatter, new_registry, setup_logging, start_metrics


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Gives the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged."""
    captured = capsys.readouterr()
    assert captured.out == "", "standard output is the program's own"
    return captured.err.splitlines()


def test_json_is_one_object_per_line(root_logger: None, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(ServiceSettings(log_format="json"))
    log = logging.getLogger("bakery")
    log.debug("not asked for")
    log.info("%d loaves\nof bread: ä", 3)
    try:
        {}["flour"]
    except KeyError:
        log.exception("stopped")
    first, second = (json.loads(line) for line in lines_of(capsys))
    when = datetime.fromisoformat(first.pop("time"))
    assert when.tzinfo is not None
    assert when.utcoffset() == datetime.now(UTC).utcoffset()
    assert first == {"level": "INFO", "logger": "bakery", "message": "3 loaves\nof bread: ä"}
    assert (second["level"], second["message"]) == ("ERROR", "stopped")
    assert second["error"].startswith("Traceback")
    assert second["error"].endswith("KeyError: 'flour'")


def test_text_is_for_people_in_utc(root_logger: None, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(ServiceSettings(log_level="WARNING"))
    logging.getLogger("bakery").info("not asked for")
    record = logging.LogRecord("bakery", logging.WARNING, __file__, 1, "hot", None, None)
    record.created, record.msecs = 1_300_000_000.25, 250.0
    logging.getLogger().handle(record)
    assert lines_of(capsys) == ["2011-03-13T07:06:40.250Z WARNING bakery: hot"]


def test_json_keeps_the_moment_of_the_record() -> None:
    record = logging.LogRecord("bakery", logging.INFO, __file__, 1, "hot", None, None)
    record.created = 1_300_000_000.25
    assert json.loads(JsonFormatter().format(record))["time"] == "2011-03-13T07:06:40.250+00:00"


def test_logging_is_set_up_once_however_often_it_is_asked(
    root_logger: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        setup_logging(ServiceSettings())
    logging.getLogger("bakery").info("once")
    assert len(lines_of(capsys)) == 1


def test_metrics_are_served_on_the_port_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port = start_metrics("bakery", ServiceSettings(), new_registry())
    assert f"metrics on http://127.0.0.1:{port}/metrics" in caplog.messages
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    started = re.search(r"^freshet_bakery_started_time_seconds (\S+)$", text, re.MULTILINE)
    assert started is not None
    assert float(started[1]) > 1_700_000_000
    for name in ("process_resident_memory_bytes", "python_info", "python_gc_collections_total"):
        assert re.search(rf"^{name}\b", text, re.MULTILINE), name


def test_two_services_of_one_process_keep_their_figures_apart() -> None:
    one, other = new_registry(), new_registry()
    start_metrics("bakery", ServiceSettings(), one)
    start_metrics("bakery", ServiceSettings(), other)
    Counter("freshet_bakery_loaves_total", "Loaves.", registry=one).inc(3)
    Counter("freshet_bakery_loaves_total", "Loaves.", registry=other)
    assert one.get_sample_value("freshet_bakery_loaves_total") == 3.0
    assert other.get_sample_value("freshet_bakery_loaves_total") == 0.0


def test_a_taken_port_is_told_with_the_setting_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unusable, match=f"127.0.0.1:{port}.*FRESHET_BREWERY_METRICS_PORT"):
            start_metrics("brewery", ServiceSettings(metrics_port=port), CollectorRegistry())


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Unusable, match=r"can't serve metrics on 203\.0\.113\.1:0"):
        start_metrics("brewery", ServiceSettings(metrics_host="203.0.113.1"), CollectorRegistry())


def test_the_buckets_rise() -> None:
    assert list(SECONDS_BUCKETS) == sorted(set(SECONDS_BUCKETS))
