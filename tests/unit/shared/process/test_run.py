"""How a service ends."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from shared.log import topics
from shared.process.errors import Unavailable
from shared.process.settings import KafkaSettings
from tests.support.processes import ROOT

ENDING = """
import sys
from confluent_kafka import KafkaError, KafkaException
from shared.process.errors import Unavailable, Unusable
from shared.process.run import run_service
from shared.process.settings import ServiceSettings

class ProbeSettings(ServiceSettings):
    model_config = {{"env_prefix": "FRESHET_PROBE_", "frozen": True}}

def work(settings, kafka, registry, stop):
    {work}

sys.exit(run_service("probe", "About.", ProbeSettings, work))
"""


@pytest.mark.parametrize(
    ("work", "status", "words"),
    [
        ("pass", 0, "probe: stopped"),
        ("raise Unusable('give another folder')", 2, "probe: give another folder"),
        ("raise Unavailable('no broker answers')", 1, "probe: no broker answers"),
        ("raise KafkaException(KafkaError(KafkaError._AUTO_OFFSET_RESET))", 1, "start again to read it anew"),
    ],
)
def test_each_way_to_end_has_its_status_and_its_words(work: str, status: int, words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING.format(work=work)],
        capture_output=True, text=True, timeout=60, cwd=ROOT, check=False,
    )  # fmt: skip
    assert ended.returncode == status, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_told_to_stop_while_the_broker_is_away_nobody_asks_for_it_any_further(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def away(_: KafkaSettings, __: str) -> str:
        stop.set()
        raise Unavailable("no Kafka broker answers")

    monkeypatch.setattr(topics, "log_identity", away)
    assert topics.wait_for_identity(KafkaSettings(), "states", stop) is None
